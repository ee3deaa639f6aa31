"""Protocols of evaluations: a hundred control steps a trial (paper, 4), in simulated scenes and on real stations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from annotated_types import Ge

from soar import __version__
from soar.errors import ConfigError
from soar.evaluation.envs import MakeEvalEnv, make_sim_env
from soar.evaluation.expert_subgoals import ExpertFrames
from soar.evaluation.results import FIRST_SEED, EvalSetting
from soar.evaluation.runner import EvalSpec, SubgoalSource
from soar.policies.identity import check_goals, policy_identity
from soar.registry import (
    COMPACT,
    load_policy,
    load_subgoals,
    policy_spec,
    subgoals_spec,
)
from soar.rollout.station_config import StationConfig, episode_config, station_tasks
from soar.sim.scenes.spec import Scene
from soar.utils.config import check_ranges
from soar.utils.files import Json, public_name


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a policy: trials of each task, from starts that are the same for every policy."""

    checkpoint: str = "gcbc"
    """Policy: "gcbc", "lcbc", a checkpoint's folder, "openpi:URL", "openvla:URL", "python:module:function", a
    registered name, or a component file."""
    subgoals: str = COMPACT
    """"compact", "expert", "expert:compact", a folder (also with @STEPS_AHEAD), "susie:FOLDER_OR_HUB_ID", or "none"."""
    trials: Annotated[int, Ge(1)] = 20
    """Trials of each task."""
    tasks: tuple[str, ...] = ()
    """Instructions to try; empty for all."""
    first_seed: Annotated[int, Ge(0)] = FIRST_SEED
    """Seed of the first start."""
    steps_per_subgoal: Annotated[int, Ge(1)] | None = None
    """Control steps for each subgoal; None for 10 with compact generators and the expert, else 20 (paper)."""

    def __post_init__(self) -> None:
        check_ranges(self)


def sim_protocol(config: EvalConfig, scenes: Sequence[Scene]) -> tuple[EvalSpec, EvalSetting]:
    """Return how a policy is evaluated in simulated scenes, for `evaluate`; a scene that is named twice counts once.

    Raises:
        ConfigError: two scenes of one name, a task that no scene has, or a policy that can't use its subgoals.
        CheckpointError: there is no such policy.
    """
    scenes = list(dict.fromkeys(scenes))
    for name, number in Counter(s.name for s in scenes).items():
        if number > 1:
            raise ConfigError(
                f"{number} different scenes are named '{name}'; valid: a name for each"
            )
    known = [(s.name, t.instruction) for s in scenes for t in s.tasks]
    setting = _setting(config, known, config.first_seed, "predicates")
    make_env = partial(make_sim_env, tuple(scenes))
    return _spec(config, make_env, attended=False), setting


def station_setting(
    config: EvalConfig, stations: Sequence[StationConfig], judge: str
) -> EvalSetting:
    """Return the setting of an evaluation on real stations, whose names stand for their scenes.

    Args:
        config: configuration.
        stations: the stations.
        judge: who judges, for the record.

    Raises:
        ConfigError: a task that none of the stations has, or a policy that can't use its subgoals.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, task.instruction) for s in stations for task in station_tasks(s)]
    return _setting(config, known, 1, judge, stations)


def station_spec(config: EvalConfig, make_env: MakeEvalEnv) -> EvalSpec:
    """Return how `evaluate` runs on real stations. `make_env`: see `soar.evaluation.stations.StationEnvs`."""
    return _spec(config, make_env, attended=True)


def _spec(config: EvalConfig, make_env: MakeEvalEnv, attended: bool) -> EvalSpec:
    policy, subgoals = partial(load_policy, config.checkpoint), subgoal_source(config.subgoals)
    return EvalSpec(policy, subgoals, make_env, attended)


def _chosen(known: Sequence[tuple[str, str]], tasks: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (scene, instruction) of the named tasks; without names, of all."""
    if unknown := set(tasks) - {instruction for _, instruction in known}:
        names = ", ".join(f"'{instruction}'" for _, instruction in known)
        raise ConfigError(f"no task '{min(unknown)}' here; there is: {names}")
    return tuple(pair for pair in known if not tasks or pair[1] in tasks)


def _setting(
    config: EvalConfig,
    known: Sequence[tuple[str, str]],
    first_seed: int,
    judge: str,
    stations: Sequence[StationConfig] = (),
) -> EvalSetting:
    check_goals(config.checkpoint, config.subgoals)
    tasks, policy = _chosen(known, config.tasks), policy_identity(config.checkpoint)
    episode = episode_config(stations, config.subgoals, config.steps_per_subgoal)
    spec = policy_spec(config.checkpoint)
    details: dict[str, Json] = {"code_version": __version__, "judge": judge}
    if spec.is_compact:
        details["folder"] = public_name(spec.folder)
    else:
        details |= {"model": f"{spec.kind}:{spec.source}", "options": dict(spec.options)}
    return EvalSetting(
        checkpoint=policy.id,
        policy=policy.kind,
        subgoals=config.subgoals,
        tasks=tasks,
        trials=config.trials,
        first_seed=first_seed,
        subgoals_per_trial=episode.num_subgoals,
        steps_per_subgoal=episode.steps_per_subgoal,
        duration_s=episode.duration_s,
        details=details,
    )


def subgoal_source(name: str) -> SubgoalSource:
    """Return the subgoals of an `EvalSpec` for an expert's, "none", or a subgoal generator's name."""
    spec = subgoals_spec(name)
    if spec.kind == "expert":
        return ExpertFrames(spec.steps_ahead, spec.base)
    return None if name == "none" else partial(load_subgoals, name)
