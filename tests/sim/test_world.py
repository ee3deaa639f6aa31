from dataclasses import fields

import numpy as np
import pytest

from soar.errors import RobotFault
from soar.sim.expert.expert import read_ahead
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.randomization import Appearance
from soar.sim.scenes.regimes import sample_style
from soar.sim.world import World


def _actions(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, [0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 0], (n, 7))
    steps[:, 2] -= 0.005
    steps[:, 6] = rng.integers(0, 2, n)
    return steps.astype(np.float32)


@pytest.fixture(scope="module")
def world():
    world = World(SCENES["1"], image_size=64)
    yield world
    world.close()


@pytest.mark.parametrize("scene", ["1", "5", "10"])
def test_snapshot_restores_bit_for_bit(scene):
    world, other = World(SCENES[scene], 64), World(SCENES[scene], 64)
    world.reset(3)
    for action in _actions(5):
        world.step(action)
    snapshot, frames = world.snapshot(), []
    for action in _actions(8, seed=1):
        executed = world.step(action)
        frames.append((executed, world.render(), world.state()))
    other.reset(4)
    for restored in (world, other):
        restored.restore(snapshot)
        for action, (executed, image, state) in zip(_actions(8, seed=1), frames, strict=True):
            assert np.array_equal(restored.step(action), executed)
            assert np.array_equal(restored.render(), image)
            assert np.array_equal(restored.state(), state)
        restored.close()


def test_reset_is_determined_by_its_seed(world):
    images = []
    for seed in (5, 6, 5):
        world.reset(seed)
        world.step(_actions(1)[0])
        images.append(world.render())
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_appearance_varies_around_the_scenes_and_does_not_drift(world):
    for seed in range(20):
        world.reset(seed)
    moved = np.abs(world.model.cam_pos[0] - world.scene.camera.position).max()
    assert moved <= world.scene.camera.jitter_m + 1e-9
    appearance = Appearance.of(world.model)
    world.reset(19)
    for field in fields(Appearance):
        assert np.array_equal(
            getattr(appearance, field.name), getattr(Appearance.of(world.model), field.name)
        )


@pytest.mark.parametrize("back", ["reset", "restore"])
def test_a_style_ends_with_a_reset_and_with_a_restored_snapshot(back):
    scene = load_scene("broad-3")
    world = World(scene, 64)
    world.reset(5)
    plain, snapshot = Appearance.of(world.model), world.snapshot()
    world.restyle(sample_style(scene, np.random.default_rng(1)))
    assert world.model.cam_fovy[0] != plain.cam_fovy[0]
    world.reset(5) if back == "reset" else world.restore(snapshot)
    now = Appearance.of(world.model)
    for field in fields(Appearance):
        assert np.array_equal(getattr(plain, field.name), getattr(now, field.name)), field.name
    world.close()


def test_a_snapshot_is_restored_after_diverged_physics(world):
    world.reset(5)
    snapshot, state = world.snapshot(), world.state()
    world.data.qvel[-3:] = 1e12
    with pytest.raises(RobotFault, match="diverged"):
        world.step(np.zeros(7, np.float32))
    world.restore(snapshot)
    assert np.array_equal(world.state(), state)
    world.step(np.zeros(7, np.float32))


def test_reading_ahead_leaves_the_world_as_it_was_also_after_an_error(world):
    def fail() -> None:
        raise ValueError

    goal = world.scene.tasks[0].goal
    world.reset(5, goal)
    state = world.state()
    with pytest.raises(ValueError):  # noqa: PT011
        read_ahead(world, goal, 3, 0, fail)
    assert np.array_equal(world.state(), state)


def test_free_arm_executes_its_action(world):
    world.reset(0)
    before = world.state()
    action = np.array([0.02, 0.02, -0.02, 0, 0, 0.2, 1], np.float32)
    np.testing.assert_allclose(world.step(action), action, atol=2e-3)
    world.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    np.testing.assert_allclose(world.state()[:3] - before[:3], action[:3], atol=3e-3)
    np.testing.assert_allclose(world.state()[5] - before[5], 0.2, atol=0.02)


def test_gripper_opens_and_closes_fully(world):
    world.reset(0)
    for command in (0.0, 1.0):
        for _ in range(3):
            world.step(np.array([0, 0, 0, 0, 0, 0, command], np.float32))
        assert world.state()[6] == pytest.approx(command, abs=0.03)


def test_home_returns_the_arm_and_leaves_objects_in_place(world):
    world.reset(1)
    before = {obj.name: world.object_pose(obj.name)[0] for obj in world.scene.objects}
    for _ in range(6):
        world.step(np.array([0.02, 0.02, 0, 0.1, -0.1, 0.2, 0], np.float32))
    world.home()
    np.testing.assert_allclose(world.state()[:3], world.controller.config.neutral, atol=4e-3)
    np.testing.assert_allclose(world.state()[3:6], 0, atol=0.03)
    assert world.state()[6] > 0.95
    for name, position in before.items():
        np.testing.assert_allclose(world.object_pose(name)[0], position, atol=2e-3)


def test_actions_that_are_not_finite_raise_an_error(world):
    world.reset(0)
    with pytest.raises(RobotFault, match="not finite"):
        world.step(np.full(7, np.nan, np.float32))


def test_images_have_the_requested_size(world):
    world.reset(0)
    assert world.render().shape == (64, 64, 3)
    assert world.render(96).shape == (96, 96, 3)


def test_closing_twice_is_safe():
    world = World(SCENES["2"], image_size=32)
    world.reset(0)
    world.render()
    world.close()
    world.close()
