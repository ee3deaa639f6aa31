import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar.errors import CameraFault, ConfigError, RobotFault, UnsafeAction
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.limits import Limits, clip_action
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.types import Action, Observation

IMAGE = np.zeros((8, 8, 3), np.uint8)
OPEN = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
finite = st.floats(-1e6, 1e6, width=32)


def action(x: float = 0.0, y: float = 0.0, z: float = 0.0, gripper: float = 1.0) -> Action:
    return np.array([x, y, z, 0, 0, 0, gripper], np.float32)


class Point:
    """An end effector without a camera, so that a hundred thousand steps take seconds."""

    period_s = 0.2

    def __init__(self) -> None:
        self.position = np.array([0.3, 0, 0.1])
        self.visited: list[np.ndarray] = []
        self.executed: list[np.ndarray] = []

    def observe(self) -> Observation:
        state = np.array([*self.position, 0, 0, 0, 1], np.float32)
        return Observation(IMAGE, state, 0.0)

    def execute(self, action: Action) -> Action:
        self.position = self.position + action[:3]
        self.visited.append(self.position)
        self.executed.append(action)
        return action

    def home(self) -> None: ...

    def recover(self) -> None: ...

    def close(self) -> None: ...


def wander(steps):
    point, rng = Point(), np.random.default_rng(0)
    robot = SafeRobot(point)
    scale = 10.0 ** rng.integers(-4, 4, size=(steps, 1))
    for commanded in (rng.normal(size=(steps, 7)) * scale).astype(np.float32):
        robot.execute(commanded)
    visited, executed, limits = np.array(point.visited), np.array(point.executed), robot.limits
    assert len(visited) == steps
    assert (visited >= limits.low).all()
    assert (visited <= limits.high).all()
    assert np.abs(executed[:, :3]).max() <= np.float32(limits.max_step_m)
    assert np.abs(executed[:, 3:6]).max() <= np.float32(limits.max_turn_rad)
    assert set(executed[:, 6]) == {0, 1}
    assert np.ptp(visited, axis=0).min() > 0.1, "the motion covers the box"


@pytest.mark.parametrize("actions", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_actions_never_leave_the_box(actions):
    """In a process without the tests' type checks, which would take most of the time."""
    code = f"import runpy; runpy.run_path({__file__!r})['wander']({actions})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@given(st.tuples(*[finite] * 7), st.tuples(*[st.floats(-1, 1, width=32)] * 3))
@settings(max_examples=200, deadline=None)
def test_no_motion_leads_further_out_of_the_box(commanded, position):
    limits = Limits()
    state = np.array([*position, 0, 0, 0, 1], np.float32)
    safe = clip_action(np.array(commanded, np.float32), state, limits)
    now, then = np.array(position), np.array(position) + safe[:3]
    low, high = np.array(limits.low), np.array(limits.high)
    assert (then >= np.minimum(low, now)).all()
    assert (then <= np.maximum(high, now)).all()
    assert 0 <= safe[6] <= 1


class Lagging(Point):
    """An arm that goes a part of the way to its target in each step, and says so or not."""

    def __init__(self, gain: float, adds_to_target: bool, returns_motion: bool) -> None:
        super().__init__()
        self.gain, self.adds_to_target, self.returns_motion = gain, adds_to_target, returns_motion
        self.target = self.position

    def execute(self, action: Action) -> Action:
        start = self.target if self.adds_to_target else self.position
        self.target = start + action[:3]
        motion = self.gain * (self.target - self.position)
        self.position = self.position + motion
        self.visited.append(self.position)
        executed = action.copy()
        if self.returns_motion:
            executed[:3] = motion
        return executed

    def home(self) -> None:
        self.position = self.target = np.array([0.3, 0, 0.1])


@given(st.floats(0.05, 1.0), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_an_arm_that_lags_behind_never_leaves_the_box(gain, adds, returns, observes, seed):
    arm, rng = Lagging(gain, adds, returns), np.random.default_rng(seed)
    robot = SafeRobot(arm, Limits(stuck_steps=10_000, frozen_motion_m=1.0))
    heading = np.zeros(7)
    for step in range(120):
        if step % 15 == 0:
            heading = rng.normal(0, 10.0 ** rng.integers(-3, 1), 7)
        if step % 50 == 49:
            robot.home()
        if observes:
            robot.observe()
        robot.execute((heading + rng.normal(0, 0.01, 7)).astype(np.float32))
    visited, limits = np.array(arm.visited), robot.limits
    assert (visited >= np.array(limits.low) - 1e-5).all()
    assert (visited <= np.array(limits.high) + 1e-5).all()
    assert np.ptp(visited, axis=0).max() > 0.01


def test_a_command_out_of_the_box_still_counts_for_a_stuck_arm():
    robot = SafeRobot(Jammed())
    for _ in range(24):
        robot.execute(action(x=0.05))
    with pytest.raises(RobotFault, match="didn't move in 25 steps"):
        robot.execute(action(x=0.05))


@given(st.tuples(*[st.floats(-0.03125, 0.03125, width=32)] * 6))
@settings(max_examples=100, deadline=None)
def test_an_allowed_motion_is_left_alone(step):
    limits = Limits(low=(-1, -1, -1), high=(1, 1, 1))
    commanded = np.array([*step, 1], np.float32)
    assert np.array_equal(clip_action(commanded, np.zeros(7, np.float32), limits), commanded)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dim", range(7))
def test_an_action_that_is_not_finite_is_refused_without_motion(bad, dim):
    toy = ToyRobot()
    robot = SafeRobot(toy)
    commanded = OPEN.copy()
    commanded[dim] = bad
    with pytest.raises(UnsafeAction, match="7 finite numbers"):
        robot.execute(commanded)
    assert toy.visited == []


def test_the_gripper_changes_only_after_two_commands_in_a_row():
    robot = SafeRobot(ToyRobot())
    commands = [0.1, 0.9, 0.2, 0.3, 0.9, 0.4, 0.8, 0.7]
    executed = [float(robot.execute(action(x=0.001, gripper=c))[6]) for c in commands]
    assert executed == [1, 1, 1, 0, 0, 0, 0, 1]


def test_homing_opens_the_gripper():
    robot = SafeRobot(ToyRobot(), Limits(sticky_steps=1))
    assert robot.execute(action(gripper=0))[6] == 0
    robot.home()
    assert robot._gripper.command(1.0) == 1.0


def test_a_frozen_camera_is_detected_while_the_arm_moves():
    robot = SafeRobot(FaultyRobot(ToyRobot(), FaultRates(frozen=1.0), seed=0))
    robot.robot._last = robot.robot.robot.observe()

    def drive() -> None:
        for _ in range(10):
            robot.observe()
            robot.execute(action(y=0.01))

    with pytest.raises(CameraFault, match="image stays the same"):
        drive()


def test_a_still_scene_is_not_a_frozen_camera():
    robot = SafeRobot(ToyRobot())
    for _ in range(50):
        robot.observe()
        robot.execute(OPEN)


class Jammed(ToyRobot):
    def execute(self, action):
        return np.zeros(7, np.float32)


def test_a_stuck_arm_is_detected_and_recovery_restarts_the_count():
    robot = SafeRobot(Jammed(), Limits(stuck_steps=5))
    for _ in range(2):
        for _ in range(4):
            robot.execute(action(x=0.02))
        with pytest.raises(RobotFault, match="didn't move in 5 steps"):
            robot.execute(action(x=0.02))
        robot.recover()


def test_a_resting_arm_is_not_stuck():
    robot = SafeRobot(Jammed(), Limits(stuck_steps=5))
    for step in range(50):
        robot.execute(action(x=0.02 if step % 5 else 0.0))


def test_invalid_limits_are_refused():
    with pytest.raises(ConfigError, match="each low must be below its high"):
        Limits(low=(0, 0, 0), high=(1, 1, 0))
    with pytest.raises(ConfigError, match="at least 1"):
        Limits(sticky_steps=0)


def test_a_seed_determines_the_injected_faults():
    def injected(seed: int) -> list[str]:
        robot = FaultyRobot(ToyRobot(), FaultRates(motor=0.1, gone=0.05, recovery=0.5), seed)
        for _ in range(200):
            try:
                robot.observe()
                robot.execute(OPEN)
            except RobotFault:
                while robot._fault:
                    try:
                        robot.recover()
                    except RobotFault:
                        continue
        return robot.injected

    assert injected(1) == injected(1)
    assert injected(1) != injected(2)
    assert {"motor", "gone"} <= set(injected(1))
