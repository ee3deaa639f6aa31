"""Grasp poses and release points of the scripted expert. Privileged: reads object poses.

Plane geometry over upright cylinders: every object is a disc around its center.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from soar.sim.arm import FINGER_THICKNESS_M, FINGER_TRAVEL_M, FINGERTIP_OFFSET_M
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import SceneObject
from soar.sim.world import World
from soar.utils.trajectories import Vector3

Point = Float64[np.ndarray, "2"]

_OPEN_REACH_M = FINGER_TRAVEL_M + FINGER_THICKNESS_M
_STRIP_M = 0.012
"""Half the width of the strip that the fingers sweep, with a margin [m]."""
_SPARE_M = 0.02
"""Room beyond the least that a predictable place has [m]."""
_MAX_WIDTH_M = 0.064
"""Largest width that the gripper closes on [m]."""


class Grasp(NamedTuple):
    """A pose of the gripper, fingers down, at which closing them grasps an object."""

    position: Vector3
    yaw: float


def best_grasp(world: World, name: str, rng: np.random.Generator, noise_m: float = 0.0) -> Grasp:
    """Return the grasp of an item with the most room for the open fingers and little rotation.

    Args:
        world: scene and state.
        name: the item.
        rng: source of the noise.
        noise_m: scale of exponential noise on the costs [m]; after a failure another grasp may be better.
    """
    grasps = _grasps(world, name)
    costs = [_cost(world, name, grasp) + noise_m * rng.exponential() for grasp in grasps]
    return grasps[int(np.argmin(costs))]


def _grasps(world: World, name: str) -> list[Grasp]:
    """Return grasps across each narrow horizontal side of the item's box, at and beside its middle."""
    center, axes, half = _box(world, name)
    rise = np.abs(axes[2]) @ half
    upright = int(np.argmax(np.abs(axes[2])))
    floor = max(center[2] - rise, 0.0)
    height = max(center[2] + 0.006, floor + FINGERTIP_OFFSET_M + 0.003)
    height = float(np.clip(height, world.controller.config.low[2], center[2] + rise + 0.012))
    grasps = []
    for i in (k for k in range(3) if k != upright):
        if 2 * half[i] > _MAX_WIDTH_M:
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
    """Return the depth of the fingers inside other objects [m], plus small costs of rotation and off-center grasps."""
    center, axes, half = _box(world, name)
    across = np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)])
    fingers = grasp.position[:2] + np.outer((-1, 1), across) * _OPEN_REACH_M
    cost = 0.006 * abs(grasp.yaw - world.target.rpy[2])
    cost += 0.3 * float(np.linalg.norm(grasp.position[:2] - center[:2]))
    cost += 0.2 * float(half @ np.abs(axes[:2].T @ across))
    for other in world.scene.objects:
        kind, position = kind_of(other), world.object_pose(other.name)[0]
        if other.name == name or kind.role == "cloth":
            continue
        distances = np.linalg.norm(fingers - position[:2], axis=1)
        if kind.role == "item":
            cost += _penetration(world, other.name, grasp)
        elif kind.role == "container" and is_over(world, name, other):
            cost += float(np.maximum(distances - kind.inner_radius * other.scale, 0).sum())
        elif kind.height * other.scale > 0.02:
            cost += float(np.maximum(kind.radius * other.scale + 0.01 - distances, 0).sum())
    return float(cost)


def _penetration(world: World, other: str, grasp: Grasp) -> float:
    """Return twice the depth [m] to which another item reaches into the strip that the closing fingers sweep."""
    center, axes, half = _box(world, other)
    corners = np.array(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3)).reshape(3, -1).T * half
    points = (center + corners @ axes.T)[:, :2] - grasp.position[:2]
    across = points @ (-np.sin(grasp.yaw), np.cos(grasp.yaw))
    along = points @ (np.cos(grasp.yaw), np.sin(grasp.yaw))
    depth = np.minimum(_STRIP_M - np.abs(along), _OPEN_REACH_M + 0.004 - np.abs(across))
    return float(2 * max(depth.max(), 0.0))


def is_over(world: World, name: str, container: SceneObject) -> bool:
    """Return whether an object's center, seen from above, lies within a container's outer radius."""
    offset = world.object_pose(name)[0][:2] - world.object_pose(container.name)[0][:2]
    return bool(np.linalg.norm(offset) < kind_of(container).radius * container.scale)


def item_height(world: World, name: str) -> tuple[float, float]:
    """Return the lowest and the highest z of an item's box [m]."""
    center, axes, half = _box(world, name)
    rise = float(np.abs(axes[2]) @ half)
    return float(center[2]) - rise, float(center[2]) + rise


def release_point(
    world: World, name: str, container: SceneObject, rng: np.random.Generator | None
) -> Vector3:
    """Return a position for the bottom of an item, in or on a container, at which to open the fingers [m].

    Near the container's middle and beside other items in it; above them where there is no room beside. `rng` is the
    source of the directions that are tried; None tries the same everywhere.
    """
    kind, item = kind_of(container), world.scene.find(name)
    base, radius = world.object_pose(container.name)[0], kind_of(item).radius * item.scale
    share = 0.9 if kind.preposition == "in" else 0.6
    reach = max(kind.inner_radius * container.scale - share * radius, 0.0)
    angles = rng.uniform(-np.pi, np.pi, 24) if rng else np.linspace(-np.pi, np.pi, 24)
    distances = np.linspace(0, reach, 24)
    points = base[:2] + np.column_stack([np.cos(angles), np.sin(angles)]) * distances[:, None]
    overlap = np.zeros(len(points))
    top = np.full(len(points), base[2] + kind.floor_height * container.scale)
    for other in world.scene.objects:
        if other.name in (name, container.name) or kind_of(other).role != "item":
            continue
        room = 0.9 * (kind_of(other).radius * other.scale + radius)
        gap = np.linalg.norm(points - world.object_pose(other.name)[0][:2], axis=1)
        overlap += np.maximum(room - gap, 0)
        top[gap < room] = np.maximum(top[gap < room], item_height(world, other.name)[1])
    best = int(np.argmin(overlap + 0.2 * distances))
    return np.array([*points[best], top[best] + 0.01])


def free_point(
    world: World,
    name: str,
    rng: np.random.Generator | None,
    side: str | None = None,
    margin: float = 0.05,
) -> Point:
    """Return a reachable free point of the table for an item, one of the nearer ones [m].

    Args:
        world: scene and state.
        name: the item.
        rng: source of the candidates; None for the nearest point of a grid, with 2 cm more room.
        side: "left" or "right" of the table; None allows both.
        margin: distance from the middle line on a side [m].
    """
    config, item = world.controller.config, world.scene.find(name)
    spare = 0.0 if rng else _SPARE_M
    low, high = np.array(config.low[:2]) + 0.035, np.array(config.high[:2]) - 0.045
    if side == "left":
        low[1] = margin + spare
    elif side == "right":
        high[1] = -margin - spare
    points = rng.uniform(low, high, (200, 2)) if rng else _grid(low, high)
    points = points[np.linalg.norm(points, axis=1) < 0.44]
    here = world.object_pose(name)[0][:2]
    room = np.full(len(points), 0.1)
    for other in world.scene.objects:
        if other.name != name:
            gap = np.linalg.norm(points - world.object_pose(other.name)[0][:2], axis=1)
            radii = kind_of(other).radius * other.scale + kind_of(item).radius * item.scale
            room = np.minimum(room, gap - radii)
    free: Bool[np.ndarray, "_n"] = room > min(0.03 + spare, float(np.quantile(room, 0.9)))
    candidates = points[free][:12] if rng else points[free]
    order = np.argsort(np.linalg.norm(candidates - here, axis=1))
    return np.asarray(candidates[order[int(rng.integers(max(1, len(order) // 2))) if rng else 0]])


def _grid(low: Point, high: Point) -> Float64[np.ndarray, "_n 2"]:
    """Return the points of a grid of about 1 cm between two corners."""
    x, y = (
        np.linspace(a, b, max(2, round((b - a) / 0.01) + 1)) for a, b in zip(low, high, strict=True)
    )
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _box(world: World, name: str) -> tuple[Vector3, Float64[np.ndarray, "3 3"], Vector3]:
    """Return center, axes (columns) and half sizes of an item's collision box."""
    model, data = world.model, world.data
    body = model.body(name)
    geoms = range(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
    core = next(g for g in geoms if model.geom_contype[g])
    return data.geom_xpos[core].copy(), data.geom_xmat[core].reshape(3, 3), model.geom_size[core]
