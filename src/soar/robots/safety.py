"""Safety limits between a policy and an arm: workspace box, step size, frozen camera, stuck arm.

`SafeRobot` wraps any robot and is one itself. It depends only on actions, states and images, and is the one place that
checks what a driver returns or raises. A robot that may hang belongs in a process (`soar.robots.process.ProcessRobot`).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float64

from soar.contract.compare import contract_of, declares_contract
from soar.contract.contract import WIDOWX, Contract, Gripper
from soar.errors import CameraFault, ConfigError, RobotFault, SoarError, text_of
from soar.interfaces import Robot
from soar.robots.limits import Limits, Reach, clip_action, held_back
from soar.robots.returned import DriverReader, to_array
from soar.types import Action, Image, Observation, State

_ARRIVED_M = 2e-7
"""Distance in meters within which an arm has arrived where it was commanded: the rounding of float32."""
_MOST_STEPS = 10.0
"""Multiple of the largest allowed step that no arm exceeds in one step; beyond it, the driver uses another unit."""

DriverBox: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lower and upper corner [m]; see `CommandedPosition`."""
R = TypeVar("R", bound=Robot)
log = logging.getLogger(__name__)


class CommandedPosition:
    """Position that the actions so far command, which an arm that lags behind has yet to reach.

    A driver may add an action to the position commanded last. So two sums are kept since the arm last
    arrived: of the actions as sent, and as the driver says it executed them. Neither sum leaves the box. Absolute
    actions aren't added up.
    """

    def __init__(self, reach: Reach, driver_box: DriverBox | None = None) -> None:
        """Begin with an unknown position. `driver_box`: box in which the driver itself keeps the commanded position."""
        self._reach = reach
        self._low, self._high = reach.low.copy(), reach.high.copy()
        if driver_box is not None:
            self._low[np.asarray(driver_box[0]) >= self._low] = -np.inf
            self._high[np.asarray(driver_box[1]) <= self._high] = np.inf
        self.release()

    def release(self) -> None:
        """Forget the actions so far: the arm is at home, or recovered."""
        self._sums: Float64[np.ndarray, "2 n"] | None = None

    def send(self, action: Action, state: State) -> Action:
        """Return the nearest action after which the commanded position is inside the box, and add it up."""
        if self._reach.absolute:
            return action.copy()
        n, position = self._reach.count, self._reach.position(state)
        sums = np.tile(position, (2, 1)) if self._sums is None else self._sums.copy()
        arrived = np.abs(sums - position).max(1) <= _ARRIVED_M
        sums[arrived] = position
        sent = action.copy()
        step = action[:n].astype(np.float64)
        sent[:n] = held_back(step, sums, self._low, self._high).astype(np.float32)
        self._sums = sums + sent[:n]
        return sent

    def correct(self, sent: Action, executed: Action) -> None:
        """Correct the last action to the one that the driver executed."""
        if self._sums is not None:
            n = self._reach.count
            self._sums[1] += executed[:n] - sent[:n]


class StickyGripper:
    """A binary gripper that only changes after several commands in a row."""

    def __init__(self, steps: int, gripper: Gripper | None = None) -> None:
        """Begin open. `gripper`: values of the closed and the open gripper; None for 0 and 1."""
        self._steps = steps
        self._range = gripper or Gripper()
        self.release()

    def release(self) -> None:
        """Return to the state after homing: open."""
        self._open, self._opposed = True, 0

    def command(self, opening: float) -> float:
        """Return the value of the open or the closed gripper for a commanded value."""
        closed, opened = self._range.closed, self._range.open
        wanted = (opening - closed) / (opened - closed) >= 0.5
        self._opposed = self._opposed + 1 if wanted != self._open else 0
        if self._opposed >= self._steps:
            self._open, self._opposed = not self._open, 0
        return float(opened if self._open else closed)


class FrozenCamera:
    """Detects that a camera's image stays the same, bit by bit, while the arm moves."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._seen: dict[str, tuple[Image, Float64[np.ndarray, " n"]]] = {}
        """Last new image of each camera, and the position at which it was seen."""

    def check(self, observation: Observation) -> None:
        """Check an observation. Raises CameraFault: an image is frozen."""
        position = self._reach.position(observation.state)
        for name, image in {"": observation.image, **observation.other_images}.items():
            before, since = self._seen.get(name, (None, position))
            if before is None or not np.array_equal(before, image):
                self._seen[name] = image, position
            elif float(np.abs(position - since).max()) > self._reach.frozen_motion:
                which = f"camera {name}" if name else "the camera"
                raise CameraFault(f"{which}'s image stays the same while the arm moves")


class StuckArm:
    """Detects that the arm doesn't move although it is commanded to."""

    def __init__(self, reach: Reach, steps: int) -> None:
        self._reach, self._steps = reach, steps
        self.release()

    def release(self) -> None:
        """Forget the commands so far."""
        self._low: Float64[np.ndarray, " n"] = np.full(self._reach.count, np.inf)
        self._high: Float64[np.ndarray, " n"] = np.full(self._reach.count, -np.inf)
        self._count = 0

    def check(self, action: Action, state: State) -> None:
        """Check an action before it is executed. Raises RobotFault: the arm is stuck."""
        position = self._reach.position(state)
        self._low, self._high = np.minimum(self._low, position), np.maximum(self._high, position)
        step = self._reach.step(action, state)
        commanded = float(np.abs(step).max()) >= self._reach.stuck_command
        moved = float((self._high - self._low).max()) > self._reach.stuck_motion
        if not commanded or moved:
            self.release()
            return
        self._count += 1
        if self._count >= self._steps:
            raise RobotFault(f"the arm didn't move in {self._count} steps of commanded motion")


class SafeRobot(Generic[R]):
    """A robot with limited motion that detects a frozen camera and a stuck arm."""

    def __init__(
        self, robot: R, limits: Limits | None = None, contract: Contract | None = None
    ) -> None:
        """Wrap a robot.

        Args:
            robot: the robot.
            limits: limits of its motion.
            contract: meaning of its numbers; None takes the one that it declares, else the WidowX's.

        Raises:
            ConfigError: the limits don't fit the contract, or the robot's period isn't a number above 0.
        """
        self.robot = robot
        """The wrapped robot."""
        self.limits = limits or Limits()
        self.period_s = _period(robot)
        declared = contract or contract_of(robot) or WIDOWX
        self.contract = replace(declared, period_s=self.period_s)
        """Meaning of its numbers, with the robot's own period."""
        self.declares_contract = contract is not None or declares_contract(robot)
        """Whether somebody declared that meaning."""
        self._returned = DriverReader(self.contract)
        self._gripper = StickyGripper(self.limits.sticky_steps, self.contract.action.gripper)
        self._reach = Reach(self.limits, self.contract)
        self._camera = FrozenCamera(self._reach)
        self._arm = StuckArm(self._reach, self.limits.stuck_steps)
        driver_box = getattr(robot, "command_box", None)
        self._commanded = CommandedPosition(self._reach, driver_box)
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
            UnsafeAction: the action isn't finite numbers of the contract's width.
            RobotFault: the arm is stuck, the robot returned no action that an arm can make, or it raised any exception.
        """
        state = self._observe().state if self._state is None else self._state
        safe = clip_action(action, state, self.limits, self.contract, self._reach)
        if (at := self.contract.action.gripper_index) is not None:
            safe[at] = self._gripper.command(float(safe[at]))
        self._arm.check(safe, state)
        self._state = None
        sent = self._commanded.send(safe, state)
        executed = self._returned.action(self._call("execute", sent.copy()))
        self._check_executed(executed)
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
        self._camera = FrozenCamera(self._reach)
        self._call("recover")

    def close(self) -> None:
        """See `Robot.close`. A driver's exception is only logged, as nothing comes after it."""
        try:
            self._call("close")
        except SoarError as error:
            log.warning("%s", error)

    def _check_executed(self, executed: Action) -> None:
        """Raise RobotFault for an executed step that no arm makes."""
        most, step = _MOST_STEPS * self._reach.max_step, executed[: self._reach.count]
        if not self._reach.absolute and np.abs(step).max() > most:
            raise RobotFault(
                f"execute() returned the step {step.tolist()}; valid: the executed one, which can't exceed {most:g}"
            )

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
        except (SoarError, KeyboardInterrupt):
            raise
        except (
            BaseException
        ) as error:  # a driver may raise anything, also an exit or a panic of Rust
            kind = type(error).__name__
            raise RobotFault(f"{method}() raised {kind}: {text_of(error)}") from error


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
