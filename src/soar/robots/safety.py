"""Safety between a policy and an arm: whatever is asked for, the hand stays in its box.

`SafeRobot` wraps any robot and is one itself. It knows no model and no task; it looks only at actions,
states and images. A robot that may hang belongs in a `soar.robots.process.ProcessRobot` inside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64

from soar.errors import CameraFault, ConfigError, RobotFault, UnsafeAction
from soar.interfaces import Robot
from soar.types import Action, Image, Observation, State

_MARGIN_M = 1e-6
"""The box shrinks by so much, so that float32 rounding can't carry the hand out of it."""

R = TypeVar("R", bound=Robot)


@dataclass(frozen=True)
class Limits:
    """What a station allows. The box is that of the paper's released configuration."""

    low: tuple[float, float, float] = (0.156, -0.205, 0.030)
    high: tuple[float, float, float] = (0.423, 0.283, 0.165)
    """Workspace box of the end effector [m]."""
    max_step_m: float = 0.05
    """Largest change of position in one control step, along each axis."""
    max_turn_rad: float = 0.35
    """Largest change of each angle in one control step."""
    sticky_steps: int = 2
    """The gripper changes only after so many steps in a row that ask for it."""
    frozen_m: float = 0.02
    """The same picture, to the last bit, after the hand has moved so far, is a frozen camera."""
    stuck_steps: int = 25
    """So many steps in a row that ask for `asked_m` each, within which the hand stays in a cube of
    `still_m`, are a stuck arm."""
    asked_m: float = 0.005
    still_m: float = 0.002

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ConfigError(f"box {self.low} .. {self.high}: each low must be below its high")
        if min(self.sticky_steps, self.stuck_steps) < 1:
            raise ConfigError("sticky_steps and stuck_steps must be at least 1")


def clip_action(action: Action, state: State, limits: Limits) -> Action:
    """The nearest motion that keeps the hand in its box and every step within its limits.

    From outside of the box every motion that doesn't lead further out is allowed. The gripper's
    command is clipped to 0..1.

    Raises:
        UnsafeAction: the action isn't seven finite numbers.
    """
    if np.shape(action) != (7,) or not np.isfinite(action).all():
        raise UnsafeAction(f"an action is seven finite numbers, not {np.asarray(action).tolist()}")
    wanted = np.asarray(action, np.float64)
    position = state[:3].astype(np.float64)
    down = np.minimum(np.asarray(limits.low) + _MARGIN_M - position, 0)
    up = np.maximum(np.asarray(limits.high) - _MARGIN_M - position, 0)
    step = np.clip(np.clip(wanted[:3], -limits.max_step_m, limits.max_step_m), down, up)
    turn = np.clip(wanted[3:6], -limits.max_turn_rad, limits.max_turn_rad)
    return np.concatenate([step, turn, np.clip(wanted[6:], 0, 1)]).astype(np.float32)


class StickyGripper:
    """Open or closed, nothing between, and only a repeated wish changes it."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.release()

    def release(self) -> None:
        """Open, with nothing pending: the gripper after homing."""
        self._open, self._wishes = True, 0

    def command(self, wanted: float) -> float:
        """1.0 (open) or 0.0 (closed) for a wish in 0..1."""
        self._wishes = self._wishes + 1 if (wanted >= 0.5) != self._open else 0
        if self._wishes >= self._steps:
            self._open, self._wishes = not self._open, 0
        return float(self._open)


class FrozenCamera:
    """Notices that the picture stays the same, to the last bit, while the hand moves."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._image: Image | None = None
        self._since = np.zeros(3)

    def see(self, observation: Observation) -> None:
        """Raises CameraFault once the picture is frozen."""
        position = observation.state[:3].astype(np.float64)
        if self._image is None or not np.array_equal(self._image, observation.image):
            self._image, self._since = observation.image, position
            return
        moved = float(np.abs(position - self._since).max())
        if moved > self._limits.frozen_m:
            raise CameraFault("the camera shows one and the same picture while the hand moves")


class StuckArm:
    """Notices that the hand doesn't go anywhere although it is asked to."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.release()

    def release(self) -> None:
        """Forget what was asked so far."""
        self._low: Float64[np.ndarray, "3"] = np.full(3, np.inf)
        self._high: Float64[np.ndarray, "3"] = np.full(3, -np.inf)
        self._count = 0

    def ask(self, action: Action, state: State) -> None:
        """Raises RobotFault once the arm is stuck."""
        position = state[:3].astype(np.float64)
        self._low, self._high = np.minimum(self._low, position), np.maximum(self._high, position)
        asked = float(np.abs(action[:3]).max()) >= self._limits.asked_m
        moved = float((self._high - self._low).max()) > self._limits.still_m
        if not asked or moved:
            self.release()
            return
        self._count += 1
        if self._count >= self._limits.stuck_steps:
            raise RobotFault(f"the arm didn't move in {self._count} steps that asked it to")


class SafeRobot(Generic[R]):
    """A robot whose every motion is limited, whose camera is alive and whose arm moves."""

    def __init__(self, robot: R, limits: Limits | None = None) -> None:
        self.robot = robot
        """The robot inside, for what only it can do (a simulator's truth)."""
        self.limits = limits or Limits()
        self.period_s = robot.period_s
        self._gripper = StickyGripper(self.limits.sticky_steps)
        self._camera = FrozenCamera(self.limits)
        self._arm = StuckArm(self.limits)
        self._state: State | None = None

    def observe(self) -> Observation:
        """What the robot inside sees. Raises CameraFault when the picture is frozen or not a picture."""
        seen = self.robot.observe()
        if seen.image.ndim != 3 or seen.image.shape[2] != 3 or not np.isfinite(seen.state).all():
            raise CameraFault(f"an observation without picture or pose: image {seen.image.shape}")
        self._camera.see(seen)
        self._state = seen.state
        return seen

    def execute(self, action: Action) -> Action:
        """The nearest allowed motion, from the pose last observed.

        Raises:
            UnsafeAction: the action is not a motion at all.
            RobotFault: the arm is stuck, or the robot inside gave up.
        """
        if self._state is None:
            self._state = self.robot.observe().state
        safe = clip_action(action, self._state, self.limits)
        safe[6] = self._gripper.command(float(safe[6]))
        self._arm.ask(safe, self._state)
        self._state = None
        return self.robot.execute(safe)

    def home(self) -> None:
        """Home the robot inside; the gripper is open again."""
        self._gripper.release()
        self._arm.release()
        self._state = None
        self.robot.home()

    def recover(self) -> None:
        """Recover the robot inside and start watching afresh."""
        self._gripper.release()
        self._arm.release()
        self._camera = FrozenCamera(self.limits)
        self._state = None
        self.robot.recover()

    def close(self) -> None:
        """Release the robot inside."""
        self.robot.close()
