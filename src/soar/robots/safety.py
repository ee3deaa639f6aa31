"""Safety limits between a policy and an arm: workspace box, step size, frozen camera, stuck arm.

`SafeRobot` wraps any robot and is one itself. It depends only on actions, states and images, and is the one place that
checks what a driver returns or raises. A robot that may hang belongs in a process (`soar.robots.process.ProcessRobot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from annotated_types import Ge
from jaxtyping import Float64

from soar.errors import CameraFault, ConfigError, RobotFault, SoarError, UnsafeAction
from soar.interfaces import Robot
from soar.robots.returned import DriverReader, described, to_array
from soar.types import (
    ACTION_DIM,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
    Action,
    Image,
    Observation,
    State,
)
from soar.utils.config import check_ranges

_MARGIN_M = 1e-6
"""Margin inside the box in meters, so that float32 rounding can't move the gripper out of it."""
_ARRIVED_M = 2e-7
"""Distance in meters from which an arm has arrived where it was commanded: the rounding of float32."""

DriverBox: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lower and upper corner [m]; see `CommandedPosition`."""
R = TypeVar("R", bound=Robot)


@dataclass(frozen=True)
class Limits:
    """Safety limits of a station."""

    RENAMED: ClassVar = {
        "frozen_m": "frozen_motion_m",
        "asked_m": "stuck_command_m",
        "still_m": "stuck_motion_m",
    }

    low: tuple[float, float, float] = WORKSPACE_LOW
    """Lower corner of the end effector's workspace box in meters."""
    high: tuple[float, float, float] = WORKSPACE_HIGH
    """Upper corner of the box in meters."""
    max_step_m: float = 0.05
    """Largest change of position along each axis in one control step, in meters."""
    max_turn_rad: float = 0.35
    """Largest change of each angle in one control step, in radians."""
    sticky_steps: Annotated[int, Ge(1)] = 2
    """Number of steps in a row that must command a change of the gripper before it changes."""
    frozen_motion_m: float = 0.02
    """Motion of the end effector in meters, during which an unchanged image means a frozen camera."""
    stuck_steps: Annotated[int, Ge(1)] = 25
    """Number of steps in a row, each commanded to move by `stuck_command_m` or more, within which an end effector that
    stays in a cube of side `stuck_motion_m` means a stuck arm."""
    stuck_command_m: float = 0.005
    """Commanded motion in meters; see `stuck_steps`."""
    stuck_motion_m: float = 0.002
    """Real motion in meters; see `stuck_steps`."""

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ConfigError(f"box {self.low} .. {self.high}: each low must be below its high")
        check_ranges(self)


def clip_action(action: Any, state: State, limits: Limits) -> Action:
    """Return the nearest action that keeps the end effector in its box and the step within its limits.

    Outside of the box every motion that doesn't lead further out is allowed. The gripper's command is clipped to
    [0, 1].

    Raises:
        UnsafeAction: the action isn't seven finite numbers.
    """
    array = to_array(action)
    if array is None or array.dtype.kind not in "fiu" or array.shape != (ACTION_DIM,):
        raise UnsafeAction(f"an action is seven finite numbers, not {described(action)}")
    commanded = array.astype(np.float64)
    if not np.isfinite(commanded).all():
        raise UnsafeAction(f"an action is seven finite numbers, not {commanded.tolist()}")
    step = np.clip(commanded[:3], -limits.max_step_m, limits.max_step_m)
    step = _held_back(step, state[None, :3].astype(np.float64), limits.low, limits.high)
    turn = np.clip(commanded[3:6], -limits.max_turn_rad, limits.max_turn_rad)
    return np.concatenate([step, turn, np.clip(commanded[6:], 0, 1)]).astype(np.float32)


def _held_back(
    step: Float64[np.ndarray, "3"],
    positions: Float64[np.ndarray, "_n 3"],
    low: Sequence[float],
    high: Sequence[float],
) -> Float64[np.ndarray, "3"]:
    """Return the nearest step that leads out of the box, or further out, from none of some positions."""
    down = np.minimum(np.asarray(low) + _MARGIN_M - positions, 0).max(0)
    up = np.maximum(np.asarray(high) - _MARGIN_M - positions, 0).min(0)
    held: Float64[np.ndarray, "3"] = np.clip(step, down, up)
    return held


class CommandedPosition:
    """Position that the actions so far command, which an arm that lags behind has yet to reach.

    A driver may add an action to the position commanded last. So the actions are added up twice since the arm arrived
    last: as sent, and as the driver says that it executed them. Neither sum leaves the box.
    """

    def __init__(self, limits: Limits, driver_box: DriverBox | None = None) -> None:
        """Begin unknown. `driver_box`: box in which the driver itself keeps the commanded position."""
        self._low, self._high = np.array(limits.low), np.array(limits.high)
        if driver_box is not None:
            self._low[np.asarray(driver_box[0]) >= self._low] = -np.inf
            self._high[np.asarray(driver_box[1]) <= self._high] = np.inf
        self.release()

    def release(self) -> None:
        """Forget the actions so far: the arm is at home, or recovered."""
        self._sums: Float64[np.ndarray, "2 3"] | None = None

    def send(self, action: Action, state: State) -> Action:
        """Return the nearest action after which the commanded position is inside the box, and add it up."""
        position = state[:3].astype(np.float64)
        sums = np.tile(position, (2, 1)) if self._sums is None else self._sums.copy()
        arrived = np.abs(sums - position).max(1) <= _ARRIVED_M
        sums[arrived] = position
        sent = action.copy()
        step = action[:3].astype(np.float64)
        sent[:3] = _held_back(step, sums, tuple(self._low), tuple(self._high)).astype(np.float32)
        self._sums = sums + sent[:3]
        return sent

    def correct(self, sent: Action, executed: Action) -> None:
        """Correct the last action to the one that the driver executed."""
        if self._sums is not None:
            self._sums[1] += executed[:3] - sent[:3]


class StickyGripper:
    """A binary gripper that only changes after several commands in a row."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.release()

    def release(self) -> None:
        """Return to the state after homing: open."""
        self._open, self._opposed = True, 0

    def command(self, opening: float) -> float:
        """Return 1.0 (open) or 0.0 (closed) for a commanded opening in [0, 1]."""
        self._opposed = self._opposed + 1 if (opening >= 0.5) != self._open else 0
        if self._opposed >= self._steps:
            self._open, self._opposed = not self._open, 0
        return float(self._open)


class FrozenCamera:
    """Detects that the image stays the same, bit by bit, while the end effector moves."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._image: Image | None = None
        self._since = np.zeros(3)

    def check(self, observation: Observation) -> None:
        """Check an observation. Raises CameraFault: the image is frozen."""
        position = observation.state[:3].astype(np.float64)
        if self._image is None or not np.array_equal(self._image, observation.image):
            self._image, self._since = observation.image, position
            return
        moved = float(np.abs(position - self._since).max())
        if moved > self._limits.frozen_motion_m:
            raise CameraFault("the camera's image stays the same while the arm moves")


class StuckArm:
    """Detects that the end effector doesn't move although it is commanded to."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.release()

    def release(self) -> None:
        """Forget the commands so far."""
        self._low: Float64[np.ndarray, "3"] = np.full(3, np.inf)
        self._high: Float64[np.ndarray, "3"] = np.full(3, -np.inf)
        self._count = 0

    def check(self, action: Action, state: State) -> None:
        """Check an action before it is executed. Raises RobotFault: the arm is stuck."""
        position = state[:3].astype(np.float64)
        self._low, self._high = np.minimum(self._low, position), np.maximum(self._high, position)
        commanded = float(np.abs(action[:3]).max()) >= self._limits.stuck_command_m
        moved = float((self._high - self._low).max()) > self._limits.stuck_motion_m
        if not commanded or moved:
            self.release()
            return
        self._count += 1
        if self._count >= self._limits.stuck_steps:
            raise RobotFault(f"the arm didn't move in {self._count} steps of commanded motion")


class SafeRobot(Generic[R]):
    """A robot with limited motion that detects a frozen camera and a stuck arm."""

    def __init__(self, robot: R, limits: Limits | None = None) -> None:
        self.robot = robot
        """The wrapped robot."""
        self.limits = limits or Limits()
        self.period_s = _period(robot)
        self._returned = DriverReader()
        self._gripper = StickyGripper(self.limits.sticky_steps)
        self._camera = FrozenCamera(self.limits)
        self._arm = StuckArm(self.limits)
        driver_box = getattr(robot, "command_box", None)
        self._commanded = CommandedPosition(self.limits, driver_box)
        self._state: State | None = None

    def observe(self) -> Observation:
        """Return a copy of the robot's observation.

        Raises:
            CameraFault: the image is frozen, of another size than before in this episode, or no image.
            RobotFault: the state or the time is invalid, or the robot raised any exception.
        """
        observation = self._observe()
        self._camera.check(observation)
        return observation

    def execute(self, action: Any) -> Action:
        """Execute the nearest allowed action, from the pose last observed, and return a copy of the executed one.

        Raises:
            UnsafeAction: the action isn't seven finite numbers.
            RobotFault: the arm is stuck, the robot returned no action, or it raised any exception.
        """
        state = self._observe().state if self._state is None else self._state
        safe = clip_action(action, state, self.limits)
        safe[6] = self._gripper.command(float(safe[6]))
        self._arm.check(safe, state)
        self._state = None
        sent = self._commanded.send(safe, state)
        executed = self._returned.action(self._call("execute", sent.copy()))
        self._commanded.correct(sent, executed)
        return executed

    def home(self) -> None:
        """See `Robot.home`."""
        self._release()
        self._returned.new_episode()
        self._call("home")

    def recover(self) -> None:
        """See `Robot.recover`."""
        self._release()
        self._returned.restart()
        self._camera = FrozenCamera(self.limits)
        self._call("recover")

    def close(self) -> None:
        """See `Robot.close`."""
        self.robot.close()

    def _observe(self) -> Observation:
        observation = self._returned.observation(self._call("observe"))
        self._state = observation.state
        return observation

    def _release(self) -> None:
        self._gripper.release()
        self._arm.release()
        self._commanded.release()
        self._state = None

    def _call(self, method: str, *args: Any) -> Any:
        """Call the driver. Raises SoarError: its own; RobotFault in place of any other exception."""
        try:
            return getattr(self.robot, method)(*args)
        except SoarError:
            raise
        except Exception as error:  # a driver may raise anything
            text = " ".join(str(error).split())
            raise RobotFault(f"{method}() raised {type(error).__name__}: {text}") from error


def _period(robot: Robot) -> float:
    period = to_array(robot.period_s)
    if (
        period is None
        or period.dtype.kind not in "fiu"
        or period.shape != ()
        or not 0 < period < np.inf
    ):
        raise ConfigError(f"period_s of the robot is {robot.period_s!r}; valid: seconds above 0")
    return float(period)
