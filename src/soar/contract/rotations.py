"""Rotations as matrices and as the numbers of each convention (`soar.contract.contract.Rotation`)."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from soar.contract.contract import Rotation
from soar.errors import ConfigError

Matrices: TypeAlias = Float64[np.ndarray, "*n 3 3"]
Vectors: TypeAlias = Float64[np.ndarray, "*n _d"]


def wrap(angles: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return angles [rad] within (-pi, pi]: the short way of a difference."""
    wrapped: Float64[np.ndarray, "*n"] = math.pi - (math.pi - angles) % (2 * math.pi)
    return wrapped


def turned(
    now: Float[np.ndarray, "*n"], before: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Return the difference of angles [rad] the short way; exactly `now - before` where that is short already."""
    change = now - before
    long = np.abs(change) > math.pi
    return np.where(long, wrap(change.astype(np.float64)).astype(change.dtype), change)


def to_matrix(numbers: Vectors, rotation: Rotation) -> Matrices:
    """Return rotation matrices of rotations in a convention; angles are in radians.

    Raises:
        ConfigError: a quaternion or a 6-D rotation is too short to mean one.
    """
    match rotation:
        case "rpy":
            x, y, z = (about(axis, numbers[..., axis]) for axis in range(3))
            return z @ y @ x  # type: ignore[no-any-return]
        case "yaw":
            return about(2, numbers[..., 0])
        case "none":
            return np.broadcast_to(np.eye(3), (*numbers.shape[:-1], 3, 3)).copy()
        case "rotvec":
            return _from_rotvec(numbers)
        case "rotation_6d":
            return _from_columns(numbers)
        case "quaternion_xyzw":
            return _from_quaternion(np.roll(numbers, 1, -1))
        case "quaternion_wxyz":
            return _from_quaternion(numbers)


def from_matrix(matrices: Matrices, rotation: Rotation) -> Vectors:
    """Invert `to_matrix`; angles are in [-pi, pi], and a quaternion's scalar isn't negative."""
    r = matrices
    match rotation:
        case "rpy":
            return _rpy(r)
        case "yaw":
            return np.expand_dims(np.arctan2(r[..., 1, 0], r[..., 0, 0]), -1)
        case "none":
            return np.zeros((*r.shape[:-2], 0))
        case "rotvec":
            return _rotvec(_quaternion(r))
        case "rotation_6d":
            return np.concatenate([r[..., :, 0], r[..., :, 1]], -1)
        case "quaternion_xyzw":
            return np.roll(_quaternion(r), -1, -1)
        case "quaternion_wxyz":
            return _quaternion(r)


def about(axis: int, angles: Float64[np.ndarray, "*n"] | float) -> Matrices:
    """Return rotations about the x (0), y (1) or z (2) axis by angles in radians."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((*np.shape(angles), 3, 3))
    out[..., axis, axis] = 1
    out[..., i, i] = out[..., j, j] = np.cos(angles)
    out[..., j, i] = np.sin(angles)
    out[..., i, j] = -out[..., j, i]
    return out


def _rpy(r: Matrices) -> Vectors:
    """Return roll, pitch, yaw; at a pitch of a quarter turn, where only their sum counts, roll is 0."""
    pitch = np.arctan2(-r[..., 2, 0], np.hypot(r[..., 2, 1], r[..., 2, 2]))
    locked = np.hypot(r[..., 2, 1], r[..., 2, 2]) < 1e-9
    roll = np.where(locked, 0.0, np.arctan2(r[..., 2, 1], r[..., 2, 2]))
    yaw = np.where(
        locked, np.arctan2(-r[..., 0, 1], r[..., 1, 1]), np.arctan2(r[..., 1, 0], r[..., 0, 0])
    )
    return np.stack([roll, pitch, yaw], -1)


def _from_rotvec(rotvec: Vectors) -> Matrices:
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    half = angle / 2
    factor = 0.5 * np.sinc(half / math.pi)
    return _from_quaternion(np.concatenate([np.cos(half), factor * rotvec], -1))


def _rotvec(quaternion: Vectors) -> Vectors:
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    sine = np.linalg.norm(xyz, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, w)
    tiny = sine < 1e-12
    return xyz * np.where(tiny, 2.0, angle / np.where(tiny, 1.0, sine))


def _from_quaternion(wxyz: Vectors) -> Matrices:
    norm = np.linalg.norm(wxyz, axis=-1, keepdims=True)
    if (norm < 1e-6).any():
        raise ConfigError("a quaternion is (near) zero; valid: four numbers of length 1")
    w, x, y, z = np.moveaxis(wxyz / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _quaternion(r: Matrices) -> Vectors:
    """Return w, x, y, z with w >= 0, from the largest of the four squares, where no digits are lost."""
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    squares = np.stack([1 + trace, *(1 + 2 * r[..., i, i] - trace for i in range(3))], -1)
    x, y, z = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, yz, zx = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (1, 2), (2, 0)))
    candidates = np.stack(
        [
            np.stack([squares[..., 0], x, y, z], -1),
            np.stack([x, squares[..., 1], xy, zx], -1),
            np.stack([y, xy, squares[..., 2], yz], -1),
            np.stack([z, zx, yz, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None]
    quaternion = np.take_along_axis(candidates, best, -2)[..., 0, :]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def _from_columns(numbers: Vectors) -> Matrices:
    """Return the rotation whose first two columns are nearest, by Gram and Schmidt (Zhou et al. 2019)."""
    first, second = numbers[..., :3], numbers[..., 3:]
    x = _unit(first)
    y = _unit(second - (x * second).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], -1)


def _unit(vectors: Vectors) -> Vectors:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if (norm < 1e-6).any():
        raise ConfigError("a 6-D rotation's columns are (near) zero or parallel")
    unit: Vectors = vectors / norm
    return unit
