"""Stacking and a hinged door: predicates, layouts, and the expert that demonstrates them."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from soar.sim.expert.expert import Expert
from soar.sim.layout import is_feasible
from soar.sim.objects.door import SWING_RAD, hinge_joint
from soar.sim.scenes.catalog import SKILLS, load_scene
from soar.sim.scenes.regimes import BRIDGE_COLORS, BROAD_COLORS
from soar.sim.scenes.spec import DoorOpen, Stacked
from soar.sim.world import World
from soar.tasks.grammar import task_from_instruction

ON, OFF = Stacked("red block", "yellow block"), Stacked("red block", "yellow block", value=False)


def put(world: World, name: str, position: np.ndarray, settle: bool = True) -> None:
    joint = world.data.joint(name)
    joint.qpos[:3], joint.qpos[3:], joint.qvel = position, (1, 0, 0, 0), 0
    if settle:
        mujoco.mj_step(world.model, world.data, 300)
    mujoco.mj_forward(world.model, world.data)


@pytest.fixture
def blocks() -> World:
    world = World(load_scene("stack1"), 32)
    world.reset(0, ON)
    return world


def test_a_block_on_another_is_stacked_and_on_the_table_it_is_not(blocks: World) -> None:
    assert not blocks.fulfilled(ON)
    assert blocks.fulfilled(OFF)
    assert is_feasible(blocks, ON)
    assert not is_feasible(blocks, OFF)
    base = blocks.object_pose("yellow block")[0]
    put(blocks, "red block", base + np.array((0.004, 0.004, 0.045)))
    assert blocks.fulfilled(ON)
    assert not blocks.fulfilled(OFF)
    assert is_feasible(blocks, OFF)


def test_a_block_above_or_beside_another_is_not_stacked(blocks: World) -> None:
    base = blocks.object_pose("yellow block")[0]
    put(blocks, "red block", base + np.array((0, 0, 0.10)), settle=False)
    assert not blocks.fulfilled(ON)
    put(blocks, "red block", base + np.array((0, 0.044, 0)))
    assert not blocks.fulfilled(ON)


def test_a_base_that_carries_something_is_taken(blocks: World) -> None:
    base = blocks.object_pose("yellow block")[0]
    put(blocks, "red block", base + np.array((0, 0, 0.045)))
    assert not is_feasible(blocks, Stacked("yellow block", "red block"))


def test_a_door_is_open_or_closed_near_its_ends() -> None:
    world = World(load_scene("door1"), 32)
    opened, closed = DoorOpen("cabinet"), DoorOpen("cabinet", value=False)
    world.reset(0, opened)
    hinge = world.data.joint(hinge_joint("cabinet"))
    assert world.fulfilled(closed)
    for angle, is_open, is_closed in (
        (SWING_RAD - 0.1, True, False), (SWING_RAD / 2, False, False), (0.05, False, True),
    ):  # fmt: skip
        hinge.qpos, hinge.qvel = angle, 0
        mujoco.mj_forward(world.model, world.data)
        assert (world.fulfilled(opened), world.fulfilled(closed)) == (is_open, is_closed)


@pytest.mark.parametrize("name", SKILLS)
def test_the_expert_demonstrates_each_skill_from_a_feasible_start(name: str) -> None:
    world = World(load_scene(name), 32)
    for task in world.scene.tasks:
        assert task_from_instruction(task.instruction).question.text
        world.reset(3, task.goal)
        assert is_feasible(world, task.goal)
        expert = Expert(world, task.goal, np.random.default_rng(0))
        for _ in range(70):
            action = expert.act()
            if expert.done:
                break
            world.step(action)
        assert world.fulfilled(task.goal)
        assert not world.objects_lost()


def test_no_packaged_model_has_seen_a_door() -> None:
    assert "cabinet" not in BROAD_COLORS
    assert "cabinet" not in BRIDGE_COLORS
