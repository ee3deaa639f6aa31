"""Random initial layouts: objects free, reachable, at rest, and placed so that a given goal can be attempted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float64

from soar.errors import ConfigError
from soar.sim import predicates
from soar.sim.model import SceneState
from soar.sim.objects.cloth import WIDTH_M, hinges
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

REGION = ((0.185, 0.395), (-0.175, 0.253))
"""Range of an item's initial center along x and y [m]: the end effector's box less a margin of 3 cm."""
START_INSIDE = 0.35
"""Probability that an item starts in a container that a task of its scene names."""
_MAX_INSIDE = 2
"""Largest number of items that start in containers; one more where a goal needs it."""
_GAP_M = 0.03
"""Free space around each item for the fingers [m]."""
_DISTRACTOR_GAP_M = 0.005
_DISTRACTOR_MARGIN_M = 0.03
"""Distance beyond `REGION` at which a distracting item may lie [m]: to the end of the end effector's box."""
_LAYOUT_TRIES, _POSITION_TRIES = 60, 200
_HUDDLED, _TILTED = 0.5, 0.2
"""Shares of scattered objects that come to lie against another one, and of scattered items that fall tilted."""
_SETTLE_S = 0.8


class _Disc(NamedTuple):
    """A disc on the table that an object occupies [m]."""

    x: float
    y: float
    radius: float


class NoRoom(ConfigError):
    """Objects don't fit on the table; where one layout has no free position left, another may have one."""


def place(state: SceneState, rng: np.random.Generator, goal: Goal | None = None) -> None:
    """Place all objects at random and let them come to rest.

    With a `goal`, the layout makes it feasible and doesn't fulfill it: the object lies outside the container that it
    has to go into, or in the one that it has to leave, or on the other side, and so on.

    Raises:
        NoRoom: the objects don't fit on the table.
    """
    for _ in range(_LAYOUT_TRIES):
        try:
            _arrange(state, rng, goal)
        except NoRoom:
            continue
        _settle(state)
        if _is_valid(state, goal):
            return
    raise NoRoom(
        f"the objects of scene '{state.scene.name}' don't fit on the table; use fewer or smaller ones"
    )


def scatter(state: SceneState, rng: np.random.Generator) -> None:
    """Drop items and containers anywhere within reach, also against and upon each other, and let them come to rest.

    Tables look like this after a while of practice, and never after `place`.
    """
    occupied: list[tuple[_Disc, float]] = []
    free = [o for o in state.scene.objects if kind_of(o).role in ("item", "container")]
    for obj in sorted(free, key=lambda o: kind_of(o).role):
        kind = kind_of(obj)
        radius, height = kind.radius * obj.scale, kind.height * obj.scale
        x, y = _scattered_position(radius, [disc for disc, _ in occupied], rng)
        below = sum(h for d, h in occupied if np.hypot(x - d.x, y - d.y) < radius + d.radius)
        tilted = kind.role == "item" and rng.random() < _TILTED
        z = below + (radius if tilted else height / 2 if kind.role == "item" else 0.0) + 0.004
        _set_pose(state, obj.name, (x, y, z), _yaw(obj, rng))
        if tilted:
            state.data.joint(obj.name).qpos[3:] = _random_rotation(rng)
        occupied.append((_Disc(x, y, radius), height))
    _settle(state)


def _scattered_position(
    radius: float, occupied: Sequence[_Disc], rng: np.random.Generator
) -> tuple[float, float]:
    """Sample a position anywhere, or at the edge of what lies there already."""
    (x0, x1), (y0, y1) = predicates.REACH
    x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
    if occupied and rng.random() < _HUDDLED:
        disc, angle = occupied[int(rng.integers(len(occupied)))], rng.uniform(-np.pi, np.pi)
        distance = (radius + disc.radius) * rng.uniform(0.6, 1.1)
        x, y = disc.x + distance * np.cos(angle), disc.y + distance * np.sin(angle)
    return float(np.clip(x, x0, x1)), float(np.clip(y, y0, y1))


def is_feasible(state: SceneState, goal: Goal) -> bool:
    """Return whether a goal doesn't hold yet and can be reached from the present state."""
    if predicates.fulfilled(state, goal):
        return False
    match goal:
        case Inside(obj, container, value):
            return predicates.is_inside(state, obj, container) != value
        case OnSide(obj, _):
            return predicates.is_on_table(state, obj)
        case Stacked(obj, base, value):
            if not value:
                return predicates.is_stacked(state, obj, base)
            return all(predicates.is_on_table(state, o) for o in (obj, base)) and not _carries(
                state, base
            )
        case _:
            return True


def _arrange(state: SceneState, rng: np.random.Generator, goal: Goal | None) -> None:
    """Sample all poses, those of large objects first."""
    occupied: list[_Disc] = []
    inside = _choose_containers(state, rng, goal)
    order = {"drawer": 0, "door": 0, "cloth": 1, "container": 2, "item": 3}
    for obj in sorted(state.scene.objects, key=lambda o: order[kind_of(o).role]):
        role = kind_of(obj).role
        if role == "drawer":
            _place_drawer(state, obj, rng, goal, occupied)
        elif role == "door":
            _place_cabinet(state, obj, rng, goal, occupied)
        elif role == "cloth":
            _place_cloth(state, obj, rng, goal, occupied)
        elif obj.name not in inside:
            _place_free(state, obj, rng, goal, occupied)
    if isinstance(goal, Stacked) and not goal.value:
        _stack(state, goal, rng)
    for container in sorted(set(inside.values())):
        _fill(state, container, [n for n, c in inside.items() if c == container], rng)


def _choose_containers(
    state: SceneState, rng: np.random.Generator, goal: Goal | None
) -> dict[str, str]:
    """Choose the items that start inside a container. Returns containers by item."""
    chosen: dict[str, str] = {}
    for task in state.scene.tasks:
        g = task.goal
        if isinstance(g, Inside) and g.value and rng.random() < START_INSIDE:
            chosen[g.object] = g.container
    while len(chosen) > _MAX_INSIDE:
        chosen.popitem()
    if isinstance(goal, Inside):
        chosen.pop(goal.object, None)
        if not goal.value:
            chosen[goal.object] = goal.container
    elif isinstance(goal, OnSide):
        chosen.pop(goal.object, None)
    elif isinstance(goal, Stacked):
        chosen.pop(goal.object, None)
        chosen.pop(goal.base, None)
    return chosen


def _place_free(
    state: SceneState,
    obj: SceneObject,
    rng: np.random.Generator,
    goal: Goal | None,
    occupied: list[_Disc],
) -> None:
    (x0, x1), (y0, y1) = REGION
    kind = kind_of(obj)
    radius = kind.radius * obj.scale
    if obj.distractor:
        margin = _DISTRACTOR_MARGIN_M
        x0, x1, y0, y1 = x0 - margin, x1 + margin, y0 - margin, y1 + margin
    if kind.role == "container":
        x0, x1, y0, y1 = x0 + 0.03, x1 - 0.02, y0 + 0.03, y1 - 0.03
    if isinstance(goal, OnSide) and goal.object == obj.name:
        margin = predicates.SIDE_MARGIN_M
        y0, y1 = (y0, -margin) if goal.side == "left" else (margin, y1)
    for _ in range(_POSITION_TRIES):
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        gap = _GAP_M if kind.role == "item" else 0.01
        gap = _DISTRACTOR_GAP_M if obj.distractor else gap
        if all(np.hypot(x - d.x, y - d.y) > radius + d.radius + gap for d in occupied):
            occupied.append(_Disc(x, y, radius))
            z = 0.001 + (obj.scale * kind.height / 2 if kind.role == "item" else 0.0)
            _set_pose(state, obj.name, (x, y, z), _yaw(obj, rng))
            return
    raise NoRoom


def _carries(state: SceneState, base: str) -> bool:
    """Return whether another item rests on an item."""
    items = [o.name for o in state.scene.objects if kind_of(o).role == "item" and o.name != base]
    return any(predicates.is_stacked(state, name, base) for name in items)


def _stack(state: SceneState, goal: Stacked, rng: np.random.Generator) -> None:
    """Place an item on another one, which lies on the table."""
    upper, lower = state.scene.find(goal.object), state.scene.find(goal.base)
    x, y, _ = state.data.joint(goal.base).qpos[:3]
    z = kind_of(lower).height * lower.scale + kind_of(upper).height * upper.scale / 2
    shift = rng.uniform(-1, 1, 2) * 0.1 * kind_of(lower).grasp_width * lower.scale
    _set_pose(state, goal.object, (x + shift[0], y + shift[1], z + 0.002), _yaw(upper, rng))


def _fill(state: SceneState, container: str, names: list[str], rng: np.random.Generator) -> None:
    """Place items in a container: one anywhere, several around its middle."""
    outer = state.scene.find(container)
    shell, center = kind_of(outer), state.data.joint(container).qpos[:3]
    turn, share = rng.uniform(-np.pi, np.pi), np.sqrt(rng.uniform()) if len(names) == 1 else 1.0
    for i, name in enumerate(names):
        obj = state.scene.find(name)
        kind = kind_of(obj)
        radius = share * max(0.0, shell.inner_radius * outer.scale - kind.radius * obj.scale)
        angle = turn + 2 * np.pi * i / len(names)
        z = center[2] + shell.floor_height * outer.scale + obj.scale * kind.height / 2
        at = (center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle))
        _set_pose(state, name, (*at, z + 0.003 + 0.04 * i), _yaw(obj, rng))


def _place_drawer(
    state: SceneState,
    obj: SceneObject,
    rng: np.random.Generator,
    goal: Goal | None,
    occupied: list[_Disc],
) -> None:
    x, y = _place_fixed(state, obj, rng, (0.305, 0.325), (-0.06, 0.12))
    is_open = (not goal.value) if isinstance(goal, DrawerOpen) else rng.random() < 0.5
    slide = state.data.joint(slide_joint(obj.name))
    slide.qpos, slide.qvel = (TRAVEL_M if is_open else 0.0), 0.0
    occupied += [_Disc(x + 0.06, y, 0.11), _Disc(x - 0.07, y, 0.08)]


def _place_fixed(
    state: SceneState,
    obj: SceneObject,
    rng: np.random.Generator,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> tuple[float, float]:
    """Place a fixed body, its front roughly toward the robot, and return its x and y [m]."""
    x, y = rng.uniform(*x_range), rng.uniform(*y_range)
    yaw = rng.uniform(-0.08, 0.08) if obj.yaw is None else obj.yaw
    mocap = int(state.model.body(obj.name).mocapid[0])
    state.data.mocap_pos[mocap] = (x, y, 0.0)
    state.data.mocap_quat[mocap] = _quaternion(yaw)
    return x, y


def _place_cabinet(
    state: SceneState,
    obj: SceneObject,
    rng: np.random.Generator,
    goal: Goal | None,
    occupied: list[_Disc],
) -> None:
    x, y = _place_fixed(state, obj, rng, (0.335, 0.355), (-0.02, 0.12))
    is_open = (not goal.value) if isinstance(goal, DoorOpen) else rng.random() < 0.5
    hinge = state.data.joint(hinge_joint(obj.name))
    hinge.qpos, hinge.qvel = (SWING_RAD if is_open else 0.0), 0.0
    occupied += [_Disc(x + 0.04, y, 0.08), _Disc(x - 0.05, y + 0.02, 0.10)]


def _place_cloth(
    state: SceneState,
    obj: SceneObject,
    rng: np.random.Generator,
    goal: Goal | None,
    occupied: list[_Disc],
) -> None:
    width = WIDTH_M * obj.scale
    x, y = rng.uniform(0.25, 0.34), rng.uniform(-0.03, 0.09)
    yaw = rng.uniform(-0.15, 0.15) if obj.yaw is None else obj.yaw
    left_edge = (x - np.sin(yaw) * width / 2, y + np.cos(yaw) * width / 2, 0.009)
    _set_pose(state, obj.name, left_edge, yaw)
    folded = (not goal.value) if isinstance(goal, ClothFolded) else rng.random() < 0.5
    names = hinges(obj.name)
    for name in names:
        state.data.joint(name).qpos, state.data.joint(name).qvel = 0.0, 0.0
    if folded:
        state.data.joint(names[len(names) // 2 - 1]).qpos = 2.9
        state.data.joint(names[-1]).qpos = -2.9
    occupied.append(_Disc(x, y, 0.115 * obj.scale))


def _settle(state: SceneState) -> None:
    mujoco.mj_step(state.model, state.data, round(_SETTLE_S / state.model.opt.timestep))
    mujoco.mj_forward(state.model, state.data)


def _is_valid(state: SceneState, goal: Goal | None) -> bool:
    """Return whether all objects rest within reach, none halfway in a container, and the goal, if any, is feasible."""
    roles = {obj.name: kind_of(obj).role for obj in state.scene.objects}
    if predicates.objects_lost(state):
        return False
    if not all(
        predicates.is_settled(state, n)
        for n, role in roles.items()
        if role not in ("drawer", "door")
    ):
        return False
    for item in (n for n, role in roles.items() if role == "item"):
        for container in (n for n, role in roles.items() if role == "container"):
            overlapping = predicates.overlaps(state, item, container)
            if overlapping and not predicates.is_inside(state, item, container):
                return False
    return goal is None or is_feasible(state, goal)


def _set_pose(
    state: SceneState, name: str, position: tuple[float, float, float], yaw: float
) -> None:
    joint = state.data.joint(name)
    joint.qpos = (*position, *_quaternion(yaw))
    joint.qvel = 0.0


def _yaw(obj: SceneObject, rng: np.random.Generator) -> float:
    return rng.uniform(-np.pi, np.pi) if obj.yaw is None else obj.yaw


def _random_rotation(rng: np.random.Generator) -> Float64[np.ndarray, "4"]:
    """Sample a unit quaternion evenly."""
    quaternion = rng.normal(size=4)
    return np.asarray(quaternion / np.linalg.norm(quaternion))


def _quaternion(yaw: float) -> tuple[float, float, float, float]:
    return (float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2)))
