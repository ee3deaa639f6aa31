"""Kinds of objects, and builders of the shapes that several kinds share.

Lengths are in meters and angles in radians, at scale 1. A part without a color takes the object's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin, tan
from typing import Literal, TypeAlias

from soar.sim.objects.parts import Part, Vector

Role: TypeAlias = Literal["item", "container", "drawer", "door", "cloth"]


@dataclass(frozen=True)
class Kind:
    """A kind of object: its parts, and the dimensions that placing, grasping and success predicates use."""

    role: Role
    parts: tuple[Part, ...]
    radius: float
    """Radius of the enclosing upright cylinder."""
    height: float
    """Height of the object in its usual pose."""
    grasp_width: float = 0.0
    """Width along the body's y axis, across which a gripper closes; 0 for objects that aren't picked up."""
    quarter_turns: bool = False
    """Symmetry under rotations of 90 degrees about z."""
    inner_radius: float = 0.0
    """Inner radius of a container's floor."""
    floor_height: float = 0.0
    """Height of a container's inner floor above its origin."""
    preposition: Literal["in", "on"] = "in"
    density: float = 300.0
    """Density of the solid parts [kg/m^3]."""


def core(x: float, y: float, z: float, at: Vector = (0.0, 0.0, 0.0)) -> Part:
    """Return the invisible collision box of an item, by half sizes."""
    return Part("box", (x, y, z), at, solid=True, visible=False)


def item(half: Vector, *visuals: Part, density: float = 300.0) -> Kind:
    """Return a kind to pick up: one collision box, by half sizes, and the parts that are visible instead."""
    x, y, z = half
    square = abs(x - y) < 1e-9
    return Kind(
        "item",
        (core(x, y, z), *visuals),
        radius=hypot(x, y) if square else max(x, y) + 0.004,
        height=2 * z,
        grasp_width=2 * y,
        quarter_turns=square,
        density=density,
    )


def ring(
    bottom: float, top: float, height: float, base: float = 0.0, thick: float = 0.0035, n: int = 8
) -> tuple[Part, ...]:
    """Return a wall of n boxes, of inner radius `bottom` at height `base` and `top` at `base + height`."""
    middle, slant = (bottom + top) / 2 + thick, hypot(top - bottom, height)
    width, lean = (top + 2 * thick) * tan(pi / n), atan2(top - bottom, height)
    return tuple(
        Part(
            "box",
            (width, thick, slant / 2),
            (middle * cos(a), middle * sin(a), base + height / 2),
            (lean, 0.0, a + pi / 2),
            solid=True,
            shade=1.0 if i % 2 else 0.93,
        )
        for i, a in enumerate(2 * pi * i / n for i in range(n))
    )


def base(radius: float, thick: float) -> tuple[Part, ...]:
    """Return a round floor: a visible cylinder, and two crossed boxes that collide."""
    long, short, half = radius, radius * 0.5, thick / 2
    at = (0.0, 0.0, half)
    return (
        Part("cylinder", (radius, half), at, shade=0.9),
        Part("box", (long * 0.92, short, half), at, solid=True, visible=False),
        Part("box", (short, long * 0.92, half), at, solid=True, visible=False),
    )


def container(
    parts: tuple[Part, ...],
    radius: float,
    height: float,
    inner_radius: float,
    floor_height: float,
    preposition: Literal["in", "on"] = "in",
    density: float = 500.0,
) -> Kind:
    """Return a kind that others are put in or on."""
    return Kind(
        "container",
        parts,
        radius,
        height,
        inner_radius=inner_radius,
        floor_height=floor_height,
        preposition=preposition,
        density=density,
    )
