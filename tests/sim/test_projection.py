"""Where the camera sees places: against the simulator's own geometry and its own images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from soar.sim.projection import arm_keypoints, project_fingertips, project_point
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World

SIZE = 256


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """An arm that is turned, tilted and half open."""
    world = World(load_scene("1"), SIZE)
    world.reset(0)
    for _ in range(6):
        world.step(np.array([0.01, 0.01, -0.01, 0.05, 0.05, 0.15, 0.0], np.float32))
    yield world
    world.close()


def test_fingertips_and_wrist_are_seen_where_the_simulator_has_them(world: World) -> None:
    left, right, wrist, foot = arm_keypoints(world)
    for tip, name in ((left, "left_finger_pad"), (right, "right_finger_pad")):
        pad = world.model.geom(name)
        axes = world.data.geom(name).xmat.reshape(3, 3)
        end = world.data.geom(name).xpos + axes @ np.array([pad.size[0], 0, 0])
        np.testing.assert_allclose(tip, project_point(world, end), atol=0.01)
    np.testing.assert_allclose(
        wrist, project_point(world, world.data.body("wrist_rotate").xpos), atol=1e-3
    )
    hand, _ = world.gripper_pose()
    np.testing.assert_allclose(
        foot, project_point(world, np.array([hand[0], hand[1], 0])), atol=1e-6
    )


def test_a_point_is_where_its_thing_shows_in_the_picture(world: World) -> None:
    hand, _ = world.gripper_pose()
    x, y = ((project_point(world, hand) + 1) * SIZE / 2).astype(int)
    dark = world.render()[y - 8 : y + 8, x - 8 : x + 8].astype(int)
    assert (dark.max(-1) < 90).mean() > 0.2  # the hand is black


def test_what_lies_behind_the_camera_or_beside_the_image_is_not_seen(world: World) -> None:
    camera = world.data.camera("camera")
    behind = camera.xpos + camera.xmat.reshape(3, 3)[:, 2]
    assert np.isnan(project_point(world, behind)).all()
    assert np.isnan(project_point(world, np.array([5.0, 5.0, 0.0]))).all()
    assert np.isnan(project_point(world, None)).all()


def test_fingertips_of_an_upright_hand_need_only_its_state(world: World) -> None:
    world.reset(0)
    scene = load_scene("1")
    [seen] = project_fingertips(scene.camera, world.state()[None])
    left, right, *_ = arm_keypoints(world)
    np.testing.assert_allclose(
        seen, (left + right) / 2, atol=0.06
    )  # a reset moves the camera a little
