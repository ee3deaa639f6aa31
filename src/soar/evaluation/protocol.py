"""Protocols of evaluations: a hundred control steps for each trial (paper, 4), in simulated scenes and on real stations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from soar import __version__
from soar import checkpoint as checkpoints
from soar.errors import ConfigError
from soar.evaluation.envs import MakeEvalEnv, make_sim_env
from soar.evaluation.expert_subgoals import ExpertFrames
from soar.evaluation.results import FIRST_SEED, EvalSetting
from soar.evaluation.runner import EvalSpec, SubgoalSource
from soar.registry import load_policy, load_subgoals, policy_spec, subgoals_spec
from soar.rollout.station import PAPER_EPISODE, EpisodeConfig
from soar.rollout.station_config import StationConfig, station_tasks
from soar.sim.scenes.spec import Scene


def sim_protocol(
    policy: str,
    scenes: Sequence[Scene],
    *,
    trials: int,
    subgoals: str = "compact",
    tasks: Sequence[str] = (),
    first_seed: int = FIRST_SEED,
    episode: EpisodeConfig = PAPER_EPISODE,
) -> tuple[EvalSpec, EvalSetting]:
    """Return how a policy is evaluated in simulated scenes, for `evaluate`.

    Args:
        policy: "gcbc" or "lcbc" as packaged, or a checkpoint's folder.
        scenes: the scenes.
        trials: trials of each task.
        subgoals: subgoal generator as `soar.registry` names it, "expert", "expert@STEPS", or "none".
        tasks: instructions; all of the scenes' when empty.
        first_seed: seed of the first start.
        episode: number of subgoals, and control steps for each (paper: 5 and 20).

    Raises:
        ConfigError: a task that none of the scenes has.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, t.instruction) for s in scenes for t in s.tasks]
    chosen = _chosen(known, tasks)
    setting = _setting(policy, chosen, trials, subgoals, first_seed, "predicates", episode)
    make_env = partial(make_sim_env, tuple(scenes))
    return EvalSpec(partial(load_policy, policy), subgoal_source(subgoals), make_env), setting


def station_setting(
    policy: str,
    stations: Sequence[StationConfig],
    *,
    trials: int,
    judge: str,
    subgoals: str = "compact",
    tasks: Sequence[str] = (),
    episode: EpisodeConfig = PAPER_EPISODE,
) -> EvalSetting:
    """Return the setting of an evaluation on real stations.

    Args:
        policy: see `sim_protocol`.
        stations: the stations, whose names stand for their scenes.
        trials: trials of each task.
        judge: who judges, for the record.
        subgoals: see `sim_protocol`.
        tasks: instructions; all of the stations' when empty.
        episode: see `sim_protocol`.

    Raises:
        ConfigError: a task that none of the stations has.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, task.instruction) for s in stations for task in station_tasks(s)]
    return _setting(policy, _chosen(known, tasks), trials, subgoals, 1, judge, episode)


def station_spec(policy: str, subgoals: str, make_env: MakeEvalEnv) -> EvalSpec:
    """Return how `evaluate` runs on real stations. `make_env`: see `soar.evaluation.stations.StationEnvs`."""
    return EvalSpec(partial(load_policy, policy), subgoal_source(subgoals), make_env, attended=True)


def _chosen(known: Sequence[tuple[str, str]], tasks: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (scene, instruction) of the named tasks; of all without names."""
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
    episode: EpisodeConfig,
) -> EvalSetting:
    folder = policy_spec(policy).folder
    checkpoint = checkpoints.load(folder)
    return EvalSetting(
        checkpoint=checkpoint.id,
        policy=checkpoint.kind,
        subgoals=subgoals,
        tasks=tasks,
        trials=trials,
        first_seed=first_seed,
        subgoals_per_trial=episode.num_subgoals,
        steps_per_subgoal=episode.steps_per_subgoal,
        details={"folder": str(folder), "code_version": __version__, "judge": judge},
    )


def subgoal_source(name: str) -> SubgoalSource:
    """Return the subgoals of an `EvalSpec` for "expert", "expert@STEPS", "none", or a subgoal generator's name."""
    if name.partition("@")[0] == "expert":
        return ExpertFrames(subgoals_spec(name).steps_ahead)
    return None if name == "none" else partial(load_subgoals, name)
