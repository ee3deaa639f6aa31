"""Where an expert's subgoals end."""

from __future__ import annotations

import numpy as np

from soar.sim.expert.expert import Expert
from soar.sim.expert.lookahead import read_subgoals
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import DrawerOpen, Goal, Inside
from soar.sim.world import World

LONG = 60
"""More control steps than a task takes."""


def test_an_items_subgoal_ends_when_it_is_lifted_and_then_when_it_is_let_go() -> None:
    world, goal = _world("dev1")
    assert isinstance(goal, Inside)
    before, state = world.object_pose(goal.object)[0], world.state()

    def item() -> tuple[bool, bool, np.ndarray]:
        held = world.held(goal.object)
        return held, world.fulfilled(goal), world.object_pose(goal.object)[0] - before

    held, _, moved = read_subgoals(world, goal, LONG, item)[-1]
    np.testing.assert_array_equal(world.state(), state)
    assert held
    assert 0.01 < moved[2] < 0.08
    assert np.linalg.norm(moved[:2]) < 0.02
    _grasp(world, goal, goal.object)
    held, fulfilled, _ = read_subgoals(world, goal, LONG, item)[-1]
    assert (held, fulfilled) == (False, True)
    assert world.held(goal.object)
    world.close()


def test_a_drawers_subgoal_ends_before_the_release_that_follows_a_new_grasp() -> None:
    world, goal = _world("5")
    assert isinstance(goal, DrawerOpen)

    def drawer() -> tuple[bool, bool]:
        return world.held(goal.drawer), world.fulfilled(goal)

    assert read_subgoals(world, goal, LONG, drawer)[-1] == (True, True)
    _grasp(world, goal, goal.drawer)
    assert read_subgoals(world, goal, LONG, drawer)[-1] == (False, True)
    world.close()


def _world(scene: str) -> tuple[World, Goal]:
    world = World(SCENES[scene], image_size=32)
    goal = world.scene.tasks[0].goal
    world.reset(0, goal)
    return world, goal


def _grasp(world: World, goal: Goal, name: str) -> None:
    expert = Expert(world, goal, np.random.default_rng(0), noise=0.0, predictable=True)
    while not world.held(name):
        world.step(expert.act())
