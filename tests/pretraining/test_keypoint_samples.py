"""Keypoint samples: their labels, their batches, and their use in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.pretraining.models import Copies, Down

from soar.errors import ConfigError
from soar.pretraining.keypoint_samples import (
    STATES_PER_SCENE,
    KeypointSampleConfig,
    _samples,
    dagger_samples,
    make_keypoint_samples,
    samples_in,
)
from soar.sim.layout import NoRoom
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Inside
from soar.sim.world import World
from soar.subgoals.compact.keypoint_predictor import PREDICTED_POINTS
from soar.subgoals.compact.observation_encoder import GRIPPER, OBJECT
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointBatches,
    KeypointSamples,
    mentions_side,
)
from soar.training.subgoal_losses import SAMPLE_PREFIX, SAMPLES_SHARE, mirror, with_keypoint_samples

pytestmark = pytest.mark.usefixtures("warm_workers")

SEED = 3
SMALL = KeypointSampleConfig(resolution=32)


@pytest.fixture(scope="module")
def samples(tmp_path_factory, warm_workers) -> KeypointSamples:
    return make_keypoint_samples(
        tmp_path_factory.mktemp("samples"), 2, workers=1, seed=SEED, config=SMALL
    )


def test_samples_hold_current_and_future_keypoints(samples):
    n = len(samples.images)
    assert STATES_PER_SCENE < n <= 2 * STATES_PER_SCENE
    assert samples.images.shape == (n, 32, 32, 3)
    assert samples.later.shape == (n, MAX_STEPS_AHEAD - MIN_STEPS_AHEAD + 1, 7, 2)
    moved = np.abs(samples.later[:, -1, GRIPPER] - samples.points[:, GRIPPER]).max(1)
    assert np.nanmax(moved) > 0.1
    assert samples.words[samples.rows].any((1, 2)).all()


def test_sampling_runs_an_expert_and_leaves_the_world_unchanged():
    scene = sample_scene("broad", SEED)
    world, task = World(scene, 64), scene.tasks[0]
    world.reset(SEED, task.goal)
    before = world.state(), world.render()
    rng = np.random.default_rng(0)
    [(_, points, later, state, instruction)] = _samples(world, task, SMALL, rng)
    np.testing.assert_array_equal(world.state(), before[0])
    np.testing.assert_array_equal(world.render(), before[1])
    np.testing.assert_array_equal(state, before[0])
    assert instruction == task.instruction
    nearer = np.linalg.norm(later[-1, GRIPPER] - later[-1, OBJECT])
    assert nearer < np.linalg.norm(points[GRIPPER] - points[OBJECT])
    world.close()


def test_views_of_a_state_differ_in_style_camera_and_names_alone():
    scenes = (sample_scene("broad", seed) for seed in range(SEED, 99))
    scene = next(s for s in scenes if isinstance(s.tasks[0].goal, Inside))
    world, task = World(scene, 64), scene.tasks[0]
    world.reset(SEED, task.goal)
    before = world.render()
    config = KeypointSampleConfig(resolution=32, views=3)
    views = list(_samples(world, task, config, np.random.default_rng(0)))
    np.testing.assert_array_equal(world.render(), before)
    assert len({v.images.tobytes() for v in views}) == 3
    assert len({v.points.tobytes() for v in views}) == 3
    assert len({v.later.tobytes() for v in views}) == 3
    assert len({v.states.tobytes() for v in views}) == 1
    assert len({v.instructions for v in views}) > 1
    world.close()


def test_samples_of_an_attempt_begin_where_subgoals_are_requested():
    models = Down(), Copies()
    samples = dagger_samples(sample_scene("broad", SEED), SEED, models, SMALL)
    assert len(samples) == 10
    requested = models[0].states[::10]
    for sample, state in zip(samples, requested, strict=True):
        np.testing.assert_allclose(sample.states, state, atol=1e-5)


def test_interrupted_generation_resumes(samples, tmp_path):
    make_keypoint_samples(tmp_path / "b", 1, workers=1, seed=SEED, config=SMALL)
    kept = tmp_path / "b" / "scenes" / f"{SEED:07d}.npz"
    written = kept.stat().st_mtime_ns
    again = make_keypoint_samples(tmp_path / "b", 2, workers=1, seed=SEED, config=SMALL)
    assert kept.stat().st_mtime_ns == written
    for name, array in vars(samples).items():
        np.testing.assert_array_equal(array, getattr(again, name))
    np.testing.assert_array_equal(KeypointSamples.load(tmp_path / "b").images, samples.images)


def test_samples_are_joined_once_unless_damaged(samples, tmp_path):
    def make(scenes: int) -> KeypointSamples:
        return make_keypoint_samples(tmp_path / "c", scenes, workers=1, seed=SEED, config=SMALL)

    make(2)
    file = tmp_path / "c" / "moments.npz"
    written = file.stat().st_mtime_ns
    np.testing.assert_array_equal(make(2).words, samples.words)
    assert file.stat().st_mtime_ns == written
    assert len(make(1).images) < len(samples.images)
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(make(2).images, samples.images)
    np.testing.assert_array_equal(KeypointSamples.load(tmp_path / "c").images, samples.images)


def test_less_than_one_scene_raises_an_error(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        make_keypoint_samples(tmp_path, 0)


def test_objects_that_do_not_fit_give_no_samples(monkeypatch):
    def full(*args: object) -> None:
        raise NoRoom("no room")

    monkeypatch.setattr(World, "reset", full)
    assert samples_in(sample_scene("broad", SEED), SEED, SMALL) == []


def test_batch_depends_on_its_step_only_and_parts_make_the_whole(samples):
    batches = KeypointBatches(samples, 1)
    whole, again = batches(5, 8, slice(0, 8)), batches(5, 8, slice(0, 8))
    part = batches(5, 8, slice(4, 8))
    for name in whole:
        np.testing.assert_array_equal(whole[name], again[name])
        np.testing.assert_array_equal(whole[name][4:], part[name])
    at = [np.flatnonzero((samples.states == s).all(1))[0] for s in whole["states"]]
    step = whole["ahead"].astype(int) - MIN_STEPS_AHEAD
    np.testing.assert_array_equal(
        whole["future_points"], samples.later[at, step][:, PREDICTED_POINTS]
    )


def test_keypoint_samples_replace_most_of_the_predictors_samples():
    batch = {"ahead": torch.zeros(10), f"{SAMPLE_PREFIX}ahead": torch.ones(10)}
    assert with_keypoint_samples(batch)["ahead"].sum() == round(10 * SAMPLES_SHARE)
    assert with_keypoint_samples({"ahead": torch.zeros(10)})["ahead"].sum() == 0


def test_mirroring_keeps_images_and_points_consistent_and_skips_sided_instructions(samples):
    batch = {
        k: torch.from_numpy(np.asarray(v))
        for k, v in KeypointBatches(samples)(0, 64, slice(0, 64)).items()
    }
    batch["sided"] = torch.arange(64) % 2 == 0
    mirrored = mirror(batch, torch.Generator().manual_seed(0))
    flipped = (mirrored["observation"] != batch["observation"]).flatten(1).any(1)
    assert not flipped[::2].any()
    assert 8 < flipped[1::2].sum() < 24
    gripper = mirrored["points"][flipped, GRIPPER] * torch.tensor([-1, 1])
    torch.testing.assert_close(gripper, batch["points"][flipped, GRIPPER], equal_nan=True)
    left, right = (
        mirrored["points"][flipped, 3],
        batch["points"][flipped, 4] * torch.tensor([-1, 1]),
    )
    torch.testing.assert_close(left, right, equal_nan=True)
    tips = (
        mirrored["future_points"][flipped, 2],
        batch["future_points"][flipped, 3] * torch.tensor([-1, 1]),
    )
    torch.testing.assert_close(*tips, equal_nan=True)
    turned = torch.tensor([1, -1, 1, -1, 1, -1, 1])
    torch.testing.assert_close(mirrored["states"][flipped], batch["states"][flipped] * turned)


@pytest.mark.parametrize(
    ("text", "sided"), [("move it to the Left", True), ("put it on the leftovers", False)]
)
def test_left_and_right_are_recognized(text, sided):
    assert mentions_side(text) == sided
