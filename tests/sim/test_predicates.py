from dataclasses import replace

import mujoco
import numpy as np
import pytest

from soar.sim import predicates
from soar.sim.arm import FINGERS
from soar.sim.objects.cloth import hinges
from soar.sim.objects.drawer import TRAVEL_M, slide_joint
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, SceneObject, SceneTask
from soar.sim.world import World

IN = Inside("green block", "wooden bowl")
OUT = Inside("green block", "wooden bowl", value=False)


@pytest.fixture
def world() -> World:
    """Scene 1 with the block on the table."""
    world = World(SCENES["1"], 64)
    world.reset(0, IN)
    return world


def _move(world: World, name: str, to: tuple[float, ...], settle: int = 200) -> None:
    joint = world.data.joint(name)
    joint.qpos[:3], joint.qvel = to, 0
    mujoco.mj_forward(world.model, world.data)
    if settle:
        mujoco.mj_step(world.model, world.data, settle)
        mujoco.mj_forward(world.model, world.data)


def _bowl(world: World) -> np.ndarray:
    return world.object_pose("wooden bowl")[0]


def test_block_in_the_bowl_is_inside_and_not_outside(world: World) -> None:
    assert not world.fulfilled(IN)
    assert world.fulfilled(OUT)
    _move(world, "green block", tuple(_bowl(world) + np.array((0, 0, 0.04))))
    assert world.fulfilled(IN)
    assert not world.fulfilled(OUT)


def test_block_in_the_air_over_the_bowl_is_not_inside(world: World) -> None:
    _move(world, "green block", tuple(_bowl(world) + np.array((0, 0, 0.12))), settle=0)
    assert not world.fulfilled(IN)
    assert not world.fulfilled(OUT)


@pytest.mark.parametrize(
    ("container", "item", "inside"), [(1.0, 1.0, True), (0.5, 1.0, False), (0.5, 1.5, False)]
)
def test_marker_across_the_rim_of_a_small_bowl_is_not_inside(
    container: float, item: float, inside: bool
) -> None:
    scene = replace(
        SCENES["1"],
        objects=(
            SceneObject("marker", "marker", "red", scale=item),
            SceneObject("bowl", "bowl", "blue", scale=container),
        ),
        tasks=(SceneTask("put it in", Inside("marker", "bowl")),),
    )
    world = World(scene, 64)
    world.data.joint("bowl").qpos[:] = (0.3, 0, 0.001, 1, 0, 0, 0)
    _move(world, "marker", (0.3, 0, 0.043 * container + 0.0105 * item + 0.01), settle=400)
    assert predicates.is_settled(world, "marker")
    assert predicates.is_inside(world, "marker", "bowl") == inside
    world.close()


def test_falling_block_is_not_inside_before_it_rests(world: World) -> None:
    _move(world, "green block", tuple(_bowl(world) + np.array((0, 0, 0.03))), settle=0)
    world.data.joint("green block").qvel[2] = -0.3
    mujoco.mj_forward(world.model, world.data)
    assert not world.fulfilled(IN)


def test_block_that_leans_on_the_rim_is_neither_inside_nor_outside(world: World) -> None:
    _move(world, "green block", tuple(_bowl(world) + np.array((0.062, 0, 0.065))), settle=0)
    assert not world.fulfilled(IN)
    assert not world.fulfilled(OUT)


def test_block_in_the_closed_gripper_is_not_settled(world: World) -> None:
    pads = [world.data.geom(f"{f}_pad").xpos for f in FINGERS]
    world.data.qpos[[world.model.joint(f).qposadr[0] for f in FINGERS]] = 0.0175
    mujoco.mj_forward(world.model, world.data)
    _move(world, "green block", tuple(np.mean(pads, axis=0)), settle=0)
    assert predicates.is_touched_by_arm(world, "green block")
    assert not predicates.is_settled(world, "green block")


def test_tipped_bowl_and_block_off_the_table_are_lost(world: World) -> None:
    assert world.objects_lost() == ()
    _move(world, "green block", (0.7, 0.0, 0.1), settle=400)
    assert world.objects_lost() == ("green block",)
    world.data.joint("wooden bowl").qpos[3:] = (0.0, 1.0, 0.0, 0.0)
    mujoco.mj_forward(world.model, world.data)
    assert world.objects_lost() == ("green block", "wooden bowl")


@pytest.mark.parametrize(("y", "side"), [(0.15, "left"), (-0.12, "right")])
def test_object_is_on_a_side_only_beyond_the_margin(y: float, side: str) -> None:
    world = World(SCENES["7"], 64)
    world.reset(0)
    for name in ("mushroom", "metal pot"):
        _move(world, name, (1.5, 0.0, 0.0), settle=0)
    goals = {s: OnSide("green spoon", s) for s in ("left", "right")}
    _move(world, "green spoon", (0.3, y, 0.012))
    assert [s for s, goal in goals.items() if world.fulfilled(goal)] == [side]
    _move(world, "green spoon", (0.3, np.sign(y) * 0.02, 0.012))
    assert not any(world.fulfilled(goal) for goal in goals.values())


@pytest.mark.parametrize(
    ("slide", "is_open", "is_closed"),
    [(0.0, False, True), (0.009, False, True), (0.012, False, False),
     (TRAVEL_M - 0.012, False, False), (TRAVEL_M - 0.008, True, False)],
)  # fmt: skip
def test_drawer_is_open_or_closed_within_a_centimeter(
    slide: float, is_open: bool, is_closed: bool
) -> None:
    world = World(SCENES["5"], 64)
    world.reset(0)
    world.data.joint(slide_joint("drawer")).qpos = slide
    mujoco.mj_forward(world.model, world.data)
    assert world.fulfilled(DrawerOpen("drawer")) == is_open
    assert world.fulfilled(DrawerOpen("drawer", value=False)) == is_closed


def test_cloth_is_folded_flat_or_neither() -> None:
    world = World(SCENES["10"], 64)
    fold, unfold = ClothFolded("cloth"), ClothFolded("cloth", value=False)
    world.reset(0, fold)
    assert world.fulfilled(unfold)
    assert predicates.cloth_overlap(world, "cloth") == pytest.approx((0, 1), abs=0.03)
    world.reset(0, unfold)
    assert world.fulfilled(fold)
    assert predicates.cloth_overlap(world, "cloth") == pytest.approx((1, 0.5), abs=0.06)
    for name, angle in zip(hinges("cloth"), (0, 0, 0, 0, 0, 2.9, 0, 0), strict=True):
        world.data.joint(name).qpos = angle
    mujoco.mj_forward(world.model, world.data)
    assert not world.fulfilled(fold)
    assert not world.fulfilled(unfold)
