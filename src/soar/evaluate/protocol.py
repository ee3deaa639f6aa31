"""A hundred control steps for each trial, as in the paper: in simulated scenes, and on a real station."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from soar import __version__
from soar import checkpoint as checkpoints
from soar.clock import Clock
from soar.crew import PAPER_PLAN, Plan
from soar.detector import AnswerDetector
from soar.errors import ConfigError
from soar.evaluate.bench import Judgement, RealBench, sim_bench
from soar.evaluate.expert_subgoals import ExpertFrames
from soar.evaluate.people import ask_for_outcome, ask_for_start
from soar.evaluate.results import Setting
from soar.evaluate.runner import FIRST_SEED, Subgoals, Team
from soar.interfaces import VisionLanguageModel
from soar.models import load_policy, load_subgoals, load_vlm, policy_folder, with_steps_ahead
from soar.sim.spec import Scene
from soar.stations import StationConfig, build_robot, tasks_of
from soar.types import Observation, Task


def sim_protocol(
    policy: str,
    scenes: Sequence[Scene],
    *,
    trials: int,
    subgoals: str = "compact",
    tasks: Sequence[str] = (),
    first_seed: int = FIRST_SEED,
    plan: Plan = PAPER_PLAN,
) -> tuple[Team, Setting]:
    """A team and a setting for `evaluate`.

    Args:
        policy: "gcbc" or "lcbc" as packaged, or a checkpoint's folder.
        trials: for each task.
        subgoals: what `soar.models.load_subgoals` takes, "expert", "expert@STEPS", or "none".
        tasks: instructions; all of the scenes' when empty.
        plan: how many subgoals, and how many control steps for each (paper: 5 and 20).

    Raises:
        ConfigError: a task that none of the scenes has.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, t.instruction) for s in scenes for t in s.tasks]
    chosen = _chosen(known, tasks)
    setting = _setting(policy, chosen, trials, subgoals, first_seed, "predicates", plan)
    bench = partial(sim_bench, tuple(scenes))
    return Team(partial(load_policy, policy), subgoal_source(subgoals), bench), setting


def station_protocol(
    policy: str,
    station: StationConfig,
    *,
    trials: int,
    subgoals: str = "compact",
    judge: str = "person",
    tasks: Sequence[str] = (),
    plan: Plan = PAPER_PLAN,
    clock: Clock | None = None,
) -> tuple[Team, Setting]:
    """The same on a real robot, where a person sets the table before every trial.

    Args:
        judge: "person", who is asked after every trial, or what `soar.models.load_vlm` takes.
        tasks: instructions; all of the station's when empty.
        plan: as in `sim_protocol`.

    Raises:
        ConfigError: a task the station doesn't have.
        CheckpointError: there is no such policy.
    """
    clock = clock or Clock()
    known = {t.instruction: t for t in tasks_of(station)}
    chosen = _chosen([(station.name, instruction) for instruction in known], tasks)
    setting = _setting(policy, chosen, trials, subgoals, 1, judge, plan)
    ask = ask_for_outcome if judge == "person" else _judge_with(load_vlm(judge), known)

    def bench(scene: str) -> RealBench:
        return RealBench(build_robot(station, clock), ask, ask_for_start, clock)

    goals = subgoal_source(subgoals)
    return Team(partial(load_policy, policy), goals, bench, attended=True), setting


def _judge_with(
    model: VisionLanguageModel, tasks: Mapping[str, Task]
) -> Callable[[Observation, str], Judgement]:
    detector = AnswerDetector(model)

    def judge(observation: Observation, instruction: str) -> Judgement:
        verdict = detector.judge(observation, tasks[instruction])
        return Judgement(verdict.outcome, raw=verdict.raw)

    return judge


def _chosen(known: Sequence[tuple[str, str]], tasks: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(scene, instruction) of the wanted tasks; of all when none is named."""
    if unknown := set(tasks) - {instruction for _, instruction in known}:
        names = ", ".join(f"'{instruction}'" for _, instruction in known)
        raise ConfigError(f"no task '{min(unknown)}' here; there is: {names}")
    return tuple(pair for pair in known if not tasks or pair[1] in tasks)


def _setting(
    policy: str,
    tasks: tuple[tuple[str, str], ...],
    trials: int,
    subgoals: str,
    first_seed: int,
    judge: str,
    plan: Plan,
) -> Setting:
    folder = policy_folder(policy)
    checkpoint = checkpoints.load(folder)
    return Setting(
        checkpoint=checkpoint.id,
        policy=checkpoint.kind,
        subgoals=subgoals,
        tasks=tasks,
        trials=trials,
        first_seed=first_seed,
        subgoals_per_trial=plan.subgoals,
        steps_per_subgoal=plan.steps,
        details={"folder": str(folder), "code_version": __version__, "judge": judge},
    )


def subgoal_source(name: str) -> Subgoals:
    """What a `Team` takes for "expert", "expert@STEPS", "none", or a subgoal generator's name."""
    if name.partition("@")[0] == "expert":
        return ExpertFrames(with_steps_ahead(name)[1])
    return None if name == "none" else partial(load_subgoals, name)
