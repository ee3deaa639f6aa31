"""Primitives of MuJoCo bodies as data, and the palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import mujoco
import numpy as np
from jaxtyping import Float64

Color: TypeAlias = tuple[float, float, float]
Vector: TypeAlias = tuple[float, float, float]
Shape: TypeAlias = Literal["box", "sphere", "ellipsoid", "capsule", "cylinder"]

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.10, 0.09),
    "green": (0.16, 0.56, 0.18),
    "blue": (0.12, 0.28, 0.78),
    "yellow": (0.95, 0.80, 0.12),
    "orange": (0.95, 0.45, 0.08),
    "purple": (0.40, 0.13, 0.52),
    "pink": (0.95, 0.50, 0.66),
    "brown": (0.33, 0.18, 0.09),
    "wooden": (0.78, 0.57, 0.34),
    "white": (0.92, 0.92, 0.90),
    "black": (0.09, 0.09, 0.10),
    "gray": (0.50, 0.50, 0.52),
    "metal": (0.68, 0.70, 0.74),
    "tan": (0.85, 0.74, 0.58),
    "teal": (0.08, 0.58, 0.60),
    "light blue": (0.50, 0.75, 0.95),
    "dark green": (0.06, 0.30, 0.12),
    "lime": (0.62, 0.85, 0.20),
}
"""Linear RGB in [0, 1] by name."""

TABLE_BIT, BARRIER_BIT = 1, 2
"""Collision bits. Objects have both; arm, table and furniture have bit 1, barriers bit 2, so that the arm reaches
through them."""

_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
}


@dataclass(frozen=True)
class Part:
    """One primitive in the body's frame, with MuJoCo's half sizes."""

    shape: Shape
    size: tuple[float, ...]
    pos: Vector = (0.0, 0.0, 0.0)
    turn: Vector = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw [rad] about the body's fixed x, then y, then z."""
    color: str | None = None
    """Key of `COLORS`; None takes the object's."""
    shade: float = 1.0
    """Factor on the color; darker below 1."""
    solid: bool = False
    """Whether the part collides and has mass."""
    visible: bool = True


def add_part(
    body: mujoco.MjsBody, part: Part, color: Color, scale: float = 1.0, density: float = 300.0
) -> mujoco.MjsGeom:
    """Add a primitive to a body; only solid parts have mass and collide."""
    rgb = np.asarray(COLORS[part.color] if part.color else color) * part.shade
    geom = body.add_geom(
        type=_SHAPES[part.shape],
        size=np.asarray(part.size + (0.0,) * (3 - len(part.size))) * scale,
        pos=np.asarray(part.pos) * scale,
        quat=_quaternion(part.turn),
        rgba=(*rgb.clip(0, 1), 1.0),
    )
    bits = TABLE_BIT | BARRIER_BIT if part.solid else 0
    geom.contype, geom.conaffinity = bits, bits
    geom.density = density if part.solid else 0.0
    geom.group = 0 if part.visible else 3
    geom.condim = 4
    geom.friction = (1.0, 0.01, 0.0001)
    geom.solref = (0.01, 1.0)
    return geom


def _quaternion(turn: Vector) -> Float64[np.ndarray, "4"]:
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, np.asarray(turn), "XYZ")
    return quat


def add_fixed_parts(body: mujoco.MjsBody, parts: Sequence[Part], color: Color) -> None:
    """Add the parts of furniture: what moves collides with the solid ones, as with the table."""
    for part in parts:
        geom = add_part(body, part, color)
        geom.contype, geom.conaffinity = 0, TABLE_BIT if part.solid else 0


def cabinet_parts(width: float, depth: float, height: float, thickness: float) -> tuple[Part, ...]:
    """Return a cabinet that is open in front: half width, depth and height, and half thickness of its panels [m]."""
    w, d, h, t = width, depth, height, thickness
    return (
        Part("box", (d / 2, w, t), (d / 2, 0, h), solid=True),
        Part("box", (d / 2, t, h / 2), (d / 2, w, h / 2), solid=True, shade=0.85),
        Part("box", (d / 2, t, h / 2), (d / 2, -w, h / 2), solid=True, shade=0.85),
        Part("box", (t, w, h / 2), (d, 0, h / 2), solid=True, shade=0.85),
        Part("box", (d / 2, w, 0.001), (d / 2, 0, 0.001), shade=0.3),
    )
