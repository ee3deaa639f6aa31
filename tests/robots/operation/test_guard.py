import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar.contract.contract import ActionNumbers, Contract, Numbers
from soar.errors import MotionHeld, RobotFault
from soar.robots.limits import Limits
from soar.robots.operation.dry_run import DryRunRobot
from soar.robots.operation.guard import (
    GuardedRobot,
    MotionGuard,
    SlowStart,
    beat,
    release_motion,
    resume_motion,
    stop_motion,
)
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot

FORWARD = np.array([0.02, 0, 0, 0, 0, 0.1, 1], np.float32)


def until(what: Callable[[], object]) -> None:
    ends_s = time.monotonic() + 20
    while not what():
        assert time.monotonic() < ends_s
        time.sleep(0.005)


class LongWay(ToyRobot):
    """A robot whose way home takes until it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.held = threading.Event()

    def home(self) -> None:
        self.held.wait(10)

    def hold(self) -> None:
        self.held.set()


def test_an_emergency_stop_holds_until_it_is_released(tmp_path):
    robot = GuardedRobot(ToyRobot(), MotionGuard(tmp_path))
    robot.execute(FORWARD)
    stop_motion(tmp_path, "space bar")
    for move in (lambda: robot.execute(FORWARD), robot.home, robot.recover):
        with pytest.raises(
            MotionHeld, match=r"emergency stop \(space bar\); `soar release` releases"
        ):
            move()
    assert robot.observe().image.shape == (32, 32, 3)
    assert len(robot.robot.visited) == 1
    again = GuardedRobot(ToyRobot(), MotionGuard(tmp_path))  # a restart doesn't release it
    with pytest.raises(MotionHeld):
        again.execute(FORWARD)
    release_motion(tmp_path)
    release_motion(tmp_path)
    with pytest.raises(MotionHeld, match="released from the emergency stop; `soar resume` lets"):
        robot.execute(FORWARD)  # a release alone moves nothing
    resume_motion(tmp_path)
    robot.execute(FORWARD)


def test_a_release_without_a_stop_holds_nothing_and_a_resumption_ends_no_stop(tmp_path):
    guard = MotionGuard(tmp_path)
    release_motion(tmp_path)
    assert guard.reason() == ""
    stop_motion(tmp_path, "first")
    release_motion(tmp_path)
    stop_motion(tmp_path, "second")
    resume_motion(tmp_path)
    assert "second" in guard.reason()


def test_a_stop_reaches_a_driver_with_hold_in_the_middle_of_a_call(tmp_path):
    driver = LongWay()
    robot = GuardedRobot(driver, MotionGuard(tmp_path))
    caught: list[Exception] = []

    def home() -> None:
        try:
            robot.home()
        except MotionHeld as error:
            caught.append(error)

    homing = threading.Thread(target=home)
    homing.start()
    stop_motion(tmp_path, "")
    assert driver.held.wait(5)
    homing.join()
    assert len(caught) == 1  # it isn't at home
    robot.close()


class Unsteady(ToyRobot):
    """A robot whose `hold` fails until its bus is free."""

    def __init__(self) -> None:
        super().__init__()
        self.tries, self.free, self.held = 0, threading.Event(), threading.Event()

    def hold(self) -> None:
        self.tries += 1
        if not self.free.is_set():
            raise OSError("the bus is busy")
        self.held.set()


@pytest.mark.parametrize("released", [False, True])
def test_a_hold_that_fails_is_tried_again_and_nothing_moves_before(
    tmp_path, monkeypatch, caplog, released
):
    monkeypatch.setattr("soar.robots.operation.guard._RETRY_S", 0.01)
    driver = Unsteady()
    robot = GuardedRobot(driver, MotionGuard(tmp_path))
    stop_motion(tmp_path, "x")
    until(lambda: driver.tries > 3)
    assert caplog.text.count("the bus is busy") == 1
    if released:
        release_motion(tmp_path)
        resume_motion(tmp_path)
        with pytest.raises(RobotFault, match=r"hold\(\) failed: OSError .*the bus is busy"):
            robot.execute(FORWARD)
        robot.recover()
    driver.free.set()
    assert driver.held.wait(5)
    until(lambda: "the arm is held" in caplog.text)
    tries = driver.tries
    time.sleep(0.1)
    assert driver.tries == tries
    release_motion(tmp_path)
    resume_motion(tmp_path)
    robot.execute(FORWARD)
    robot.close()


def test_a_stop_works_where_the_folder_is_new_or_its_file_has_no_text(tmp_path):
    folder = tmp_path / "stations" / "arm1"
    guard = MotionGuard(folder)
    assert guard.reason() == ""
    stop_motion(folder, "")
    assert "no reason given" in guard.reason()


def test_a_missing_heartbeat_holds_until_the_next_one(tmp_path):
    now = [100.0]
    beat(tmp_path)  # one of an earlier day
    guard = MotionGuard(tmp_path, 5.0, lambda: now[0])
    assert "no heartbeat of the operator for 5 s" in guard.reason()
    time.sleep(0.001)
    beat(tmp_path)
    assert guard.reason() == ""
    now[0] += 4.9
    assert guard.reason() == ""
    now[0] += 0.2
    assert "no heartbeat" in guard.reason()
    beat(tmp_path)
    assert guard.reason() == ""


def test_a_folder_that_goes_away_releases_no_stop_and_is_no_heartbeat(tmp_path):
    store, away, now = tmp_path / "store", tmp_path / "away", [0.0]
    folder = store / "stations" / "arm"
    stop_motion(folder, "space bar")
    beat(folder)
    guard = MotionGuard(folder, 5.0, lambda: now[0])
    store.rename(away)
    assert f"{folder} is gone" in guard.reason()
    beat(folder)  # as any key of the terminal, which makes another folder
    assert f"{folder} is gone" in guard.reason()
    shutil.rmtree(store)
    away.rename(store)
    assert "space bar" in guard.reason()
    release_motion(folder)
    resume_motion(folder)
    assert "no heartbeat" in guard.reason()
    (folder / "heartbeat").unlink()
    assert "no heartbeat" in guard.reason()
    beat(folder)
    assert guard.reason() == ""


def test_a_stop_and_its_release_free_an_arm_whose_folder_is_lost(tmp_path):
    folder = tmp_path / "store" / "arm"
    folder.mkdir(parents=True)
    guard = MotionGuard(folder)
    (tmp_path / "store").rename(tmp_path / "lost")
    assert guard.reason()
    stop_motion(folder, "space bar")
    assert "space bar" in guard.reason()
    release_motion(folder)
    assert "released" in guard.reason()
    resume_motion(folder)
    assert guard.reason() == ""


def test_the_first_episodes_are_slow(tmp_path):
    robot = GuardedRobot(ToyRobot(), slow=SlowStart(episodes=2, speed=0.5))
    executed = []
    for _ in range(3):
        robot.home()
        executed.append(robot.execute(FORWARD))
        robot.execute(FORWARD)
        robot.home()
        robot.home()  # without motion in between this ends no episode
    assert executed[0] == pytest.approx([0.01, 0, 0, 0, 0, 0.05, 1])
    assert executed[1] == pytest.approx(executed[0])
    assert executed[2] == pytest.approx(FORWARD)


def test_absolute_targets_are_slowed_from_where_the_arm_is():
    meaning = Contract(
        action=ActionNumbers(space="joints", joints=tuple("abcdef"), reference="absolute"),
        state=Numbers(space="joints", joints=tuple("abcdef")),
    )

    class Joints(ToyRobot):
        def execute(self, action):
            return action

    robot = GuardedRobot(Joints(), slow=SlowStart(1, 0.25), contract=meaning)
    here = robot.observe().state
    sent = robot.execute(here + np.float32(0.4))
    assert sent[:6] == pytest.approx(here[:6] + 0.1, abs=1e-6)
    assert sent[6] == pytest.approx(here[6] + 0.4)


@pytest.mark.parametrize(
    ("action", "state", "told", "sent"),
    [
        (  # the short way over half a turn
            ActionNumbers(reference="absolute", zero_rotation="fingers_up"),
            [0.3, 0, 0.1, 3.13, 0, 0, 1],
            [0.3, 0, 0.1, -3.13, 0, 0, 1],
            [0.3, 0, 0.1, 3.13 + 0.5 * (2 * np.pi - 6.26), 0, 0, 1],
        ),
        (  # past half a turn, where angles have no jump
            ActionNumbers(reference="absolute", wrap="continuous", zero_rotation="fingers_up"),
            [0.3, 0, 0.1, 0, 0, 3.5, 1],
            [0.3, 0, 0.1, 0, 0, 3.6, 1],
            [0.3, 0, 0.1, 0, 0, 3.55, 1],
        ),
        (  # in the action's own unit, from a state in meters
            ActionNumbers(reference="absolute", length="mm", zero_rotation="fingers_up"),
            [0.3, 0, 0.1, 0, 0, 0, 1],
            [310, 0, 100, 0, 0, 0, 0],
            [305, 0, 100, 0, 0, 0, 0],
        ),
        (  # a quaternion turns half as far
            ActionNumbers(rotation="quaternion_xyzw", turn="left"),
            [0.3, 0, 0.1, 0, 0, 0, 1],
            [0.01, 0, 0, 0, 0, np.sin(0.2), np.cos(0.2), 1],
            [0.005, 0, 0, 0, 0, np.sin(0.1), np.cos(0.1), 1],
        ),
    ],
)
def test_a_slow_motion_is_half_of_what_the_numbers_mean(action, state, told, sent):
    class Arm(ToyRobot):
        def observe(self):
            return replace(super().observe(), state=np.array(state, np.float32))

        def execute(self, action):
            return action

    meaning = Contract(action, Numbers(zero_rotation="fingers_up"))
    robot = GuardedRobot(Arm(), slow=SlowStart(1, 0.5), contract=meaning)
    slowed = robot.execute(np.array(told, np.float32))
    assert slowed == pytest.approx(np.array(sent), abs=1e-4)


def test_an_observation_that_is_none_is_named_behind_a_guard(tmp_path):
    class Tuples(ToyRobot):
        def observe(self):
            return (1, 2)

    robot = SafeRobot(GuardedRobot(Tuples(), MotionGuard(tmp_path), SlowStart(episodes=1)))
    with pytest.raises(RobotFault, match=r"observe\(\) returned .*; valid: Observation"):
        robot.observe()
    with pytest.raises(RobotFault, match=r"observe\(\)"):
        robot.execute(FORWARD)


def test_the_drivers_other_attributes_stay_reachable():
    robot = GuardedRobot(ToyRobot(3))
    assert robot.truth("to the left") == ToyRobot(3).truth("to the left")
    with pytest.raises(AttributeError):
        _ = robot.no_such_thing


def test_a_dry_run_moves_nothing_and_returns_what_would_be_sent():
    driver = ToyRobot()
    dry, real = DryRunRobot(driver, Limits()), SafeRobot(ToyRobot(), Limits())
    wild = np.array([0.3, 0, -0.01, 0, 0, 1.0, 0.7], np.float32)
    assert dry.execute(wild) == pytest.approx(real.execute(wild))
    for _ in range(60):  # no stuck arm, and no sum of motions that leads to the edge of the box
        assert dry.execute(wild)[0] == pytest.approx(0.05)
    dry.home()
    dry.recover()
    assert driver.visited == []
    assert driver.homed == 0


def test_the_files_are_where_the_documentation_says(tmp_path: Path):
    stop_motion(tmp_path, "x")
    beat(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["emergency", "heartbeat"]
