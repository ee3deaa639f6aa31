"""A cloth that folds from right to left: a MuJoCo flex over a chain of hinged strips.

A flex with free vertices costs about as much as the rest of the scene together, and its layers interpenetrate. Here the
flex's vertices ride on eight stiff strips with hinges along x, so that the cloth bends where the tasks need it, lies in
layers, and costs 13 degrees of freedom. The right edge is a rolled hem, thick enough for a gripper to pinch, and hinged
too, so that a gripper of constant orientation can carry it over.

The body with the cloth's name is its leftmost strip; its origin is the middle of the left edge.
"""

from __future__ import annotations

import mujoco
import numpy as np

from soar.sim.objects.parts import BARRIER_BIT, TABLE_BIT, Color

STRIPS = 8
WIDTH_M = 0.16
"""Extent from the left edge to the hem, along y, at scale 1 [m]."""
DEPTH_M = 0.14
"""Extent along x, at scale 1 [m]."""
HEM_M = 0.007
"""Half thickness of the hem [m]."""
_THICK = 0.0025
_ACROSS = 5


def hinges(name: str) -> tuple[str, ...]:
    """Return the names of the hinges from the left edge to the hem; angle 0 is flat, positive folds up and over."""
    return tuple(f"{name} hinge {i}" for i in range(1, STRIPS + 1))


def hem_site(name: str) -> str:
    """Return the name of the site in the middle of the hem, where a gripper pinches."""
    return f"{name} hem"


def add_cloth(spec: mujoco.MjSpec, name: str, color: Color, scale: float) -> None:
    """Add the strips, their hinges, the hem, and the visible flex."""
    width, depth = WIDTH_M * scale / STRIPS, DEPTH_M * scale
    body = spec.worldbody.add_body(name=name)
    body.add_freejoint(name=name)
    bodies = [body]
    _solid(body, (depth / 2, width / 2 * 0.9, _THICK), (0, -width / 2, 0), visible=False)
    for i, hinge in enumerate(hinges(name), start=1):
        body = body.add_body(name=f"{name} strip {i}", pos=(0, -width, 0) if i else None)
        body.add_joint(
            name=hinge,
            axis=(-1, 0, 0),
            stiffness=3e-4,
            damping=2e-4,
            armature=1e-6,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=(-3.0, 3.0),
        )
        bodies.append(body)
        if i < STRIPS:
            _solid(body, (depth / 2, width / 2 * 0.9, _THICK), (0, -width / 2, 0), visible=False)
    hem = _solid(body, (depth / 2, HEM_M * 0.85, HEM_M), (0, 0, 0), visible=True)
    hem.rgba = (*np.asarray(color) * 0.65, 1.0)
    body.add_site(name=hem_site(name), size=(0.004,) * 3, group=5)
    _add_flex(spec, name, color, width, depth)


def _solid(
    body: mujoco.MjsBody,
    size: tuple[float, float, float],
    at: tuple[float, float, float],
    *,
    visible: bool,
) -> mujoco.MjsGeom:
    bits = TABLE_BIT | BARRIER_BIT
    return body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=size,
        pos=at,
        density=250.0,
        contype=bits,
        conaffinity=bits,
        condim=4,
        friction=(1.0, 0.01, 0.0001),
        solref=(0.01, 1.0),
        group=0 if visible else 3,
    )


def _add_flex(spec: mujoco.MjSpec, name: str, color: Color, width: float, depth: float) -> None:
    """Add a grid of (STRIPS + 1) x `_ACROSS` vertices, each fixed to a strip; visible, without contacts."""
    owners = [name, *(f"{name} strip {i}" for i in range(1, STRIPS + 1))]
    xs = np.linspace(-depth / 2, depth / 2, _ACROSS)
    flex = spec.add_flex(name=name, dim=2, radius=_THICK, contype=0, conaffinity=0)
    flex.rgba = (*color, 1.0)
    flex.vertbody = [owner for owner in owners for _ in xs]
    flex.vert = [v for _ in owners for x in xs for v in (float(x), 0.0, 0.0)]
    flex.elem = [
        v
        for i in range(STRIPS)
        for j in range(_ACROSS - 1)
        for a in [i * _ACROSS + j]
        for v in (a, a + 1, a + _ACROSS, a + 1, a + _ACROSS + 1, a + _ACROSS)
    ]
    # Inactive: it only prevents MuJoCo's warning that nothing keeps the shape.
    kept = spec.add_equality(type=mujoco.mjtEq.mjEQ_FLEX, name1=name, active=False)
    kept.objtype = mujoco.mjtObj.mjOBJ_FLEX
