"""A low cabinet with a hinged door that opens toward the robot by an upright bar that fits into a gripper.

The cabinet is a mocap body: no contact moves it. Its front faces -x, toward the robot; its origin is on the table below
the middle of the front. The hinge is at its left.
"""

from __future__ import annotations

import mujoco

from soar.sim.objects.parts import Color, Part, add_fixed_parts, cabinet_parts

SWING_RAD = 1.3
"""Angle of the open door [rad]."""

_W, _D, _H, _T = 0.060, 0.080, 0.064, 0.004
"""Half width, depth and height of the cabinet, and half thickness of its panels [m]."""
_HANDLE = (-0.036, -2 * _W + 0.022, 0.036)
"""Center of the bar in the door's frame, whose origin is on the table below the hinge [m]."""
_CABINET = cabinet_parts(_W, _D, _H, _T)
_DOOR = (
    Part("box", (0.003, _W - 0.002, 0.027), (-0.004, -_W, 0.032), solid=True, shade=0.8),
    Part("box", (0.014, 0.004, 0.004), (-0.020, _HANDLE[1], 0.030), solid=True, color="black"),
    Part("cylinder", (0.011, 0.020), _HANDLE, solid=True, color="black"),
)


def hinge_joint(name: str) -> str:
    """Return the name of a door's joint, from 0 (closed) to `SWING_RAD` (open) [rad]."""
    return f"{name} hinge"


def handle_site(name: str) -> str:
    """Return the name of the site at the bar's center."""
    return f"{name} handle"


def add_door(spec: mujoco.MjSpec, name: str, color: Color) -> None:
    """Add the cabinet as mocap body `name` and its door as body `name door`."""
    cabinet = spec.worldbody.add_body(name=name, mocap=True)
    door = cabinet.add_body(name=f"{name} door", pos=(0, _W, 0))
    door.add_joint(
        name=hinge_joint(name),
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=(0, 0, -1),
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        range=(0, SWING_RAD),
        damping=0.03,
        frictionloss=0.02,
        armature=0.0005,
        solref_limit=(0.01, 1.0),
    )
    door.add_site(name=handle_site(name), pos=_HANDLE, size=(0.004,) * 3, group=5)
    for body, parts in ((cabinet, _CABINET), (door, _DOOR)):
        add_fixed_parts(body, parts, color)
