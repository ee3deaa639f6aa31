"""What a scripted expert would bring about from a world's present state. The world stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from soar.sim.expert.expert import Expert
from soar.sim.scenes.spec import Goal, Inside, OnSide, Stacked
from soar.sim.world import World
from soar.utils.trajectories import STEPS_AFTER_CHANGE

T = TypeVar("T")
_OPEN = 0.8
"""Opening from which the fingers count as open."""
_SETTLED = 0.03
"""Change of the opening in one control step below which the fingers have closed or opened."""


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
    acting = _until_change(world, expert)
    for _ in range(steps):
        next(acting, None)
        found.append(read())
    world.restore(now)
    return found


def _until_change(world: World, expert: Expert) -> Iterator[None]:
    """Let an expert act, one control step for each `next`, until its subgoal ends.

    An item's ends a little after the fingers have closed or opened: what comes then, in which direction the item is
    carried say, is a matter of one or two steps more, which no image shows. A handle's (of a drawer, a door or a cloth)
    goes on, and ends before the release that follows a new grasp: beyond it the hand is open again where it was.
    """
    of_item = isinstance(expert.goal, Inside | OnSide | Stacked)
    changing: bool | None = None
    """What the fingers are changing to, or have changed to: whether they open."""
    left: int | None = None
    while not expert.done and left != 0:
        action, opening = expert.act(), world.gripper_opening()
        opens = bool(action[-1] > 0.5)
        if changing is not None and opens != changing and (of_item or opens):
            return
        if (opening > _OPEN) != opens and (of_item or not opens):
            changing = opens
        world.step(action)
        yield
        if left is not None:
            left -= 1
        elif of_item and changing is not None and abs(world.gripper_opening() - opening) < _SETTLED:
            left = STEPS_AFTER_CHANGE
