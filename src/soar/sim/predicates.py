"""Whether a task is done, from the simulator's own state, strictly. No component of the loop asks this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Float64

from soar.sim.objects.cloth import STRIPS
from soar.sim.objects.drawer import TRAVEL_M, slide_joint
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Goal, Inside, OnSide, SceneObject

if TYPE_CHECKING:
    from soar.sim.world import World

SIDE_MARGIN_M = 0.03
"""How far past the middle line (y = 0) the centre of a thing must lie."""
DRAWER_TOLERANCE_M = 0.01
REST_M_S, REST_RAD_S = 0.02, 0.5
REACH = ((0.126, 0.453), (-0.245, 0.323))
"""Where the centre of a thing must be along x and y [m] for the hand to do something about it."""
_LAYER_M = 0.03
"""How far above its lowest place a thing may lie and still be on the floor of its container: aslant, on edge."""
_UPRIGHT = 0.9
"""Cosine of a container's greatest tilt that still counts as standing."""
_FOLDED_SHARE, _FLAT_SHARE = 0.7, 0.15
_FLAT_WIDTH = 0.85


def fulfilled(world: World, goal: Goal) -> bool:
    """Whether `goal` holds now: the thing released, at rest, and where it should be."""
    match goal:
        case Inside(thing, container, value):
            if not settled(world, thing):
                return False
            if value:
                return is_inside(world, thing, container)
            return is_on_table(world, thing) and not overlaps(world, thing, container)
        case OnSide(thing, side):
            y = position(world, thing)[1] * (1 if side == "left" else -1)
            return settled(world, thing) and is_on_table(world, thing) and bool(y > SIDE_MARGIN_M)
        case DrawerOpen(drawer, value):
            wanted = TRAVEL_M if value else 0.0
            slide = world.data.joint(slide_joint(drawer))
            near = abs(slide.qpos[0] - wanted) < DRAWER_TOLERANCE_M
            return bool(near and abs(slide.qvel[0]) < REST_M_S)
        case ClothFolded(cloth, value):
            if not settled(world, cloth):
                return False
            share, width = cloth_overlap(world, cloth)
            if value:
                return share >= _FOLDED_SHARE
            return share <= _FLAT_SHARE and width >= _FLAT_WIDTH


def objects_lost(world: World) -> tuple[str, ...]:
    """Names of the things that left the reachable part of the table, and of containers that tipped over."""
    return tuple(t.name for t in world.scene.objects if _is_lost(world, t))


def position(world: World, thing: str) -> Float64[np.ndarray, "3"]:
    """Where the body of `thing` is [m]."""
    return np.array(world.data.body(thing).xpos)


def settled(world: World, thing: str) -> bool:
    """Whether the arm doesn't touch `thing` and it is at rest."""
    return not touched_by_arm(world, thing) and is_at_rest(world, thing)


def is_at_rest(world: World, thing: str) -> bool:
    """Whether `thing`'s body moves slower than 2 cm/s and 0.5 rad/s."""
    velocity = world.data.joint(thing).qvel
    return bool(
        np.linalg.norm(velocity[:3]) < REST_M_S and np.linalg.norm(velocity[3:]) < REST_RAD_S
    )


def touched_by_arm(world: World, thing: str) -> bool:
    """Whether something that is neither a thing nor the table touches `thing`."""
    things = {world.model.body(t.name).id for t in world.scene.objects}
    return any(other not in things and other != 0 for other in _touching(world, thing))


def is_inside(world: World, thing: str, container: str) -> bool:
    """Whether `thing` lies in or on an upright container: on its floor, or on something that does.

    Its centre must be within the radius of the floor and low, and it must not touch the table.
    """
    if _height_over_floor(world, thing, container) < _LAYER_M:
        return True
    others = {t.name: world.model.body(t.name).id for t in world.scene.objects}
    del others[thing], others[container]
    touching = _touching(world, thing)
    return _height_over_floor(world, thing, container) < 2 * _LAYER_M + 0.02 and any(
        body in touching and _height_over_floor(world, name, container) < _LAYER_M
        for name, body in others.items()
        if kind_of(_thing(world, name)).role == "item"
    )


def _height_over_floor(world: World, thing: str, container: str) -> float:
    """How much higher a thing's centre is than if it lay flat on the floor [m]; infinite when outside."""
    spec = _thing(world, container)
    kind, item = kind_of(spec), kind_of(_thing(world, thing))
    body = world.data.body(container)
    rotation = body.xmat.reshape(3, 3)
    if rotation[2, 2] < _UPRIGHT or 0 in _touching(world, thing):
        return np.inf
    x, y, z = rotation.T @ (position(world, thing) - body.xpos)
    if np.hypot(x, y) > kind.room * spec.scale or z < 0:
        return np.inf
    return float(z - kind.floor * spec.scale - max(item.height, item.grip) / 2)


def overlaps(world: World, thing: str, container: str) -> bool:
    """Whether `thing`, seen from above, is closer to the container's centre than its rim."""
    spec = _thing(world, container)
    gap = position(world, thing)[:2] - position(world, container)[:2]
    return bool(np.linalg.norm(gap) < kind_of(spec).radius * spec.scale)


def is_on_table(world: World, thing: str) -> bool:
    """Whether `thing` touches the table within reach."""
    return 0 in _touching(world, thing) and not _is_lost(world, _thing(world, thing))


def cloth_overlap(world: World, cloth: str) -> tuple[float, float]:
    """Share of the right half's vertices that lie over the left half, and the width as a share of flat.

    Both from above, in the frame of the cloth's left edge: 0 and 1 when flat, 1 and 1/2 when folded.
    """
    body = world.data.body(cloth)
    flex = mujoco.mj_name2id(world.model, mujoco.mjtObj.mjOBJ_FLEX, cloth)
    first, count = int(world.model.flex_vertadr[flex]), int(world.model.flex_vertnum[flex])
    vertices = world.data.flexvert_xpos[first : first + count] - body.xpos
    yaw = np.arctan2(*body.xmat.reshape(3, 3)[[1, 0], [0, 0]])
    right = (vertices[:, 0] * -np.sin(yaw) + vertices[:, 1] * np.cos(yaw)) * -1
    columns = right.reshape(STRIPS + 1, -1)
    flat = -world.model.body(f"{cloth} strip 1").pos[1] * STRIPS
    middle = STRIPS // 2
    over = (columns[middle + 1 :] < columns[middle] + 0.002) & (
        columns[middle + 1 :] > -0.25 * flat
    )
    return float(over.mean()), float(np.ptp(columns) / flat)


def _is_lost(world: World, thing: SceneObject) -> bool:
    kind, body = kind_of(thing), world.data.body(thing.name)
    if kind.role == "drawer":
        return False
    (x0, x1), (y0, y1) = REACH
    x, y, z = body.xpos
    if kind.role == "cloth":
        y -= 0.08 * thing.scale
    within = x0 < x < x1 and y0 < y < y1 and z > -0.02
    upright = kind.role != "container" or body.xmat[8] > 0.5
    return not (within and upright)


def _touching(world: World, thing: str) -> set[int]:
    """Root bodies in contact with `thing`; 0 is the table."""
    roots = world.model.body_rootid[world.model.geom_bodyid]
    mine = world.model.body(thing).id
    pairs = roots[world.data.contact.geom] if world.data.ncon else np.zeros((0, 2), int)
    with_me = pairs[(pairs == mine).any(1)]
    return {int(b) for b in with_me.ravel()} - {mine}


def _thing(world: World, name: str) -> SceneObject:
    return next(t for t in world.scene.objects if t.name == name)
