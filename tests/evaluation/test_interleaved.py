"""Interleaved evaluation of several policies on toy stations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from soar.errors import RobotFault
from soar.evaluation.interleaved import Entry, evaluate_interleaved, missing_trials
from soar.evaluation.results import EvalSetting, TrialKey, compare
from soar.evaluation.stations import StationEnvs
from soar.robots.operation.guard import release_motion, resume_motion, stop_motion
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.station_config import StationConfig
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Action, Actions, Image, Images, Noise, Observation, Outcome
from soar.utils.clock import Clock

STATIONS = [StationConfig(f"arm{i}", robot="toy", seed=i) for i in (1, 2)]
TASKS = tuple((s.name, instruction) for s in STATIONS for instruction in INSTRUCTIONS)


class Still(ToyPolicy):
    """A policy that does nothing."""

    name = "still"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        return np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (len(observations), 1))


class Operator:
    """A person who records the images of starts to reproduce, and is never asked for a verdict."""

    def __init__(self) -> None:
        self.reproduced: list[bool] = []

    def set_start(
        self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
    ) -> None:
        self.reproduced.append(recorded is not None)

    def judge(self, instruction: str, image: Image) -> Outcome:
        raise AssertionError("the detector judges")


def entries(folder: Path, trials: int = 2) -> list[Entry]:
    """A policy that does nothing, and one that solves the tasks."""
    policies = (Still(), ToyPolicy())
    settings = [
        EvalSetting(p.name, p.name, "toy", TASKS, trials, 1, 2, 12, {"judge": "detector"})
        for p in policies
    ]
    return [
        Entry(p, ToySubgoals(), s, folder / p.name) for p, s in zip(policies, settings, strict=True)
    ]


def envs(folder: Path, operator: Operator, kept: bool = False) -> StationEnvs:
    return StationEnvs(
        STATIONS,
        operator,
        VLMSuccessDetector(ToyVLM()),
        person_judges=False,
        starts=None if kept else folder / "starts",
        vlm=ToyVLM(),
        clock=Clock(speed=2000.0),
        folders={s.name: folder / "stations" / s.name for s in STATIONS},
    )


def test_policies_take_turns_at_each_start_in_an_order_that_the_seed_fixes(tmp_path: Path) -> None:
    given = entries(tmp_path, trials=8)
    order = missing_trials(given, seed=0)
    assert order == missing_trials(given, seed=0) != missing_trials(given, seed=1)
    assert len(order) == 2 * 8 * len(TASKS)
    pairs = list(zip(order[0::2], order[1::2], strict=True))
    assert all(a.key == b.key and {a.entry, b.entry} == {0, 1} for a, b in pairs)
    first = np.array([a.entry for a, _ in pairs])
    assert 0.25 < first.mean() < 0.75
    assert {key.scene for key in (a.key for a, _ in pairs[:4])} == {"arm1", "arm2"}


def test_interleaved_trials_are_judged_recorded_and_compared(tmp_path: Path) -> None:
    operator, seen = Operator(), list[TrialKey]()
    before, after = evaluate_interleaved(
        entries(tmp_path),
        envs(tmp_path, operator),
        seed=0,
        video_size=0,
        on_trial=lambda number, total, key: seen.append(key),
    )
    assert before.finished
    assert after.finished
    assert len(seen) == 2 * 2 * len(TASKS)
    assert operator.reproduced == [False, True] * (len(seen) // 2)
    assert all((t.detector, t.person) == (t.outcome, None) for t in after.trials)
    assert compare(before, after).difference.value > 0


def test_an_interrupted_evaluation_resumes_in_the_same_order(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, total: int, key: TrialKey) -> None:
        if number > 3:
            raise Interrupted

    operator, given = Operator(), entries(tmp_path)
    order = missing_trials(given, seed=0)
    with pytest.raises(Interrupted):
        evaluate_interleaved(
            given, envs(tmp_path, operator), seed=0, video_size=0, on_trial=interrupt
        )
    assert missing_trials(given, seed=0) == order[3:]
    for evaluation in evaluate_interleaved(given, envs(tmp_path, operator), seed=0, video_size=0):
        assert evaluation.finished


def test_in_a_kept_scene_tasks_that_are_possible_come_first(tmp_path: Path) -> None:
    operator = Operator()
    given = entries(tmp_path)[
        1:
    ]  # the policy that solves the tasks makes the opposite ones possible
    [evaluation] = evaluate_interleaved(
        given, envs(tmp_path, operator, kept=True), seed=0, video_size=0
    )
    assert evaluation.finished
    assert operator.reproduced == []
    assert evaluation.overall().value > 0.8


def test_a_trial_that_a_fault_ends_is_tried_again(tmp_path: Path, monkeypatch) -> None:
    calls, execute = [0], ToyRobot.execute

    def fail_once(self: ToyRobot, action: Action) -> Action:
        calls[0] += 1
        if calls[0] == 30:
            raise RobotFault("motor 3")
        return execute(self, action)

    monkeypatch.setattr(ToyRobot, "execute", fail_once)
    before, after = evaluate_interleaved(
        entries(tmp_path), envs(tmp_path, Operator()), seed=0, video_size=0
    )
    assert before.finished
    assert after.finished


def test_a_stopped_arm_waits_for_its_release_and_the_trial_is_repeated(tmp_path: Path) -> None:
    """The person stops the arm when the first trial begins, and releases it some moments later."""
    folders = [tmp_path / "stations" / s.name for s in STATIONS]
    held: list[float] = []

    class Stopping(Operator):
        def set_start(
            self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
        ) -> None:
            super().set_start(instruction, take_image, recorded)
            if not held:
                held.append(time.monotonic())
                for folder in folders:
                    stop_motion(folder, "a test")
                for folder in folders:
                    threading.Timer(0.2, release_motion, [folder]).start()
                    threading.Timer(0.4, resume_motion, [folder]).start()

    operator, given = Stopping(), entries(tmp_path, trials=1)
    for evaluation in evaluate_interleaved(given, envs(tmp_path, operator), seed=0, video_size=0):
        assert evaluation.finished
    assert time.monotonic() - held[0] > 0.4
    assert len(operator.reproduced) == 2 * len(TASKS) + 1
