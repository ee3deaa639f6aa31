"""The paper's protocol in simulated scenes: what to evaluate, by name, and how."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from soar import __version__
from soar import checkpoint as checkpoints
from soar.errors import ConfigError
from soar.evaluate.bench import sim_bench
from soar.evaluate.results import Setting
from soar.evaluate.runner import FIRST_SEED, Subgoals, Team
from soar.models import load_policy, load_subgoals, policy_folder
from soar.rollout import Plan
from soar.sim.spec import Scene


def sim_protocol(
    policy: str,
    scenes: Sequence[Scene],
    *,
    trials: int,
    subgoals: str = "compact",
    tasks: Sequence[str] = (),
    first_seed: int = FIRST_SEED,
) -> tuple[Team, Setting]:
    """A team and a setting for `evaluate`: five subgoals of twenty steps for each trial.

    Args:
        policy: "gcbc" or "lcbc" as packaged, or a checkpoint's folder.
        trials: for each task.
        subgoals: what `soar.models.load_subgoals` takes, "expert", or "none".
        tasks: instructions; all of the scenes' when empty.

    Raises:
        ConfigError: a task that none of the scenes has.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, t.instruction) for s in scenes for t in s.tasks]
    if unknown := set(tasks) - {instruction for _, instruction in known}:
        names = ", ".join(f"'{instruction}'" for _, instruction in known)
        raise ConfigError(f"no task '{unknown.pop()}' in these scenes; there is: {names}")
    folder = policy_folder(policy)
    checkpoint = checkpoints.load(folder)
    setting = Setting(
        checkpoint=checkpoint.id,
        policy=checkpoint.kind,
        subgoals=subgoals,
        tasks=tuple(pair for pair in known if not tasks or pair[1] in tasks),
        trials=trials,
        first_seed=first_seed,
        subgoals_per_trial=Plan().subgoals,
        steps_per_subgoal=Plan().steps,
        details={"folder": str(folder), "code_version": __version__},
    )
    bench = partial(sim_bench, tuple(scenes))
    return Team(partial(load_policy, policy), subgoal_source(subgoals), bench), setting


def subgoal_source(name: str) -> Subgoals:
    """What a `Team` takes for "expert", "none", or a subgoal generator's name."""
    if name == "expert":
        return "expert"
    return None if name == "none" else partial(load_subgoals, name)
