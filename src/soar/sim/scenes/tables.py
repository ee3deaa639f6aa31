"""Tabletops with procedural textures, their surroundings, and transparent barriers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias
from zlib import crc32

import mujoco
import numpy as np
from jaxtyping import Float64, UInt8

from soar.errors import ConfigError
from soar.sim.objects.parts import BARRIER_BIT, TABLE_BIT, Color
from soar.sim.scenes.spec import Table

Texture: TypeAlias = Float64[np.ndarray, "n n 3"]
_N = 256

TOP = ((-0.20, 0.62), (-0.46, 0.54))
"""Extent of every tabletop along x and y [m]; its surface is at z = 0."""
BARRIER_BOX = ((0.125, 0.455), (-0.245, 0.323))
"""Inner faces of the barriers along x and y [m]; objects inside are within reach."""
BARRIER_HEIGHT_M = 0.07


def plain(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return color `a` with faint clouds of `b`."""
    return _mix(a, b, 0.35 * _noise(rng, 8))


def wood(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return planks of color `a` with a grain of `b`."""
    y = np.linspace(0, 1, _N)[:, None]
    grain = np.sin(2 * np.pi * (14 * y + 1.2 * _noise(rng, 3) + 3 * _noise(rng, 3)[:, :1]))
    joints = (np.arange(_N)[:, None] % (_N // 4) < 3).astype(float)
    return _mix(a, b, np.clip(0.30 + 0.25 * grain + 0.9 * joints, 0, 1))


def checker(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return a checkerboard of `a` and `b`, eight squares across."""
    i = np.arange(_N) // (_N // 8)
    return _mix(a, b, ((i[:, None] + i[None]) % 2).astype(float))


def stripes(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return stripes of `b` on `a`."""
    i = (np.arange(_N) // (_N // 16)) % 2
    return _mix(a, b, np.broadcast_to(i[:, None].astype(float), (_N, _N)))


def marble(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return stone of color `a` with veins of `b`."""
    cloud = _noise(rng, 4) + 0.5 * _noise(rng, 8) + 0.25 * _noise(rng, 16)
    veins = np.exp(-((np.sin(2 * np.pi * cloud * 1.6) / 0.25) ** 2))
    return _mix(a, b, 0.8 * veins)


def speckle(a: Color, b: Color, rng: np.random.Generator) -> Texture:
    """Return terrazzo of color `a` with small chips of `b`."""
    return _mix(a, b, np.clip((_noise(rng, 90) - 0.62) * 8, 0, 1))


@dataclass(frozen=True)
class TableStyle:
    """Texture of a tabletop, and colors of its surroundings as RGB in [0, 1]."""

    pattern: Callable[[Color, Color, np.random.Generator], Texture]
    a: Color
    b: Color
    floor: Color = (0.35, 0.34, 0.33)
    wall: Color = (0.75, 0.74, 0.72)


TABLES: dict[str, TableStyle] = {
    # in bridge, and in three of soar's scenes
    "oak": TableStyle(wood, (0.76, 0.60, 0.40), (0.58, 0.42, 0.26)),
    "white": TableStyle(plain, (0.78, 0.78, 0.76), (0.70, 0.70, 0.69), (0.25, 0.26, 0.28)),
    # bridge only
    "gray": TableStyle(plain, (0.55, 0.56, 0.58), (0.48, 0.49, 0.51)),
    "birch": TableStyle(wood, (0.88, 0.79, 0.64), (0.78, 0.66, 0.48), wall=(0.62, 0.68, 0.72)),
    "sand": TableStyle(speckle, (0.80, 0.74, 0.64), (0.66, 0.60, 0.50)),
    # soar only
    "walnut": TableStyle(wood, (0.36, 0.23, 0.15), (0.22, 0.13, 0.08), (0.50, 0.46, 0.40), (0.55, 0.60, 0.58)),
    "slate": TableStyle(marble, (0.24, 0.28, 0.32), (0.40, 0.44, 0.48), (0.20, 0.18, 0.17), (0.80, 0.76, 0.66)),
    "tile": TableStyle(checker, (0.80, 0.86, 0.86), (0.58, 0.72, 0.74), (0.42, 0.36, 0.30), (0.66, 0.62, 0.70)),
    # dev only
    "cherry": TableStyle(wood, (0.56, 0.29, 0.18), (0.40, 0.18, 0.10), wall=(0.70, 0.74, 0.64)),
    "mint": TableStyle(checker, (0.72, 0.84, 0.74), (0.54, 0.70, 0.58), (0.30, 0.30, 0.36)),
    "rosewood": TableStyle(wood, (0.30, 0.14, 0.13), (0.18, 0.08, 0.08), (0.44, 0.46, 0.48), (0.64, 0.60, 0.52)),
    "basalt": TableStyle(marble, (0.20, 0.20, 0.25), (0.36, 0.37, 0.43), (0.26, 0.22, 0.20), (0.62, 0.68, 0.66)),
    # broad only
    "pine": TableStyle(wood, (0.86, 0.70, 0.46), (0.70, 0.50, 0.28), (0.28, 0.32, 0.30)),
    "ebony": TableStyle(wood, (0.20, 0.17, 0.16), (0.12, 0.10, 0.10)),
    "teak": TableStyle(wood, (0.60, 0.42, 0.25), (0.44, 0.29, 0.16), wall=(0.60, 0.55, 0.50)),
    "cream": TableStyle(plain, (0.84, 0.79, 0.66), (0.78, 0.71, 0.57)),
    "charcoal": TableStyle(plain, (0.17, 0.18, 0.19), (0.24, 0.25, 0.26)),
    "sky": TableStyle(plain, (0.60, 0.72, 0.82), (0.54, 0.66, 0.78), (0.44, 0.40, 0.34)),
    "granite": TableStyle(speckle, (0.42, 0.42, 0.44), (0.70, 0.70, 0.72)),
    "terrazzo": TableStyle(speckle, (0.88, 0.86, 0.82), (0.52, 0.46, 0.42)),
    "carrara": TableStyle(marble, (0.90, 0.90, 0.91), (0.66, 0.68, 0.72), (0.30, 0.28, 0.26)),
    "serpentine": TableStyle(marble, (0.28, 0.38, 0.33), (0.52, 0.60, 0.54)),
    "chess": TableStyle(checker, (0.84, 0.80, 0.74), (0.44, 0.36, 0.30)),
    "kitchen": TableStyle(checker, (0.90, 0.88, 0.84), (0.74, 0.66, 0.58), (0.48, 0.46, 0.50)),
    "deck": TableStyle(stripes, (0.66, 0.56, 0.44), (0.52, 0.43, 0.33)),
    "awning": TableStyle(stripes, (0.84, 0.82, 0.78), (0.66, 0.72, 0.78)),
    "rose": TableStyle(plain, (0.80, 0.66, 0.64), (0.74, 0.58, 0.57)),
    "straw": TableStyle(stripes, (0.84, 0.76, 0.56), (0.76, 0.67, 0.46), wall=(0.82, 0.80, 0.74)),
}  # fmt: skip
"""All styles by name; `soar.sim.scenes.regimes` assigns them to regimes."""


def style_of(table: Table) -> TableStyle:
    """Return the style of a table. Raises ConfigError: its name doesn't exist."""
    if table.name not in TABLES:
        raise ConfigError(f"no table '{table.name}'; valid: {', '.join(sorted(TABLES))}")
    return TABLES[table.name]


@cache
def texture(table: Table) -> UInt8[np.ndarray, "256 256 3"]:
    """Return a tabletop's texture, uint8 RGB; the same at every call."""
    style = style_of(table)
    rng = np.random.default_rng(crc32(table.name.encode()))
    return (style.pattern(style.a, style.b, rng).clip(0, 1) * 255).astype(np.uint8)


def add_table(spec: mujoco.MjSpec, table: Table, barriers: bool) -> None:
    """Add tabletop, floor, wall, and barriers if requested. Objects collide with tabletop and barriers."""
    style = style_of(table)
    image = spec.add_texture(
        name="tabletop",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=_N,
        height=_N,
        nchannel=3,
        colorspace=mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR,
    )
    image.data = texture(table).tobytes()
    material = spec.add_material(name="tabletop", texrepeat=(1, 1), specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tabletop"
    (x0, x1), (y0, y1) = TOP
    top = _box(spec, "table", ((x0 + x1) / 2, (y0 + y1) / 2, -0.02), (x1 - x0, y1 - y0, 0.04))
    top.material, top.contype, top.conaffinity = "tabletop", 0, TABLE_BIT
    top.rgba, top.friction = (1, 1, 1, 1), (1.0, 0.01, 0.0001)
    _box(spec, "floor", (0.5, 0, -0.75), (4, 4, 0.02)).rgba = (*style.floor, 1)
    _box(spec, "wall", (1.6, 0, 0.2), (0.02, 5, 2.0)).rgba = (*style.wall, 1)
    if barriers:
        _add_barriers(spec)


def _add_barriers(spec: mujoco.MjSpec) -> None:
    (x0, x1), (y0, y1) = BARRIER_BOX
    t, h = 0.004, BARRIER_HEIGHT_M
    xm, ym, w, d = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    for name, at, size in (
        ("left", (xm, y1 + t / 2, h / 2), (w, t, h)),
        ("right", (xm, y0 - t / 2, h / 2), (w, t, h)),
        ("far", (x1 + t / 2, ym, h / 2), (t, d + 2 * t, h)),
        ("near", (x0 - t / 2, ym, h / 4), (t, d + 2 * t, h / 2)),
    ):
        pane = _box(spec, f"barrier {name}", at, size)
        pane.rgba = (0.82, 0.92, 0.95, 0.25)
        pane.contype, pane.conaffinity = 0, BARRIER_BIT
        top = (at[0], at[1], at[2] + size[2] / 2)
        edge = _box(spec, f"barrier {name} edge", top, (size[0], size[1], 0.004))
        edge.rgba = (0.90, 0.97, 1.0, 0.7)


def _box(
    spec: mujoco.MjSpec, name: str, at: tuple[float, ...], size: tuple[float, ...]
) -> mujoco.MjsGeom:
    """Add a box without collisions, by full sizes."""
    return spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=at,
        size=np.asarray(size) / 2,
        contype=0,
        conaffinity=0,
    )


def _mix(a: Color, b: Color, share: Float64[np.ndarray, "n n"]) -> Texture:
    """Mix `a` and `b` by the share of `b` at each point."""
    s = share[..., None]
    mixed: Texture = (1 - s) * np.asarray(a) + s * np.asarray(b)
    return mixed


def _noise(rng: np.random.Generator, cells: int) -> Float64[np.ndarray, "256 256"]:
    """Return smooth random values in [0, 1], about `cells` bumps across."""
    grid = rng.random((cells + 1, cells + 1))
    at = np.linspace(0, cells, _N, endpoint=False)
    i, f = at.astype(int), at % 1
    f = f * f * (3 - 2 * f)
    rows = grid[i] * (1 - f[:, None]) + grid[i + 1] * f[:, None]
    smooth: Float64[np.ndarray, "256 256"] = rows[:, i] * (1 - f) + rows[:, i + 1] * f
    return smooth
