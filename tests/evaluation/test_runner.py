"""Trials in lockstep, batches and resuming, with the toy robot."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError, ModelUnavailable, RobotFault
from soar.evaluation.envs import EvalEnv, TrialOutcome
from soar.evaluation.results import (
    TRIALS,
    EvalSetting,
    Evaluation,
    Trial,
    TrialKey,
    add_trials,
    open_evaluation,
)
from soar.evaluation.runner import EvalSpec, evaluate, missing_batches
from soar.evaluation.trials import run_trials
from soar.interfaces import Policy, Robot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals
from soar.rollout.station import EpisodeConfig
from soar.types import Action, Actions, Images, Noise, Observation
from soar.utils.media import read_video

LEFT, RIGHT = INSTRUCTIONS


class ToyEnv:
    """An environment of the toy robot, judged by the toy's own truth."""

    metronome = None
    needs_all_frames = False

    def __init__(self, scene: str, breaks_after: int | None = None) -> None:
        self.toy = ToyRobot()
        self.robot: Robot = self.toy
        self.breaks_after = breaks_after
        self.instruction = ""

    def reset(self, instruction: str, seed: int) -> None:
        self.instruction = instruction
        self.toy.reset(seed)
        if self.breaks_after:
            self.robot = Breaking(self.toy, self.breaks_after)

    def fulfilled(self) -> bool | None:
        words = self.instruction.removesuffix(" side")
        return self.toy.truth(words)

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        return TrialOutcome("success" if done and not fault else "failure", raw=fault)

    def close(self) -> None:
        self.toy.close()


class Breaking:
    """A robot whose motor fails after some steps."""

    def __init__(self, robot: ToyRobot, after: int) -> None:
        self.robot, self.left, self.period_s = robot, after, robot.period_s
        self.observe, self.home = robot.observe, robot.home
        self.recover, self.close = robot.recover, robot.close

    def execute(self, action: Action) -> Action:
        self.left -= 1
        if self.left < 0:
            raise RobotFault("motor 3 reports an overload")
        return self.robot.execute(action)


class Random:
    """A policy that acts at random and records the sizes of its batches."""

    name = "random"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.goals: list[Images | Sequence[str]] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        self.batches.append(len(observations))
        self.goals.append(goals)
        actions = np.zeros((len(observations), 7), np.float32)
        actions[:, :3] = rng.normal(0, 0.04, (len(observations), 3))
        actions[:, 6] = rng.random(len(observations)) < 0.2
        return actions


SPEC = EvalSpec(Random, ToySubgoals, ToyEnv)
SETTING = EvalSetting(
    "c0", "random", "toy-subgoals", (("toy", LEFT), ("toy", RIGHT)), 5, 100, 2, 10
)


def run(folder: Path, setting: EvalSetting = SETTING, lockstep: int = 4) -> Evaluation:
    return evaluate(SPEC, setting, folder, lockstep=lockstep, video_size=0)


def test_every_task_gets_its_trials(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.finished
    assert len(found.trials) == 10
    assert {t.seed for t in found.trials} == set(range(100, 105))
    assert 0 < found.overall().value < 1


def test_an_interrupted_evaluation_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    lines = (tmp_path / "whole" / TRIALS).read_text().splitlines(keepends=True)
    open_evaluation(tmp_path / "half", SETTING)
    (tmp_path / "half" / TRIALS).write_text("".join(lines[:4]) + lines[4][:20])
    assert sorted(map(str, run(tmp_path / "half").trials)) == sorted(map(str, whole.trials))


def test_a_finished_evaluation_runs_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / TRIALS).read_text()
    run(tmp_path)
    assert (tmp_path / TRIALS).read_text() == before


def test_an_extended_evaluation_repeats_no_trials(tmp_path: Path) -> None:
    few = run(tmp_path, replace(SETTING, trials=4))
    many = run(tmp_path, replace(SETTING, trials=6))
    assert len(many.trials) == 12
    assert set(few.trials) < set(many.trials)


def test_unknown_trials_are_repeated(tmp_path: Path) -> None:
    setting = replace(SETTING, tasks=(("toy", LEFT),), trials=2)
    open_evaluation(tmp_path, setting)
    add_trials(tmp_path, [Trial("toy", LEFT, 100, "unknown"), Trial("toy", LEFT, 101, "success")])
    batches = missing_batches(open_evaluation(tmp_path))
    assert [k.seed for b in batches for k in b.keys] == [100]
    assert run(tmp_path, setting).finished


def test_tasks_take_turns(tmp_path: Path) -> None:
    setting = replace(SETTING, trials=8)
    batches = missing_batches(open_evaluation(tmp_path, setting), lockstep=4)
    assert [b.keys[0].instruction for b in batches] == [LEFT, RIGHT, LEFT, RIGHT]
    assert len({b.entropy for b in batches}) == 4


def test_single_trials_of_one_scenes_tasks_share_a_batch(tmp_path: Path) -> None:
    tasks = (("a", LEFT), ("a", RIGHT), ("b", LEFT))
    setting = replace(SETTING, tasks=tasks, trials=1)
    batches = missing_batches(open_evaluation(tmp_path, setting))
    assert [len(b.keys) for b in batches] == [2, 1]


def test_an_evaluation_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one trial"):
        run(tmp_path, replace(SETTING, trials=0))


def lockstep(
    envs: Sequence[EvalEnv],
    folder: Path,
    episode_config: EpisodeConfig,
    policy: Policy | None = None,
    video_size: int = 0,
) -> list[Trial]:
    keys = [TrialKey("toy", LEFT, s) for s in range(len(envs))]
    rng = np.random.default_rng(0)
    return run_trials(
        envs, keys, policy or Random(), ToySubgoals(), episode_config, rng, folder, video_size
    )


def test_one_call_of_the_policy_acts_in_all_environments(tmp_path: Path) -> None:
    policy = Random()
    lockstep([ToyEnv("toy") for _ in range(3)], tmp_path, EpisodeConfig(2, 7), policy)
    assert policy.batches == [3] * 14
    assert policy.resets == 1


def test_a_fault_in_one_environment_does_not_stop_the_others(tmp_path: Path) -> None:
    envs = [ToyEnv("toy", breaks_after=3), ToyEnv("toy")]
    broken, whole = lockstep(envs, tmp_path, EpisodeConfig(2, 7))
    assert broken.outcome == "failure"
    assert broken.raw == "motor 3 reports an overload"
    assert len(envs[0].toy.visited) == 3
    assert len(envs[1].toy.visited) == 14
    assert whole.raw == ""


def test_a_trial_is_judged_at_its_end_and_records_whether_the_task_was_ever_done(
    tmp_path: Path,
) -> None:
    class Flicker(ToyEnv):
        checks = 0

        def fulfilled(self) -> bool:
            self.checks += 1
            return self.checks == 2

    (trial,) = lockstep([Flicker("toy")], tmp_path, EpisodeConfig(1, 4))
    assert (trial.outcome, trial.ever) == ("failure", True)


def test_the_video_has_a_frame_for_every_observation(tmp_path: Path) -> None:
    (trial,) = lockstep([ToyEnv("toy")], tmp_path, EpisodeConfig(2, 7), video_size=64)
    assert read_video(tmp_path / trial.video).shape == (15, 64, 64, 3)


def test_a_language_conditioned_policy_gets_instructions_as_goals(tmp_path: Path) -> None:
    policy = Random()
    setting = replace(SETTING, subgoals="none", tasks=(("toy", LEFT),), trials=2)
    evaluate(EvalSpec(lambda: policy, None, ToyEnv), setting, tmp_path, video_size=32)
    assert list(policy.goals[0]) == [LEFT, LEFT]


def test_a_capable_policy_succeeds(tmp_path: Path) -> None:
    spec = EvalSpec(ToyPolicy, ToySubgoals, ToyEnv)
    found = evaluate(spec, replace(SETTING, steps_per_subgoal=20), tmp_path)
    assert found.overall().value == 1.0


def test_environments_of_the_scene_before_are_closed(tmp_path: Path) -> None:
    closed: list[str] = []

    class Closing(ToyEnv):
        def __init__(self, scene: str, log: list[str]) -> None:
            super().__init__(scene)
            self.scene, self.log = scene, log

        def close(self) -> None:
            self.log.append(self.scene)

    spec = EvalSpec(Random, ToySubgoals, partial(Closing, log=closed))
    setting = replace(SETTING, tasks=(("a", LEFT), ("b", LEFT)), trials=2)
    evaluate(spec, setting, tmp_path, video_size=0)
    assert closed == ["a", "a", "b", "b"]


def test_an_exception_of_a_policy_of_others_is_one_line_that_says_where(tmp_path: Path) -> None:
    class Failing(ToyPolicy):
        def act(self, *args: object, **options: object) -> Actions:
            raise KeyError("weights")

    spec = EvalSpec(Failing, ToySubgoals, ToyEnv)
    with pytest.raises(
        ModelUnavailable, match=r"act\(\) raised KeyError at .*test_runner.py:\d+: "
    ):
        evaluate(spec, SETTING, tmp_path, video_size=0)
