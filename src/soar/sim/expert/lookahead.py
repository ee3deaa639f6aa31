"""What a scripted expert would bring about from a world's present state. The world stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from soar.sim.expert.expert import Expert
from soar.sim.scenes.spec import Goal, Inside, OnSide, Stacked
from soar.sim.world import World

T = TypeVar("T")
_OPEN = 0.8
"""Opening from which the fingers count as open."""


def read_ahead(world: World, goal: Goal, steps: int, seed: int, read: Callable[[], T]) -> T:
    """Return what `read` finds after `steps` control steps of an expert."""
    now = world.snapshot()
    expert = Expert(world, goal, np.random.default_rng(seed), noise=0.0)
    for _ in range(steps):
        if expert.done:
            break
        world.step(expert.act())
    found = read()
    world.restore(now)
    return found


def read_subgoals(world: World, goal: Goal, steps: int, read: Callable[[], T]) -> list[T]:
    """Return what `read` finds after each of `steps` control steps of a predictable expert, up to its subgoal's end.

    From there on it finds the same.
    """
    now, found = world.snapshot(), list[T]()
    expert = Expert(world, goal, np.random.default_rng(0), noise=0.0, predictable=True)
    acting = _until_reopening(world, expert)
    for _ in range(steps):
        next(acting, None)
        found.append(read())
    world.restore(now)
    return found


def _until_reopening(world: World, expert: Expert) -> Iterator[None]:
    """Let an expert act, one control step for each `next`, until its subgoal ends.

    With a handle (of a drawer, a door or a cloth) it ends before the release that follows a new grasp: beyond it the
    hand is open again where it was, and nothing shows that it is to close (docs/log.md, thirtieth session).
    """
    of_item, grasped = isinstance(expert.goal, Inside | OnSide | Stacked), False
    while not expert.done:
        action = expert.act()
        opens = bool(action[-1] > 0.5)
        if grasped and opens:
            return
        grasped |= not of_item and not opens and world.gripper_opening() > _OPEN
        world.step(action)
        yield
