"""Limits of a robot's motion, and the nearest action within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float64

from soar.contract.contract import WIDOWX, ActionNumbers, Contract, Numbers
from soar.errors import ConfigError, UnsafeAction
from soar.robots.returned import described, to_array
from soar.types import WORKSPACE_HIGH, WORKSPACE_LOW, Action, State
from soar.utils.config import check_ranges

_MARGIN_M = 1e-6
"""Margin inside the box in meters, so that float32 rounding can't move the gripper out of it."""


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
    max_step_m: Annotated[float, Gt(0)] = 0.05
    """Largest change of position along each axis in one control step, in meters."""
    max_turn_rad: Annotated[float, Ge(0)] = 0.35
    """Largest change of each angle, or of each joint, in one control step, in radians."""
    sticky_steps: Annotated[int, Ge(1)] = 2
    """Number of steps in a row that must command a change of the gripper before it changes."""
    frozen_motion_m: Annotated[float, Ge(0)] = 0.02
    """Motion of the end effector in meters, during which an unchanged image means a frozen camera."""
    stuck_steps: Annotated[int, Ge(1)] = 25
    """Number of steps in a row, each commanded to move by `stuck_command_m` or more, within which an end effector that
    stays in a cube of side `stuck_motion_m` means a stuck arm."""
    stuck_command_m: Annotated[float, Ge(0)] = 0.005
    """Commanded motion in meters; see `stuck_steps`."""
    stuck_motion_m: Annotated[float, Ge(0)] = 0.002
    """Real motion in meters; see `stuck_steps`."""
    joints_low: tuple[float, ...] = ()
    """Smallest angle of each joint in radians, for an arm that is driven by joints; empty for none."""
    joints_high: tuple[float, ...] = ()
    """Largest angle of each joint in radians; empty for none."""
    frozen_turn_rad: Annotated[float, Ge(0)] = 0.1
    """`frozen_motion_m` of an arm that is driven by joints, in radians."""
    stuck_command_rad: Annotated[float, Ge(0)] = 0.02
    """`stuck_command_m` of such an arm, in radians."""
    stuck_turn_rad: Annotated[float, Ge(0)] = 0.008
    """`stuck_motion_m` of such an arm, in radians."""

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ConfigError(f"box {self.low} .. {self.high}: each low must be below its high")
        if self.joints_low and self.joints_high:
            pairs = zip(self.joints_low, self.joints_high, strict=False)
            if len(self.joints_low) != len(self.joints_high) or any(a >= b for a, b in pairs):
                raise ConfigError(
                    f"joints {self.joints_low} .. {self.joints_high}: each low must be below its high"
                )
        check_ranges(self)


class Reach:
    """The numbers that limits apply to, in the robot's units: the end effector's position, or all joints."""

    def __init__(self, limits: Limits, contract: Contract) -> None:
        """Translate the limits.

        Raises:
            ConfigError: they don't fit the contract; the message names the remedy.
        """
        action, state = contract.action, contract.state
        _check_limited(action, state, limits)
        joints = action.space == "joints"
        self.count = action.motion_dim if joints else 3
        self.absolute = action.reference == "absolute"
        unit = np.pi / 180 if joints and action.angle == "deg" else 1.0
        """Radians or meters per number."""
        wide = (np.inf,) * self.count
        low, high = (limits.joints_low, limits.joints_high) if joints else (limits.low, limits.high)
        self.low: Float64[np.ndarray, " n"] = np.array(low or wide) / unit * (1 if low else -1)
        self.high: Float64[np.ndarray, " n"] = np.array(high or wide) / unit
        self.max_step = limits.max_turn_rad / unit if joints else limits.max_step_m
        self.frozen_motion = (limits.frozen_turn_rad if joints else limits.frozen_motion_m) / unit
        self.stuck_command = (limits.stuck_command_rad if joints else limits.stuck_command_m) / unit
        self.stuck_motion = (limits.stuck_turn_rad if joints else limits.stuck_motion_m) / unit

    def position(self, state: State) -> Float64[np.ndarray, " n"]:
        """Return the numbers of a state that limits apply to."""
        return state[: self.count].astype(np.float64)

    def step(self, action: Action, state: State) -> Float64[np.ndarray, " n"]:
        """Return the change that an action commands."""
        numbers = action[: self.count].astype(np.float64)
        return numbers - self.position(state) if self.absolute else numbers


def _check_limited(action: ActionNumbers, state: Numbers, limits: Limits) -> None:
    """Raise ConfigError if the limits can't hold for these numbers."""
    remedy = "let the station convert it: `convert: true`"
    if action.space != state.space or action.joints != state.joints or action.angle != state.angle:
        raise ConfigError("limits need actions and states of the same space, joints and angles")
    if action.scale or state.scale:
        raise ConfigError(f"limits need physical units, not a scale; {remedy}")
    if action.space == "joints":
        for name in ("joints_low", "joints_high"):
            if len(getattr(limits, name)) not in (0, len(action.joints)):
                raise ConfigError(
                    f"box: {name} needs a number for each of {len(action.joints)} joints"
                )
        return
    plain = ("m", "rad", "x_forward_y_left")
    if any((n.length, n.angle, n.axes) != plain for n in (action, state)):
        raise ConfigError(f"the box needs meters and radians with x forward, y left; {remedy}")
    small = ("rpy", "rotvec", "yaw", "none")
    if (action.reference, action.frame) != ("delta", "base") or action.rotation not in small:
        raise ConfigError(
            f"the box needs deltas in the base frame with angles or a rotation vector; {remedy}"
        )


def clip_action(
    action: Any,
    state: State,
    limits: Limits,
    contract: Contract = WIDOWX,
    reach: Reach | None = None,
) -> Action:
    """Return the nearest action that keeps the end effector, or the joints, in the box and within the largest step.

    Outside of the box every motion that doesn't lead further out is allowed. The gripper's command is clipped to
    its range.

    Raises:
        UnsafeAction: the action isn't finite numbers of the contract's width.
    """
    reach, meaning, array = reach or Reach(limits, contract), contract.action, to_array(action)
    valid = f"an action is {meaning.dim} finite numbers"
    if array is None or array.dtype.kind not in "fiu" or array.shape != (meaning.dim,):
        raise UnsafeAction(f"{valid}, not {described(action)}")
    commanded = array.astype(np.float64)
    if not np.isfinite(commanded).all():
        raise UnsafeAction(f"{valid}, not {commanded.tolist()}")
    n, position = reach.count, reach.position(state)
    step = commanded[:n] - position if reach.absolute else commanded[:n]
    step = np.clip(step, -reach.max_step, reach.max_step)
    step = held_back(step, position[None], reach.low, reach.high)
    turn = np.clip(commanded[n : meaning.motion_dim], -limits.max_turn_rad, limits.max_turn_rad)
    gripper = commanded[meaning.motion_dim :]
    if meaning.gripper is not None:
        ends = meaning.gripper.closed, meaning.gripper.open
        gripper = np.clip(gripper, min(ends), max(ends))
    motion = position + step if reach.absolute else step
    return np.concatenate([motion, turn, gripper]).astype(np.float32)


def held_back(
    step: Float64[np.ndarray, " n"],
    positions: Float64[np.ndarray, "_m n"],
    low: Float64[np.ndarray, " n"],
    high: Float64[np.ndarray, " n"],
) -> Float64[np.ndarray, " n"]:
    """Return the nearest step that, from any of some positions, leads neither out of the box nor further out."""
    down = np.minimum(low + _MARGIN_M - positions, 0).max(0)
    up = np.maximum(high - _MARGIN_M - positions, 0).min(0)
    held: Float64[np.ndarray, " n"] = np.clip(step, down, up)
    return held
