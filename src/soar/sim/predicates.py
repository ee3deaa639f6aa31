"""Success predicates of goals, from the simulator's state. Privileged: no component of the loop may use them."""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float64

from soar.sim.model import SceneState
from soar.sim.objects.cloth import STRIPS
from soar.sim.objects.door import SWING_RAD, hinge_joint
from soar.sim.objects.drawer import TRAVEL_M, slide_joint
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import (
    ClothFolded,
    DoorOpen,
    DrawerOpen,
    Goal,
    Inside,
    OnSide,
    SceneObject,
    Stacked,
)

SIDE_MARGIN_M = 0.03
"""Distance from the middle line (y = 0) beyond which an object's center is on a side [m]."""
DRAWER_TOLERANCE_M = 0.01
"""Distance from an end stop within which a drawer is open or closed [m]."""
REST_M_S, REST_RAD_S = 0.02, 0.5
"""Speeds below which an object is at rest [m/s, rad/s]."""
REACH = ((0.126, 0.453), (-0.245, 0.323))
"""Range of an object's center along x and y within the gripper's reach [m]."""
FALLEN_M = -0.02
"""Height below which an object has fallen off the table [m]."""
_OPEN_RAD, _SHUT_RAD = 0.15, 0.08
"""Angles from an end stop within which a door is open or closed [rad]."""
_LAYER_M = 0.03
"""Height above its lowest position up to which an object lies on the floor of its container, tilted or on edge [m]."""
_SMALL = 0.85
"""Scale below which a container's rim may be lower than `_LAYER_M`, so that an item across the rim must not count."""
_LEVEL_M = 0.006
"""Largest difference from the height at which an item lies flat on another one [m]."""
_UPRIGHT = 0.9
"""Cosine of the largest tilt of an upright container."""
_FOLDED_OVERLAP, _FLAT_OVERLAP = 0.7, 0.15
"""Smallest overlap of a folded cloth, and largest of a flat one."""
_FLAT_WIDTH = 0.85
"""Smallest width of a flat cloth, as a share of its full width."""


def fulfilled(state: SceneState, goal: Goal) -> bool:
    """Return whether a goal holds: its object is released, at rest, and in place."""
    match goal:
        case Inside(obj, container, value):
            if not is_settled(state, obj):
                return False
            if value:
                return is_inside(state, obj, container)
            return is_on_table(state, obj) and not overlaps(state, obj, container)
        case OnSide(obj, side):
            y = position(state, obj)[1] * (1 if side == "left" else -1)
            return is_settled(state, obj) and is_on_table(state, obj) and bool(y > SIDE_MARGIN_M)
        case DrawerOpen(drawer, value):
            opening = TRAVEL_M if value else 0.0
            slide = state.data.joint(slide_joint(drawer))
            near = abs(slide.qpos[0] - opening) < DRAWER_TOLERANCE_M
            return bool(near and abs(slide.qvel[0]) < REST_M_S)
        case DoorOpen(cabinet, value):
            hinge = state.data.joint(hinge_joint(cabinet))
            missing = (SWING_RAD - hinge.qpos[0]) if value else hinge.qpos[0]
            near = missing < (_OPEN_RAD if value else _SHUT_RAD)
            return bool(near and abs(hinge.qvel[0]) < REST_RAD_S)
        case ClothFolded(cloth, value):
            if not is_settled(state, cloth):
                return False
            overlap, width = cloth_overlap(state, cloth)
            if value:
                return overlap >= _FOLDED_OVERLAP
            return overlap <= _FLAT_OVERLAP and width >= _FLAT_WIDTH
        case Stacked(obj, base, value):
            if not (is_settled(state, obj) and is_settled(state, base)):
                return False
            return is_stacked(state, obj, base) if value else is_on_table(state, obj)


def objects_lost(state: SceneState) -> tuple[str, ...]:
    """Return the names of objects out of reach, and of containers that tipped over."""
    return tuple(obj.name for obj in state.scene.objects if _is_lost(state, obj))


def position(state: SceneState, name: str) -> Float64[np.ndarray, "3"]:
    """Return the position of an object's body [m]."""
    return np.array(state.data.body(name).xpos)


def is_settled(state: SceneState, name: str) -> bool:
    """Return whether an object is at rest and the arm doesn't touch it."""
    return not is_touched_by_arm(state, name) and is_at_rest(state, name)


def is_at_rest(state: SceneState, name: str) -> bool:
    """Return whether an object's body moves slower than 2 cm/s and 0.5 rad/s."""
    velocity = state.data.joint(name).qvel
    return bool(
        np.linalg.norm(velocity[:3]) < REST_M_S and np.linalg.norm(velocity[3:]) < REST_RAD_S
    )


def is_touched_by_arm(state: SceneState, name: str) -> bool:
    """Return whether a body that is neither an object nor the table touches an object."""
    objects = {state.model.body(obj.name).id for obj in state.scene.objects}
    return any(other not in objects and other != 0 for other in _touching(state, name))


def is_inside(state: SceneState, name: str, container: str) -> bool:
    """Return whether an object lies in or on an upright container: on its floor, or on an item that does.

    The object's center must be low and within the radius of the floor, and the object must not touch the table.
    """
    if _lies_on_floor(state, name, container):
        return True
    others = {obj.name: state.model.body(obj.name).id for obj in state.scene.objects}
    del others[name], others[container]
    touching = _touching(state, name)
    return _height_over_floor(state, name, container) < 2 * _LAYER_M + 0.02 and any(
        body in touching and _lies_on_floor(state, other, container)
        for other, body in others.items()
        if kind_of(state.scene.find(other)).role == "item"
    )


def is_stacked(state: SceneState, name: str, base: str) -> bool:
    """Return whether an item rests on another one that lies on the table: its center above the other's, and no lower
    contact."""
    touching = _touching(state, name)
    if state.model.body(base).id not in touching or 0 in touching or not is_on_table(state, base):
        return False
    lower, upper = state.scene.find(base), state.scene.find(name)
    x, y, z = position(state, name) - position(state, base)
    rise = (kind_of(lower).height * lower.scale + kind_of(upper).height * upper.scale) / 2
    within = kind_of(lower).grasp_width * lower.scale / 2
    return bool(np.hypot(x, y) < within and abs(z - rise) < _LEVEL_M)


def _lies_on_floor(state: SceneState, name: str, container: str) -> bool:
    """Return whether an object is low in a container; in a small one with a rim, also whether it reaches below that."""
    if not _height_over_floor(state, name, container) < _LAYER_M:
        return False
    outer, inner = state.scene.find(container), state.scene.find(name)
    if outer.scale >= _SMALL or kind_of(outer).preposition == "on":
        return True
    up = state.data.body(container).xmat.reshape(3, 3)[:, 2]
    half = np.asarray(kind_of(inner).parts[0].size) * inner.scale
    reach = np.abs(up @ state.data.body(name).xmat.reshape(3, 3)) @ half
    center = up @ (position(state, name) - position(state, container))
    return bool(center - reach < kind_of(outer).height * outer.scale)


def _height_over_floor(state: SceneState, name: str, container: str) -> float:
    """Return the height of an object's center above its lowest position in a container [m]; infinite outside."""
    outer = state.scene.find(container)
    kind, item = kind_of(outer), kind_of(state.scene.find(name))
    body = state.data.body(container)
    rotation = body.xmat.reshape(3, 3)
    if rotation[2, 2] < _UPRIGHT or 0 in _touching(state, name):
        return np.inf
    x, y, z = rotation.T @ (position(state, name) - body.xpos)
    if np.hypot(x, y) > kind.inner_radius * outer.scale or z < 0:
        return np.inf
    return float(z - kind.floor_height * outer.scale - max(item.height, item.grasp_width) / 2)


def overlaps(state: SceneState, name: str, container: str) -> bool:
    """Return whether an object's center, seen from above, lies within a container's outer radius."""
    outer = state.scene.find(container)
    offset = position(state, name)[:2] - position(state, container)[:2]
    return bool(np.linalg.norm(offset) < kind_of(outer).radius * outer.scale)


def is_on_table(state: SceneState, name: str) -> bool:
    """Return whether an object touches the table within reach."""
    return 0 in _touching(state, name) and not _is_lost(state, state.scene.find(name))


def cloth_overlap(state: SceneState, cloth: str) -> tuple[float, float]:
    """Measure how far a cloth is folded, seen from above in the frame of its left edge.

    Returns:
        Share of the right half's vertices that lie over the left half, and width as a share of the full width:
        0 and 1 when flat, 1 and 1/2 when folded.
    """
    body = state.data.body(cloth)
    flex = mujoco.mj_name2id(state.model, mujoco.mjtObj.mjOBJ_FLEX, cloth)
    first, count = int(state.model.flex_vertadr[flex]), int(state.model.flex_vertnum[flex])
    vertices = state.data.flexvert_xpos[first : first + count] - body.xpos
    yaw = np.arctan2(*body.xmat.reshape(3, 3)[[1, 0], [0, 0]])
    right = (vertices[:, 0] * -np.sin(yaw) + vertices[:, 1] * np.cos(yaw)) * -1
    columns = right.reshape(STRIPS + 1, -1)
    full_width = -state.model.body(f"{cloth} strip 1").pos[1] * STRIPS
    middle = STRIPS // 2
    over = (columns[middle + 1 :] < columns[middle] + 0.002) & (
        columns[middle + 1 :] > -0.25 * full_width
    )
    return float(over.mean()), float(np.ptp(columns) / full_width)


def _is_lost(state: SceneState, obj: SceneObject) -> bool:
    kind, body = kind_of(obj), state.data.body(obj.name)
    if kind.role in ("drawer", "door"):
        return False
    (x0, x1), (y0, y1) = REACH
    x, y, z = body.xpos
    if kind.role == "cloth":
        y -= 0.08 * obj.scale
    within = x0 < x < x1 and y0 < y < y1 and z > FALLEN_M
    upright = kind.role != "container" or body.xmat[8] > 0.5
    return not (within and upright)


def _touching(state: SceneState, name: str) -> set[int]:
    """Return the root bodies in contact with an object; 0 is the table."""
    roots = state.model.body_rootid[state.model.geom_bodyid]
    own = state.model.body(name).id
    pairs = roots[state.data.contact.geom] if state.data.ncon else np.zeros((0, 2), int)
    contacts = pairs[(pairs == own).any(1)]
    return {int(body) for body in contacts.ravel()} - {own}
