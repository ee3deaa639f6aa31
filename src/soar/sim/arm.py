"""WidowX 250 arm (6 DoF) from primitives, with published link lengths, joint limits and gripper opening.

Kinematics and limits are those of Interbotix's `wx250s` description. Gravity is compensated, as by the
real arm's motor controllers. Only the gripper collides; the links are visual.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGERS = ("left_finger", "right_finger")
GRIPPER_ACTUATOR = "gripper"
END_EFFECTOR_SITE = "hand"
"""Name of the frame that actions move: between the fingers, x along the fingers, y across them."""

FINGER_TRAVEL_M = 0.037
"""Stroke of each finger [m]; the pads are 74 mm apart when open."""
FINGERTIP_OFFSET_M = 0.028
"""Distance from the end-effector site to the fingertips, along the fingers [m]."""
FINGER_THICKNESS_M = 0.008

_BLACK, _GRAPHITE, _GRAY = (0.07, 0.07, 0.08, 1), (0.16, 0.16, 0.18, 1), (0.42, 0.43, 0.46, 1)
_BOX, _CYLINDER, _CAPSULE = (
    mujoco.mjtGeom.mjGEOM_BOX,
    mujoco.mjtGeom.mjGEOM_CYLINDER,
    mujoco.mjtGeom.mjGEOM_CAPSULE,
)
WRIST_TO_GRIPPER_M = 0.0936
"""Distance from the wrist's rotation axis to the end-effector site (`ee_gripper_link` of `wx250s`) [m]."""


class _Link(NamedTuple):
    """A link that rotates about `axis`, at `at` in its parent [m]; limits [rad], stiffness [N m/rad], torque [N m]."""

    joint: str
    at: tuple[float, float, float]
    axis: tuple[float, float, float]
    limits: tuple[float, float]
    mass_kg: float
    stiffness: float
    torque: float


_LINKS = (
    _Link("waist", (0, 0, 0.072), (0, 0, 1), (-3.1416, 3.1416), 0.48, 250, 20),
    _Link("shoulder", (0, 0, 0.03865), (0, 1, 0), (-1.8850, 1.9897), 0.43, 250, 25),
    _Link("elbow", (0.04975, 0, 0.25), (0, 1, 0), (-2.1468, 1.6057), 0.30, 200, 20),
    _Link("forearm_roll", (0.175, 0, 0), (1, 0, 0), (-3.1416, 3.1416), 0.15, 80, 8),
    _Link("wrist_angle", (0.075, 0, 0), (0, 1, 0), (-1.7453, 2.1468), 0.12, 80, 8),
    _Link("wrist_rotate", (0.065, 0, 0), (1, 0, 0), (-3.1416, 3.1416), 0.20, 60, 6),
)

_Geom = tuple[
    mujoco.mjtGeom,
    tuple[float, float, float],
    tuple[float, ...],
    tuple[float, ...],
    tuple[float, ...],
]
_X, _Y, _Z = (0.7071068, 0, 0.7071068, 0), (0.7071068, 0.7071068, 0, 0), (1.0, 0, 0, 0)
"""Quaternions that lay a cylinder's axis along x, y or z."""

_VISUALS: dict[str, tuple[_Geom, ...]] = {
    # body: (shape, center, half sizes, axis, color)
    "base": (
        (_BOX, (-0.015, 0, 0.012), (0.085, 0.060, 0.012), _Z, _GRAPHITE),
        (_BOX, (-0.010, 0, 0.040), (0.045, 0.034, 0.020), _Z, _BLACK),
    ),
    "waist": (
        (_CYLINDER, (0, 0, 0.000), (0.042, 0.012), _Z, _GRAY),
        (_BOX, (0, 0, 0.038), (0.030, 0.040, 0.028), _Z, _BLACK),
    ),
    "shoulder": (
        (_CYLINDER, (0, 0, 0), (0.021, 0.047), _Y, _GRAY),
        (_BOX, (0.000, 0, 0.130), (0.016, 0.024, 0.125), _Z, _BLACK),
        (_BOX, (0.028, 0, 0.245), (0.040, 0.024, 0.016), _Z, _BLACK),
    ),
    "elbow": (
        (_CYLINDER, (0, 0, 0), (0.020, 0.040), _Y, _GRAY),
        (_BOX, (0.085, 0, 0), (0.090, 0.020, 0.015), _Z, _BLACK),
    ),
    "forearm_roll": (
        (_CYLINDER, (0.006, 0, 0), (0.019, 0.006), _X, _GRAY),
        (_BOX, (0.040, 0, 0), (0.028, 0.017, 0.017), _Z, _GRAPHITE),
    ),
    "wrist_angle": (
        (_CYLINDER, (0, 0, 0), (0.016, 0.030), _Y, _GRAY),
        (_BOX, (0.034, 0, 0), (0.024, 0.016, 0.020), _Z, _BLACK),
    ),
}
"""Visual geoms of each body, without the gripper."""


def add_arm(spec: mujoco.MjSpec) -> None:
    """Add the arm with its base on z = 0 at the origin, and its actuators.

    The six position actuators named like `JOINTS` take radians; `GRIPPER_ACTUATOR` takes the stroke of each
    finger [m], from 0 (closed) to `FINGER_TRAVEL_M` (open). Sets the compiler to radians.
    """
    spec.compiler.degree = False
    body = spec.worldbody.add_body(name="base")
    _add_visuals(body, "base")
    for link in _LINKS:
        body = body.add_body(name=link.joint, pos=link.at, gravcomp=1.0)
        body.add_joint(
            name=link.joint,
            axis=link.axis,
            range=link.limits,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            armature=0.05,
            actgravcomp=0,
        )
        body.explicitinertial = True
        body.mass = link.mass_kg
        body.ipos = (0.03, 0, 0.02)
        body.inertia = np.full(3, 4e-4) + link.mass_kg * 4e-4
        _add_visuals(body, link.joint)
        actuator = _actuate(spec, link.joint, link.joint)
        actuator.set_to_position(kp=link.stiffness, dampratio=1.0)
        actuator.ctrlrange = link.limits
        actuator.forcerange = (-link.torque, link.torque)
    _add_gripper(spec, body)


def _add_gripper(spec: mujoco.MjSpec, wrist: mujoco.MjsBody) -> None:
    wrist.add_site(
        name=END_EFFECTOR_SITE, pos=(WRIST_TO_GRIPPER_M, 0, 0), size=(0.004,) * 3, group=5
    )
    _collision_box(wrist, (0.026, 0, 0), (0.024, 0.022, 0.021), _BLACK)
    _collision_box(wrist, (0.054, 0, 0), (0.007, 0.056, 0.014), _GRAPHITE)
    for name, side in zip(FINGERS, (1, -1), strict=True):
        finger = wrist.add_body(name=name, pos=(0.061, 0, 0), gravcomp=1.0)
        finger.add_joint(
            name=name,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, side, 0),
            range=(0, FINGER_TRAVEL_M),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            armature=0.2,
            damping=2.0,
        )
        finger.explicitinertial = True
        finger.mass, finger.inertia = 0.03, np.full(3, 1e-5)
        length = WRIST_TO_GRIPPER_M + FINGERTIP_OFFSET_M - 0.061
        half = FINGER_THICKNESS_M / 2
        pad = _collision_box(
            finger, (length / 2, side * half, 0), (length / 2, half, 0.009), _GRAPHITE
        )
        pad.friction, pad.condim, pad.priority = (1.5, 0.02, 0.001), 4, 1
        pad.name = f"{name}_pad"
        finger.add_geom(
            type=_BOX, pos=(0.008, side * 0.012, 0), size=(0.009, 0.012, 0.012), rgba=_BLACK,
            contype=0, conaffinity=0,
        )  # fmt: skip
    spec.add_exclude(bodyname1=FINGERS[0], bodyname2=FINGERS[1])
    mirror = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=FINGERS[0], name2=FINGERS[1])
    mirror.objtype = mujoco.mjtObj.mjOBJ_JOINT
    mirror.data[:5] = (0, 1, 0, 0, 0)
    gripper = _actuate(spec, GRIPPER_ACTUATOR, FINGERS[0])
    gripper.set_to_position(kp=1500, kv=60)
    gripper.ctrlrange = (0, FINGER_TRAVEL_M)
    gripper.forcerange = (-20, 20)


def _actuate(spec: mujoco.MjSpec, name: str, joint: str) -> mujoco.MjsActuator:
    return spec.add_actuator(
        name=name,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )


def _add_visuals(body: mujoco.MjsBody, name: str) -> None:
    for shape, at, size, axis, color in _VISUALS.get(name, ()):
        body.add_geom(
            type=shape,
            pos=at,
            size=(*size, 0, 0)[:3],
            quat=axis,
            rgba=color,
            contype=0,
            conaffinity=0,
        )


def _collision_box(
    body: mujoco.MjsBody,
    at: tuple[float, float, float],
    size: tuple[float, float, float],
    color: tuple[float, ...],
) -> mujoco.MjsGeom:
    """Add a box that collides with objects, table and furniture (all of them have bit 1)."""
    return body.add_geom(type=_BOX, pos=at, size=size, rgba=color, contype=1, conaffinity=1)
