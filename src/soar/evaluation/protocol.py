"""A hundred control steps for each trial, as in the paper: in simulated scenes, and on a real station."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from soar import __version__
from soar import checkpoint as checkpoints
from soar.errors import ConfigError
from soar.evaluation.envs import RealEvalEnv, TrialOutcome, make_sim_env
from soar.evaluation.expert_subgoals import ExpertFrames
from soar.evaluation.operator import ask_for_outcome, ask_for_start
from soar.evaluation.results import EvalSetting
from soar.evaluation.runner import FIRST_SEED, EvalSpec, Subgoals
from soar.interfaces import VisionLanguageModel
from soar.registry import load_policy, load_subgoals, load_vlm, policy_spec, subgoals_spec
from soar.rollout.station import PAPER_EPISODE, EpisodeConfig
from soar.rollout.station_config import StationConfig, build_robot, station_tasks
from soar.sim.scenes.spec import Scene
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Observation, Task
from soar.utils.clock import Clock


def sim_protocol(
    policy: str,
    scenes: Sequence[Scene],
    *,
    trials: int,
    subgoals: str = "compact",
    tasks: Sequence[str] = (),
    first_seed: int = FIRST_SEED,
    plan: EpisodeConfig = PAPER_EPISODE,
) -> tuple[EvalSpec, EvalSetting]:
    """A spec and a setting for `evaluate`.

    Args:
        policy: "gcbc" or "lcbc" as packaged, or a checkpoint's folder.
        trials: for each task.
        subgoals: what `soar.registry.load_subgoals` takes, "expert", "expert@STEPS", or "none".
        tasks: instructions; all of the scenes' when empty.
        plan: how many subgoals, and how many control steps for each (paper: 5 and 20).

    Raises:
        ConfigError: a task that none of the scenes has.
        CheckpointError: there is no such policy.
    """
    known = [(s.name, t.instruction) for s in scenes for t in s.tasks]
    chosen = _chosen(known, tasks)
    setting = _setting(policy, chosen, trials, subgoals, first_seed, "predicates", plan)
    env = partial(make_sim_env, tuple(scenes))
    return EvalSpec(partial(load_policy, policy), subgoal_source(subgoals), env), setting


def station_protocol(
    policy: str,
    station: StationConfig,
    *,
    trials: int,
    subgoals: str = "compact",
    judge: str = "person",
    tasks: Sequence[str] = (),
    plan: EpisodeConfig = PAPER_EPISODE,
    clock: Clock | None = None,
) -> tuple[EvalSpec, EvalSetting]:
    """The same on a real robot, where a person sets the table before every trial.

    Args:
        judge: "person", who is asked after every trial, or what `soar.registry.load_vlm` takes.
        tasks: instructions; all of the station's when empty.
        plan: as in `sim_protocol`.

    Raises:
        ConfigError: a task the station doesn't have.
        CheckpointError: there is no such policy.
    """
    clock = clock or Clock()
    known = {t.instruction: t for t in station_tasks(station)}
    chosen = _chosen([(station.name, instruction) for instruction in known], tasks)
    setting = _setting(policy, chosen, trials, subgoals, 1, judge, plan)
    ask = ask_for_outcome if judge == "person" else _judge_with(load_vlm(judge), known)

    def env(scene: str) -> RealEvalEnv:
        return RealEvalEnv(build_robot(station, clock), ask, ask_for_start, clock)

    goals = subgoal_source(subgoals)
    return EvalSpec(partial(load_policy, policy), goals, env, attended=True), setting


def _judge_with(
    model: VisionLanguageModel, tasks: Mapping[str, Task]
) -> Callable[[Observation, str], TrialOutcome]:
    detector = VLMSuccessDetector(model)

    def judge(observation: Observation, instruction: str) -> TrialOutcome:
        verdict = detector.judge(observation, tasks[instruction])
        return TrialOutcome(verdict.outcome, raw=verdict.raw)

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
    plan: EpisodeConfig,
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
        subgoals_per_trial=plan.subgoals,
        steps_per_subgoal=plan.steps,
        details={"folder": str(folder), "code_version": __version__, "judge": judge},
    )


def subgoal_source(name: str) -> Subgoals:
    """What a `EvalSpec` takes for "expert", "expert@STEPS", "none", or a subgoal generator's name."""
    if name.partition("@")[0] == "expert":
        return ExpertFrames(subgoals_spec(name).steps_ahead)
    return None if name == "none" else partial(load_subgoals, name)
