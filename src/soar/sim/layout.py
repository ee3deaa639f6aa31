"""Where things start: free, reachable, at rest, and so that a given task can be practised."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np

from soar.errors import ConfigError
from soar.sim import predicates
from soar.sim.objects.cloth import WIDTH_M, hinges
from soar.sim.objects.drawer import TRAVEL_M, slide_joint
from soar.sim.objects.kinds import kind_of
from soar.sim.objects.shapes import Kind
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Goal, Inside, OnSide, SceneObject

if TYPE_CHECKING:
    from soar.sim.world import World

REGION = ((0.185, 0.395), (-0.175, 0.253))
"""Where the centre of an item may start along x and y [m]: the hand's box, less 3 cm."""
START_INSIDE = 0.35
"""Chance that an item starts in a container that a task of its scene names."""
_MOST_INSIDE = 2
"""Items that start in containers, at most; one more where a goal needs it."""
_GAP_M = 0.03
"""Free space around each item, for the fingers."""
_LAYOUTS, _SPOTS = 60, 200
_SETTLE_S = 0.8


class _Disc(NamedTuple):
    """A taken spot of the table."""

    x: float
    y: float
    radius: float


class _NoRoomError(Exception):
    """This layout has no free spot left; another may have."""


def place(world: World, rng: np.random.Generator, goal: Goal | None = None) -> None:
    """Put every thing at a random place and let it come to rest.

    With a `goal`, the start is one from which it can be reached and isn't fulfilled yet: the thing lies
    outside the container it shall go in, or in the one it shall leave, on the other side, and so on.

    Raises:
        ConfigError: the things don't fit on the table.
    """
    for _ in range(_LAYOUTS):
        try:
            _arrange(world, rng, goal)
        except _NoRoomError:
            continue
        _settle(world)
        if _is_good(world, goal):
            return
    raise ConfigError(
        f"the things of scene '{world.scene.name}' don't fit on the table; use fewer or smaller ones"
    )


def _arrange(world: World, rng: np.random.Generator, goal: Goal | None) -> None:
    """Draw all poses, big things first."""
    taken: list[_Disc] = []
    inside = _choose_containers(world, rng, goal)
    order = {"drawer": 0, "cloth": 1, "container": 2, "item": 3}
    for thing in sorted(world.scene.objects, key=lambda t: order[kind_of(t).role]):
        kind = kind_of(thing)
        if kind.role == "drawer":
            _place_drawer(world, thing, rng, goal, taken)
        elif kind.role == "cloth":
            _place_cloth(world, thing, rng, goal, taken)
        elif thing.name not in inside:
            _place_free(world, thing, kind, rng, goal, taken)
    for container in sorted(set(inside.values())):
        _fill(world, container, [n for n, c in inside.items() if c == container], rng)


def _choose_containers(world: World, rng: np.random.Generator, goal: Goal | None) -> dict[str, str]:
    """Container by item for the items that start inside one."""
    chosen: dict[str, str] = {}
    for task in world.scene.tasks:
        g = task.goal
        if isinstance(g, Inside) and g.value and rng.random() < START_INSIDE:
            chosen[g.object] = g.container
    while len(chosen) > _MOST_INSIDE:
        chosen.popitem()
    if isinstance(goal, Inside):
        chosen.pop(goal.object, None)
        if not goal.value:
            chosen[goal.object] = goal.container
    elif isinstance(goal, OnSide):
        chosen.pop(goal.object, None)
    return chosen


def _place_free(
    world: World,
    thing: SceneObject,
    kind: Kind,
    rng: np.random.Generator,
    goal: Goal | None,
    taken: list[_Disc],
) -> None:
    (x0, x1), (y0, y1) = REGION
    radius = kind.radius * thing.scale
    if kind.role == "container":
        x0, x1, y0, y1 = x0 + 0.03, x1 - 0.02, y0 + 0.03, y1 - 0.03
    if isinstance(goal, OnSide) and goal.object == thing.name:
        margin = predicates.SIDE_MARGIN_M
        y0, y1 = (y0, -margin) if goal.side == "left" else (margin, y1)
    for _ in range(_SPOTS):
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        gap = _GAP_M if kind.role == "item" else 0.01
        if all(np.hypot(x - d.x, y - d.y) > radius + d.radius + gap for d in taken):
            taken.append(_Disc(x, y, radius))
            z = 0.001 + (thing.scale * kind.height / 2 if kind.role == "item" else 0.0)
            _set_pose(world, thing.name, (x, y, z), _yaw(thing, rng))
            return
    raise _NoRoomError


def _fill(world: World, container: str, names: list[str], rng: np.random.Generator) -> None:
    """Let items down into a container: one anywhere, several around its middle."""
    around = _thing(world, container)
    shell, center = kind_of(around), world.data.joint(container).qpos[:3]
    turn, share = rng.uniform(-np.pi, np.pi), np.sqrt(rng.uniform()) if len(names) == 1 else 1.0
    for i, name in enumerate(names):
        thing = _thing(world, name)
        kind = kind_of(thing)
        away = share * max(0.0, shell.room * around.scale - kind.radius * thing.scale)
        angle = turn + 2 * np.pi * i / len(names)
        z = center[2] + shell.floor * around.scale + thing.scale * kind.height / 2
        at = (center[0] + away * np.cos(angle), center[1] + away * np.sin(angle))
        _set_pose(world, name, (*at, z + 0.003 + 0.04 * i), _yaw(thing, rng))


def _place_drawer(
    world: World, thing: SceneObject, rng: np.random.Generator, goal: Goal | None, taken: list[_Disc]
) -> None:
    x, y = rng.uniform(0.305, 0.325), rng.uniform(-0.06, 0.12)
    yaw = rng.uniform(-0.08, 0.08) if thing.yaw is None else thing.yaw
    mocap = int(world.model.body(thing.name).mocapid[0])
    world.data.mocap_pos[mocap] = (x, y, 0.0)
    world.data.mocap_quat[mocap] = _quaternion(yaw)
    is_open = (not goal.value) if isinstance(goal, DrawerOpen) else rng.random() < 0.5
    slide = world.data.joint(slide_joint(thing.name))
    slide.qpos, slide.qvel = (TRAVEL_M if is_open else 0.0), 0.0
    taken += [_Disc(x + 0.06, y, 0.11), _Disc(x - 0.07, y, 0.08)]


def _place_cloth(
    world: World, thing: SceneObject, rng: np.random.Generator, goal: Goal | None, taken: list[_Disc]
) -> None:
    width = WIDTH_M * thing.scale
    x, y = rng.uniform(0.25, 0.34), rng.uniform(-0.03, 0.09)
    yaw = rng.uniform(-0.15, 0.15) if thing.yaw is None else thing.yaw
    left = (x - np.sin(yaw) * width / 2, y + np.cos(yaw) * width / 2, 0.009)
    _set_pose(world, thing.name, left, yaw)
    folded = (not goal.value) if isinstance(goal, ClothFolded) else rng.random() < 0.5
    names = hinges(thing.name)
    for name in names:
        world.data.joint(name).qpos, world.data.joint(name).qvel = 0.0, 0.0
    if folded:
        world.data.joint(names[len(names) // 2 - 1]).qpos = 2.9
        world.data.joint(names[-1]).qpos = -2.9
    taken.append(_Disc(x, y, 0.115 * thing.scale))


def _settle(world: World) -> None:
    mujoco.mj_step(world.model, world.data, round(_SETTLE_S / world.model.opt.timestep))
    mujoco.mj_forward(world.model, world.data)


def _is_good(world: World, goal: Goal | None) -> bool:
    """Whether everything lies still within reach, inside or outside, and the goal, if any, is still to be reached."""
    things = {t.name: kind_of(t).role for t in world.scene.objects}
    if predicates.objects_lost(world):
        return False
    if not all(predicates.settled(world, n) for n, role in things.items() if role != "drawer"):
        return False
    for item in (n for n, role in things.items() if role == "item"):
        for container in (n for n, role in things.items() if role == "container"):
            halfway = predicates.overlaps(world, item, container)
            if halfway and not predicates.is_inside(world, item, container):
                return False
    return goal is None or is_feasible(world, goal)


def is_feasible(world: World, goal: Goal) -> bool:
    """Whether `goal` isn't fulfilled and can be reached from the state as it is."""
    if predicates.fulfilled(world, goal):
        return False
    match goal:
        case Inside(thing, container, value):
            return predicates.is_inside(world, thing, container) != value
        case OnSide(thing, _):
            return predicates.is_on_table(world, thing)
        case _:
            return True


def _set_pose(world: World, name: str, at: tuple[float, float, float], yaw: float) -> None:
    joint = world.data.joint(name)
    joint.qpos = (*at, *_quaternion(yaw))
    joint.qvel = 0.0


def _yaw(thing: SceneObject, rng: np.random.Generator) -> float:
    return rng.uniform(-np.pi, np.pi) if thing.yaw is None else thing.yaw


def _quaternion(yaw: float) -> tuple[float, float, float, float]:
    return (float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2)))


def _thing(world: World, name: str) -> SceneObject:
    return next(t for t in world.scene.objects if t.name == name)
