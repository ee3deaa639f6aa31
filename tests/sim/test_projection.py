"""Projected points agree with the simulator's geometry and its images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from soar.sim.projection import arm_positions, project_fingertips, project_point, project_points
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World

SIZE = 256


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A world whose gripper is rotated, tilted and half open."""
    world = World(load_scene("1"), SIZE)
    world.reset(0)
    for _ in range(6):
        world.step(np.array([0.01, 0.01, -0.01, 0.05, 0.05, 0.15, 0.0], np.float32))
    yield world
    world.close()


def test_fingertips_and_wrist_are_those_of_the_simulator(world: World) -> None:
    left, right, wrist, ground = project_points(world, arm_positions(world))
    for tip, name in ((left, "left_finger_pad"), (right, "right_finger_pad")):
        pad = world.model.geom(name)
        axes = world.data.geom(name).xmat.reshape(3, 3)
        end = world.data.geom(name).xpos + axes @ np.array([pad.size[0], 0, 0])
        np.testing.assert_allclose(tip, project_point(world, end), atol=0.01)
    np.testing.assert_allclose(
        wrist, project_point(world, world.data.body("wrist_rotate").xpos), atol=1e-3
    )
    gripper, _ = world.gripper_pose()
    below = np.array([gripper[0], gripper[1], 0])
    np.testing.assert_allclose(ground, project_point(world, below), atol=1e-6)


def test_point_is_where_its_object_appears_in_the_image(world: World) -> None:
    gripper, _ = world.gripper_pose()
    x, y = ((project_point(world, gripper) + 1) * SIZE / 2).astype(int)
    dark = world.render()[y - 8 : y + 8, x - 8 : x + 8].astype(int)
    assert (dark.max(-1) < 90).mean() > 0.2  # the gripper is black


def test_points_behind_the_camera_or_outside_the_image_are_nan(world: World) -> None:
    camera = world.data.camera("camera")
    behind = camera.xpos + camera.xmat.reshape(3, 3)[:, 2]
    assert np.isnan(project_point(world, behind)).all()
    assert np.isnan(project_point(world, np.array([5.0, 5.0, 0.0]))).all()
    assert np.isnan(project_point(world, None)).all()


def test_fingertips_of_an_upright_gripper_follow_from_its_state(world: World) -> None:
    world.reset(0)
    scene = load_scene("1")
    [middle] = project_fingertips(scene.camera, world.state()[None])
    left, right, *_ = project_points(world, arm_positions(world))
    # a reset displaces the camera by up to 1 cm
    np.testing.assert_allclose(middle, (left + right) / 2, atol=0.06)
