"""Where a scripted hand should close, and where it should let go. Privileged: reads poses.

Plane geometry over upright cylinders: every thing is a disc around its centre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from soar.sim.arm import FINGER_THICKNESS_M, FINGER_TRAVEL_M, FINGERTIP_OFFSET_M
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import SceneObject

if TYPE_CHECKING:
    from soar.sim.world import World

Point = Float64[np.ndarray, "2"]
Points = Float64[np.ndarray, "_n 2"]

_OPEN_REACH_M = FINGER_TRAVEL_M + FINGER_THICKNESS_M
_STRIP_M = 0.012
"""Half the width of what the fingers sweep, and a little room."""
_WIDEST_M = 0.064
"""The widest thing the hand tries to close on."""


class Grasp(NamedTuple):
    """A pose of the hand, pointing down, at which closing the fingers holds a thing."""

    position: Float64[np.ndarray, "3"]
    yaw: float


def find(world: World, name: str) -> SceneObject:
    """The scene's thing of this name."""
    return next(t for t in world.scene.objects if t.name == name)


def best_grasp(world: World, name: str, rng: np.random.Generator, doubt: float = 0.0) -> Grasp:
    """The grasp of an item with the most room for the open fingers, and little turning.

    `doubt` [m] blurs the choice: after a failure another grasp may be the better one.
    """
    grasps = _grasps(world, name)
    costs = [_cost(world, name, grasp) + doubt * rng.exponential() for grasp in grasps]
    return grasps[int(np.argmin(costs))]


def _grasps(world: World, name: str) -> list[Grasp]:
    """Ways to close across each narrow horizontal side of the item's box, at and beside its middle."""
    center, axes, half = _box(world, name)
    rise = np.abs(axes[2]) @ half
    upright = int(np.argmax(np.abs(axes[2])))
    floor = max(center[2] - rise, 0.0)
    height = max(center[2] + 0.006, floor + FINGERTIP_OFFSET_M + 0.003)
    height = float(np.clip(height, world.controller.config.low[2], center[2] + rise + 0.012))
    grasps = []
    for i in (k for k in range(3) if k != upright):
        if 2 * half[i] > _WIDEST_M:
            continue
        along = 3 - i - upright
        yaw = np.arctan2(-axes[0, i], axes[1, i])
        for turn in (-np.pi, 0.0, np.pi):
            if abs(yaw + turn) > world.controller.config.max_yaw_rad - 0.05:
                continue
            for shift in (0.0, 0.35, -0.35):
                at = center[:2] + axes[:2, along] * half[along] * shift
                grasps.append(Grasp(np.array([*at, height]), float(yaw + turn)))
    return grasps or [Grasp(np.array([*center[:2], height]), 0.0)]


def _cost(world: World, name: str, grasp: Grasp) -> float:
    """Metres of finger inside something, and a little for turning and for holding off-centre."""
    center, axes, half = _box(world, name)
    across = np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)])
    fingers = grasp.position[:2] + np.outer((-1, 1), across) * _OPEN_REACH_M
    cost = 0.006 * abs(grasp.yaw - world.target.rpy[2])
    cost += 0.3 * float(np.linalg.norm(grasp.position[:2] - center[:2]))
    cost += 0.2 * float(half @ np.abs(axes[:2].T @ across))
    for other in world.scene.objects:
        kind, where = kind_of(other), world.object_pose(other.name)[0]
        if other.name == name or kind.role == "cloth":
            continue
        if kind.role == "item":
            cost += _in_the_way(world, other.name, grasp)
        elif kind.role == "container" and inside_radius(world, name, other):
            away = np.linalg.norm(fingers - where[:2], axis=1)
            cost += float(np.maximum(away - kind.room * other.scale, 0).sum())
        elif kind.height * other.scale > 0.02:
            away = np.linalg.norm(fingers - where[:2], axis=1)
            cost += float(np.maximum(kind.radius * other.scale + 0.01 - away, 0).sum())
    return float(cost)


def _in_the_way(world: World, other: str, grasp: Grasp) -> float:
    """How deep [m] another item reaches into the strip that the fingers sweep as they close."""
    center, axes, half = _box(world, other)
    corners = np.array(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3)).reshape(3, -1).T * half
    points = (center + corners @ axes.T)[:, :2] - grasp.position[:2]
    across = points @ (-np.sin(grasp.yaw), np.cos(grasp.yaw))
    along = points @ (np.cos(grasp.yaw), np.sin(grasp.yaw))
    depth = np.minimum(_STRIP_M - np.abs(along), _OPEN_REACH_M + 0.004 - np.abs(across))
    return float(2 * max(depth.max(), 0.0))


def inside_radius(world: World, name: str, container: SceneObject) -> bool:
    """Whether an item's centre is above the floor of a container."""
    away = world.object_pose(name)[0][:2] - world.object_pose(container.name)[0][:2]
    return bool(np.linalg.norm(away) < kind_of(container).radius * container.scale)


def item_height(world: World, name: str) -> tuple[float, float]:
    """Lowest and highest z of an item's box."""
    center, axes, half = _box(world, name)
    rise = float(np.abs(axes[2]) @ half)
    return float(center[2]) - rise, float(center[2]) + rise


def drop_point(
    world: World, name: str, container: SceneObject, rng: np.random.Generator
) -> Float64[np.ndarray, "3"]:
    """Where the bottom of an item should be when the fingers open, in or on a container.

    Above its middle, or beside what already lies there; above that, where there is no room beside it.
    """
    kind, item = kind_of(container), find(world, name)
    base, size = world.object_pose(container.name)[0], kind_of(item).radius * item.scale
    share = 0.9 if kind.preposition == "in" else 0.6
    reach = max(kind.room * container.scale - share * size, 0.0)
    angles, radii = rng.uniform(-np.pi, np.pi, 24), np.linspace(0, reach, 24)
    points = base[:2] + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    crowd, top = np.zeros(len(points)), np.full(len(points), base[2] + kind.floor * container.scale)
    for other in world.scene.objects:
        if other.name in (name, container.name) or kind_of(other).role != "item":
            continue
        room = 0.9 * (kind_of(other).radius * other.scale + size)
        gap = np.linalg.norm(points - world.object_pose(other.name)[0][:2], axis=1)
        crowd += np.maximum(room - gap, 0)
        top[gap < room] = np.maximum(top[gap < room], item_height(world, other.name)[1])
    best = int(np.argmin(crowd + 0.2 * radii))
    return np.array([*points[best], top[best] + 0.01])


def free_place(
    world: World,
    name: str,
    rng: np.random.Generator,
    side: str | None = None,
    margin: float = 0.05,
) -> Point:
    """A reachable free place on the table for an item, on one side if asked, not far if there's a choice."""
    config, item = world.controller.config, find(world, name)
    low, high = np.array(config.low[:2]) + 0.035, np.array(config.high[:2]) - 0.045
    if side == "left":
        low[1] = margin
    elif side == "right":
        high[1] = -margin
    points = rng.uniform(low, high, (200, 2))
    points = points[np.linalg.norm(points, axis=1) < 0.44]
    here = world.object_pose(name)[0][:2]
    room = np.full(len(points), 0.1)
    for other in world.scene.objects:
        if other.name != name:
            away = np.linalg.norm(points - world.object_pose(other.name)[0][:2], axis=1)
            used = kind_of(other).radius * other.scale + kind_of(item).radius * item.scale
            room = np.minimum(room, away - used)
    free: Bool[np.ndarray, "_n"] = room > min(0.03, float(np.quantile(room, 0.9)))
    candidates = points[free][:12]
    order = np.argsort(np.linalg.norm(candidates - here, axis=1))
    return np.asarray(candidates[order[int(rng.integers(max(1, len(order) // 2)))]])


def _box(
    world: World, name: str
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """Centre, axes (columns) and half sizes of the box that an item collides with."""
    model, data = world.model, world.data
    body = model.body(name)
    geoms = range(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
    core = next(g for g in geoms if model.geom_contype[g])
    return data.geom_xpos[core].copy(), data.geom_xmat[core].reshape(3, 3), model.geom_size[core]
