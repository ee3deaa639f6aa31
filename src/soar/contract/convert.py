"""Conversion of states and actions between contracts, by way of the pose in meters and a rotation matrix.

Both contracts are declared, so nothing is guessed. An end effector's pose and joints are no conversion of each other:
that takes the arm's kinematics (`soar.robots.ik`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

from soar.contract.contract import LENGTHS_M, WIDOWX, ActionNumbers, Contract, Numbers
from soar.contract.rotations import about, from_matrix, to_matrix, wrap
from soar.errors import ConfigError

Vectors: TypeAlias = Float64[np.ndarray, "*n _d"]
_Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

_ANGULAR = ("rpy", "yaw", "rotvec")
"""Rotations whose numbers are angles."""
_ZERO = {
    "fingers_down": np.eye(3),
    "fingers_up": about(0, np.array(math.pi)),
    "fingers_forward": about(1, np.array(-math.pi / 2)),
}
"""The hand's rotation at zero of a convention, relative to fingers down."""
_AXES = {"x_forward_y_left": np.eye(3), "x_right_y_forward": about(2, np.array(-math.pi / 2))}
"""Axes of a convention in the base frame with x forward, as columns."""


@dataclass(frozen=True, eq=False)
class Pose:
    """Poses in the common convention: base frame x forward, y left, z up, fingers down at rotation zero; or joints."""

    motion: Vectors
    """Positions [m], or joints [rad]."""
    rotation: Float64[np.ndarray, "*n 3 3"]
    """Rotations of the hand; the identity for joints."""
    opening: Float64[np.ndarray, "*n"]
    """Gripper, 0 closed to 1 open; 1 for an arm without one."""


class Conversion:
    """Conversion of states and actions of one contract into those of another, and back with the sides exchanged."""

    def __init__(self, source: Contract, target: Contract) -> None:
        """Prepare the conversion.

        Raises:
            ConfigError: one side drives joints and the other poses, or other joints, or they have other periods.
        """
        self.source, self.target = source, target
        for part in ("action", "state"):
            a, b = getattr(source, part), getattr(target, part)
            if (a.space, a.joints) != (b.space, b.joints):
                raise ConfigError(
                    f"{part}: {_of(a)} can't be converted to {_of(b)}: that takes `kinematics` in the station's file"
                )

    def state(self, states: _Floats) -> Float32[np.ndarray, "*n _d"]:
        """Convert states."""
        pose = decode(np.asarray(states, np.float64), self.source.state)
        return encode(pose, self.target.state).astype(np.float32)

    def action(self, actions: _Floats, states: _Floats) -> Float32[np.ndarray, "*n _d"]:
        """Convert actions.

        Args:
            actions: of the source's contract.
            states: states of the source's contract to which deltas are relative.
        """
        now = decode(np.asarray(states, np.float64), self.source.state)
        goal = apply(np.asarray(actions, np.float64), now, self.source.action)
        return express(goal, now, self.target.action).astype(np.float32)


def as_widowx(contract: Contract) -> Contract:
    """Return the WidowX's meaning of actions and states, with a contract's own period and cameras, in RGB.

    An arm that is driven by joints keeps them, in radians and in their own range, and without a gripper there is none.
    """
    cameras = tuple(replace(c, color="rgb") for c in contract.cameras)
    parts = {}
    for name in ("action", "state"):
        numbers, usual = getattr(contract, name), getattr(WIDOWX, name)
        gripper = usual.gripper if numbers.gripper else None
        parts[name] = replace(
            usual,
            space=numbers.space,
            joints=numbers.joints,
            wrap=numbers.wrap if numbers.joints else usual.wrap,
            gripper=gripper,
        )
    return Contract(**parts, cameras=cameras, period_s=contract.period_s)


def decode(numbers: Vectors, meaning: Numbers) -> Pose:
    """Return the poses that absolute numbers mean."""
    motion, opening = _split(numbers, meaning)
    if meaning.space == "joints":
        return Pose(
            motion * _radians(meaning),
            np.broadcast_to(np.eye(3), (*motion.shape[:-1], 3, 3)),
            opening,
        )
    axes = _AXES[meaning.axes]
    position = motion[..., :3] * LENGTHS_M[meaning.length] @ axes.T
    rotation = to_matrix(motion[..., 3:] * _radians(meaning), meaning.rotation)
    return Pose(position, axes @ rotation @ axes.T @ _ZERO[meaning.zero_rotation], opening)


def encode(pose: Pose, meaning: Numbers) -> Vectors:
    """Invert `decode`. Joints stay as they are in every range: a turn more is another place of the joint."""
    if meaning.space == "joints":
        motion = pose.motion / _radians(meaning)
    else:
        axes = _AXES[meaning.axes]
        position = pose.motion @ axes / LENGTHS_M[meaning.length]
        rotation = axes.T @ pose.rotation @ _ZERO[meaning.zero_rotation].T @ axes
        numbers = from_matrix(rotation, meaning.rotation)
        if meaning.rotation in ("rpy", "yaw"):
            numbers = _in_range(numbers, meaning)
        motion = np.concatenate([position, numbers / _radians(meaning)], -1)
    return _join(motion, pose.opening, meaning)


def apply(actions: Vectors, now: Pose, meaning: ActionNumbers) -> Pose:
    """Return the poses to which actions lead from poses."""
    if meaning.reference == "absolute":
        return decode(actions, meaning)
    motion, opening = _split(actions, meaning)
    if meaning.space == "joints":
        return Pose(now.motion + motion * _radians(meaning), now.rotation, opening)
    axes, zero = _AXES[meaning.axes], _ZERO[meaning.zero_rotation]
    step = (motion[..., :3] * LENGTHS_M[meaning.length])[..., None]
    numbers = motion[..., 3:] * _radians(meaning)
    here = axes.T @ now.rotation @ zero.T @ axes  # in the convention's own axes
    step = here @ step if meaning.frame == "end_effector" else step
    if meaning.turn == "angles_added":
        there = to_matrix(from_matrix(here, meaning.rotation) + numbers, meaning.rotation)
        there = here if meaning.rotation == "none" else there
    else:
        turn = to_matrix(numbers, meaning.rotation)
        there = turn @ here if meaning.turn == "left" else here @ turn
    return Pose(now.motion + (axes @ step)[..., 0], axes @ there @ axes.T @ zero, opening)


def express(goal: Pose, now: Pose, meaning: ActionNumbers) -> Vectors:
    """Invert `apply`: return the actions that lead from poses to poses."""
    if meaning.reference == "absolute":
        return encode(goal, meaning)
    if meaning.space == "joints":
        return _join((goal.motion - now.motion) / _radians(meaning), goal.opening, meaning)
    axes, zero = _AXES[meaning.axes], _ZERO[meaning.zero_rotation]
    here, there = (axes.T @ p.rotation @ zero.T @ axes for p in (now, goal))
    step = axes.T @ (goal.motion - now.motion)[..., None]
    step = np.swapaxes(here, -1, -2) @ step if meaning.frame == "end_effector" else step
    if meaning.turn == "angles_added":
        turn = wrap(from_matrix(there, meaning.rotation) - from_matrix(here, meaning.rotation))
    else:
        back = np.swapaxes(here, -1, -2)
        turn = from_matrix(
            there @ back if meaning.turn == "left" else back @ there, meaning.rotation
        )
    motion = [step[..., 0] / LENGTHS_M[meaning.length], turn / _radians(meaning)]
    return _join(np.concatenate(motion, -1), goal.opening, meaning)


def spread(action: _Floats, meaning: ActionNumbers, parts: int) -> Float32[np.ndarray, "_parts _d"]:
    """Spread one action over several shorter control periods. Deltas are divided, targets and grippers repeated."""
    numbers = np.asarray(action, np.float64)
    if meaning.reference == "delta":
        motion, _ = _split(numbers, meaning)
        numbers = numbers.copy()
        numbers[: meaning.motion_dim] = _scaled(motion, meaning, 1 / parts) / _scale(meaning)
    return np.tile(numbers, (parts, 1)).astype(np.float32)


def adds_up(meaning: ActionNumbers) -> bool:
    """Whether two motions, one after the other, are the sum of their numbers."""
    turns = meaning.space == "end_effector" and meaning.rotation != "none"
    return meaning.reference == "delta" and not (turns and meaning.turn != "angles_added")


def followed(first: _Floats, then: _Floats, meaning: ActionNumbers) -> Float32[np.ndarray, "*n _d"]:
    """Return the actions that lead where two, one after the other, lead; the gripper's commands are the first's."""
    (one, opening), (two, _) = (_split(np.asarray(a, np.float64), meaning) for a in (first, then))
    if meaning.reference == "absolute":
        return _join(two, opening, meaning).astype(np.float32)
    motion = one + two
    if not adds_up(meaning):
        radians = _radians(meaning)
        a, b = (to_matrix(m[..., 3:] * radians, meaning.rotation) for m in (one, two))
        if meaning.turn == "right" and meaning.frame == "end_effector":
            motion[..., :3] = one[..., :3] + (a @ two[..., :3, None])[..., 0]
        turn = b @ a if meaning.turn == "left" else a @ b
        motion[..., 3:] = from_matrix(turn, meaning.rotation) / radians
    return _join(motion, opening, meaning).astype(np.float32)


def turns_rad(before: _Floats, now: _Floats, meaning: Numbers) -> Float64[np.ndarray, "*n"]:
    """Return the angles by which the hand rotated between states [rad]; 0 for joints."""
    one, two = (decode(np.asarray(s, np.float64), meaning).rotation for s in (before, now))
    turn = from_matrix(two @ np.swapaxes(one, -1, -2), "rotvec")
    return np.asarray(np.linalg.norm(turn, axis=-1))


def shortened(
    action: _Floats, state: _Floats, contract: Contract, share: float
) -> Float32[np.ndarray, " _d"]:
    """Return the action that makes a share of an action's motion from a state: of the way, and of the rotation's angle.

    The gripper's command stays.
    """
    numbers, meaning = np.asarray(action, np.float64), contract.action
    if meaning.reference == "delta":
        motion, opening = _split(numbers, meaning)
        return _join(_scaled(motion, meaning, share), opening, meaning).astype(np.float32)
    now, goal = decode(np.asarray(state, np.float64), contract.state), decode(numbers, meaning)
    turn = from_matrix(goal.rotation @ np.swapaxes(now.rotation, -1, -2), "rotvec")
    part = Pose(
        now.motion + share * (goal.motion - now.motion),
        to_matrix(share * turn, "rotvec") @ now.rotation,
        goal.opening,
    )
    return beside(express(part, now, meaning), meaning, numbers, meaning)


def beside(
    action: _Floats, meaning: ActionNumbers, near: _Floats, other: Numbers
) -> Float32[np.ndarray, " _d"]:
    """Return an absolute target with a hand's angles on the turns nearest to those of other numbers.

    It stays as it is where its angles have a range or are of another kind, and where it is joints or a delta.
    """
    found = action.astype(np.float64)
    kinds = ("space", "rotation", "zero_rotation", "axes")
    same = all(getattr(meaning, kind) == getattr(other, kind) for kind in kinds)
    if (
        same
        and not meaning.joints
        and meaning.reference == "absolute"
        and meaning.wrap == "continuous"
    ):
        where = list(meaning.angle_indices)
        unit, theirs = (_radians(m) * _scale(m)[where] for m in (meaning, other))
        turns = (near[where] * theirs - found[where] * unit) / (2 * math.pi)
        found[where] += 2 * math.pi * np.round(turns) / unit
    return found.astype(np.float32)


def _scaled(motion: Vectors, meaning: ActionNumbers, factor: float) -> Vectors:
    """Return a part of a delta: the same part of each number, or of the rotation's angle where that isn't the same."""
    numbers = "joints" if meaning.space == "joints" else meaning.rotation
    if numbers in ("joints", "none", "yaw", "rotvec") or meaning.turn == "angles_added":
        return motion * factor
    radians = _radians(meaning)
    matrix = to_matrix(motion[..., 3:] * radians, meaning.rotation)
    part = to_matrix(from_matrix(matrix, "rotvec") * factor, "rotvec")
    turn = from_matrix(part, meaning.rotation) / radians
    return np.concatenate([motion[..., :3] * factor, turn], -1)


def _split(numbers: Vectors, meaning: Numbers) -> tuple[Vectors, Float64[np.ndarray, "*n"]]:
    """Return motions without their scale, and openings from 0 (closed) to 1 (open). Raises ConfigError."""
    if numbers.shape[-1:] != (meaning.dim,):
        raise ConfigError(
            f"{numbers.shape[-1] if numbers.ndim else 0} numbers; the contract has {meaning.dim}: "
            + ", ".join(meaning.names)
        )
    motion = numbers[..., : meaning.motion_dim] * _scale(meaning)
    if meaning.gripper is None:
        return motion, np.ones(motion.shape[:-1])
    closed, opened = meaning.gripper.closed, meaning.gripper.open
    return motion, np.asarray((numbers[..., -1] - closed) / (opened - closed))


def _join(motion: Vectors, opening: Float64[np.ndarray, "*n"], meaning: Numbers) -> Vectors:
    """Invert `_split`."""
    motion = motion / _scale(meaning)
    if meaning.gripper is None:
        return motion
    closed, opened = meaning.gripper.closed, meaning.gripper.open
    return np.concatenate([motion, (closed + opening * (opened - closed))[..., None]], -1)


def _scale(meaning: Numbers) -> Float64[np.ndarray, " m"]:
    return np.array(meaning.scale or (1.0,) * meaning.motion_dim)


def _radians(meaning: Numbers) -> float:
    """Radians of an angle of 1; 1 for rotations whose numbers aren't angles."""
    angular = meaning.space == "joints" or meaning.rotation in _ANGULAR
    return math.pi / 180 if angular and meaning.angle == "deg" else 1.0


def _in_range(angles: Vectors, meaning: Numbers) -> Vectors:
    """Return a hand's angles [rad] in the range of the convention."""
    if meaning.wrap == "continuous":
        return angles
    signed = wrap(angles)
    return signed if meaning.wrap == "signed" else signed % (2 * math.pi)


def _of(numbers: Numbers) -> str:
    return f"joints {', '.join(numbers.joints)}" if numbers.joints else "an end effector's pose"
