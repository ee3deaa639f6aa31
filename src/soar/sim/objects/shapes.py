"""What a kind of thing is, and builders for the shapes that several kinds share.

Lengths in metres, angles in radians, at scale 1. A part without a colour takes the thing's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin, tan
from typing import Literal, TypeAlias

from soar.sim.objects.parts import Part, Vector

Role: TypeAlias = Literal["item", "container", "drawer", "cloth"]


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its parts, and the few measures that placing, grasping and judging need."""

    role: Role
    parts: tuple[Part, ...]
    radius: float
    """Of the upright cylinder around it."""
    height: float
    """From its lowest to its highest point, as it normally lies."""
    grip: float = 0.0
    """Width across body y, where a gripper closes; 0 for what isn't picked up."""
    quarter_turns: bool = False
    """Looks and grips the same after a turn of 90 degrees."""
    room: float = 0.0
    """Inner radius of a container's floor."""
    floor: float = 0.0
    """Height of a container's inner floor above its origin."""
    preposition: Literal["in", "on"] = "in"
    density: float = 300.0
    """Of the solid parts [kg/m^3]."""


def core(x: float, y: float, z: float, at: Vector = (0.0, 0.0, 0.0)) -> Part:
    """The unseen box that an item collides with, by half sizes."""
    return Part("box", (x, y, z), at, solid=True, seen=False)


def item(half: Vector, *looks: Part, density: float = 300.0) -> Kind:
    """A thing to pick up: one box to collide with, by half sizes, and what is seen instead of it."""
    x, y, z = half
    square = abs(x - y) < 1e-9
    return Kind(
        "item",
        (core(x, y, z), *looks),
        radius=hypot(x, y) if square else max(x, y) + 0.004,
        height=2 * z,
        grip=2 * y,
        quarter_turns=square,
        density=density,
    )


def ring(
    bottom: float, top: float, height: float, base: float = 0.0, thick: float = 0.0035, n: int = 8
) -> tuple[Part, ...]:
    """A wall of n boxes: inner radius `bottom` at height `base`, leaning out to `top` at `base + height`."""
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
    """A round floor: seen as a cylinder, collides as two crossed boxes."""
    long, short, half = radius, radius * 0.5, thick / 2
    at = (0.0, 0.0, half)
    return (
        Part("cylinder", (radius, half), at, shade=0.9),
        Part("box", (long * 0.92, short, half), at, solid=True, seen=False),
        Part("box", (short, long * 0.92, half), at, solid=True, seen=False),
    )


def container(
    parts: tuple[Part, ...],
    radius: float,
    height: float,
    room: float,
    floor: float,
    preposition: Literal["in", "on"] = "in",
    density: float = 500.0,
) -> Kind:
    """A thing to put others in or on."""
    return Kind(
        "container",
        parts,
        radius,
        height,
        room=room,
        floor=floor,
        preposition=preposition,
        density=density,
    )
