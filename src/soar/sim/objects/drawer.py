"""A low cabinet with one drawer that opens toward the robot by a knob that fits into a gripper.

The cabinet is a mocap body: no contact moves it. Its front faces -x, toward the robot; its origin is on the table below
the middle of the front.
"""

from __future__ import annotations

import mujoco

from soar.sim.objects.parts import Color, Part, add_fixed_parts, cabinet_parts

TRAVEL_M = 0.085
"""Travel of the drawer from closed to open [m]."""
KNOB = (-0.030, 0.0, 0.036)
"""Position of the knob's center in the cabinet's frame, drawer closed [m]."""

_W, _D, _H, _T = 0.085, 0.115, 0.064, 0.004
"""Half width, depth and height of the cabinet, and half thickness of its panels [m]."""
_CABINET = cabinet_parts(_W, _D, _H, _T)
_I = _W - 2 * _T - 0.001
_BOX = (
    Part("box", (0.004, _I, 0.026), (0.002, 0, 0.030), solid=True, shade=0.8),
    Part("box", (0.045, _I, 0.002), (0.048, 0, 0.008), solid=True, shade=0.5),
    Part("box", (0.045, 0.003, 0.016), (0.048, _I - 0.003, 0.024), solid=True, shade=0.65),
    Part("box", (0.045, 0.003, 0.016), (0.048, -_I + 0.003, 0.024), solid=True, shade=0.65),
    Part("box", (0.010, 0.008, 0.008), (-0.010, 0, 0.034), solid=True, color="black"),
    Part("box", (0.011, 0.012, 0.018), KNOB, solid=True, color="black"),
)


def slide_joint(name: str) -> str:
    """Return the name of a drawer's joint, from 0 (closed) to `TRAVEL_M` (open) [m]."""
    return f"{name} slide"


def knob_site(name: str) -> str:
    """Return the name of the site at the knob's center."""
    return f"{name} knob"


def add_drawer(spec: mujoco.MjSpec, name: str, color: Color) -> None:
    """Add the cabinet as mocap body `name` and its drawer as body `name box`."""
    cabinet = spec.worldbody.add_body(name=name, mocap=True)
    box = cabinet.add_body(name=f"{name} box")
    box.add_joint(
        name=slide_joint(name),
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=(-1, 0, 0),
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        range=(0, TRAVEL_M),
        damping=3.0,
        frictionloss=0.4,
        solref_limit=(0.01, 1.0),
    )
    box.add_site(name=knob_site(name), pos=KNOB, size=(0.004,) * 3, group=5)
    for body, parts in ((cabinet, _CABINET), (box, _BOX)):
        add_fixed_parts(body, parts, color)
