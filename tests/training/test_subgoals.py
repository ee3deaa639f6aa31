"""Batches, losses and training of subgoal generators."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.data.transforms import TableColor
from soar.errors import CheckpointError, ConfigError
from soar.nn.heatmaps import gaussian_heatmaps, grid_cells
from soar.subgoals.clips import NUM_POINTS, ClipCorpus, Part
from soar.subgoals.compact.generator import KIND, CompactSubgoalGenerator
from soar.subgoals.compact.keypoint_predictor import NUM_PREDICTED, KeypointPredictions
from soar.subgoals.compact.network import CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointSamples,
)
from soar.training.subgoal_losses import (
    AUGMENTATION,
    CompactSubgoalLearner,
    Dropout,
    MixedBatches,
    SubgoalBatches,
    augment,
    stratified_angles,
)
from soar.training.subgoals import SubgoalTrainConfig, train_compact_subgoals
from soar.types import EpisodeSummary, Provenance, Task, Verdict, image_only
from soar.utils.files import read_lines

LENGTHS = (6, 9, 4)
LEFT, RIGHT = "move the block to the left", "move the block to the right"
TINY = CompactSubgoalConfig(
    resolution=16, input_resolution=16, width=16, coarse_width=32, depth=1, condition_dim=32
)


def summary(i: int, instruction: str, length: int) -> EpisodeSummary:
    origin = Provenance("play", "broad", "", 0, 0.0)
    return EpisodeSummary(str(i), instruction, length, Verdict("success"), origin)


def frames_of(clips: list[np.ndarray], instructions: list[str]) -> Frames:
    starts = np.cumsum([0, *(len(c) for c in clips)])
    n = int(starts[-1])
    return Frames(
        images=np.concatenate(clips),
        states=np.zeros((n, 7), np.float32),
        actions=np.zeros((n, 7), np.float32),
        starts=starts,
        episodes=tuple(
            summary(i, text, len(clip) - 1)
            for i, (text, clip) in enumerate(zip(instructions, clips, strict=True))
        ),
    )


@pytest.fixture(scope="module")
def numbered() -> ClipCorpus:
    """Every pixel of frame i is i; three episodes."""
    images = np.arange(sum(LENGTHS), dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (*images.shape[:1], 16, 16, 3)).copy()
    clips = np.split(images, np.cumsum(LENGTHS)[:-1])
    return ClipCorpus.from_frames(frames_of(clips, [LEFT, RIGHT, LEFT]))


@pytest.fixture(scope="module")
def moving() -> ClipCorpus:
    """A white block jumps to the side that the instruction names; it is both object and gripper."""
    clips, places = [], []
    for side, x in ((slice(0, 4), -0.75), (slice(12, 16), 0.75), (slice(0, 4), -0.75)):
        clip = np.full((2, 16, 16, 3), 60, np.uint8)
        clip[0, 6:10, 6:10] = 255
        clip[1:, 6:10, side] = 255
        clips.append(clip)
        places += [(0.0, 0.0), (x, 0.0)]
    points = np.full((len(places), NUM_POINTS, 2), np.nan, np.float32)
    points[:, [0, 2]] = np.array(places, np.float32)[:, None]
    return ClipCorpus.from_frames(frames_of(clips, [LEFT, RIGHT, LEFT]), points)


def test_subgoals_lie_ahead_in_their_own_episode_and_stay_at_its_end(numbered):
    batch = SubgoalBatches(numbered, slice(None), (2, 5))(0, 500, slice(None))
    now, later = (batch[k][:, 0, 0, 0].astype(int) for k in ("observation", "subgoal"))
    episode = np.searchsorted(np.cumsum(LENGTHS), now, side="right")
    last = np.cumsum(LENGTHS)[episode] - 1
    assert np.array_equal(later, np.minimum(now + batch["ahead"].astype(int), last))
    assert set(batch["ahead"]) == {2, 3, 4, 5}
    assert np.array_equal(batch["row"], numbered.rows[episode])


def test_a_batch_depends_on_its_step_alone(numbered):
    batches = SubgoalBatches(numbered, slice(None), (2, 5))
    whole = batches(7, 12, slice(None))
    again = batches(7, 12, slice(4, 8))
    assert all(np.array_equal(whole[k][4:8], again[k], equal_nan=True) for k in whole)
    assert not np.array_equal(whole["observation"], batches(8, 12, slice(None))["observation"])


def test_a_mixture_has_its_weights_and_the_instructions_of_both(numbered, moving):
    batches = [SubgoalBatches(c, slice(None), (2, 5)) for c in (numbered, moving)]
    mixed = MixedBatches(batches, (1, 3))
    whole = mixed(7, 400, slice(None))
    of_second = whole["row"] >= len(numbered.instructions)
    assert 0.68 < of_second.mean() < 0.82
    instructions = np.array([*numbered.instructions, *moving.instructions])[whole["row"]]
    assert {LEFT, RIGHT} == set(instructions[of_second])
    assert whole["observation"][~of_second].max() < sum(LENGTHS)
    assert whole["observation"][of_second].min() == 60
    again = mixed(7, 400, slice(100, 300))
    assert all(np.array_equal(whole[k][100:300], again[k], equal_nan=True) for k in whole)


def test_videos_of_people_train_a_generator_beside_a_corpus(moving, tmp_path):
    people = replace(moving.frames, states=np.full_like(moving.frames.states, np.nan))
    parts = [Part(moving, 45), Part(ClipCorpus.from_frames(people), 75)]
    config = SubgoalTrainConfig(
        net=replace(TINY, predict_keypoints=True), steps_ahead=(2, 4), held_out=0.3
    )
    fit = replace(
        config.fit, steps=4, warmup_steps=1, batch_size=8, device="cpu", log_every=1, ema_decay=0
    )
    result = train_compact_subgoals(parts, tmp_path / "out", replace(config, fit=fit))
    assert np.isfinite(result.loss)
    corpus = checkpoints.load(tmp_path / "out", KIND).provenance["corpus"]
    assert corpus == {"episodes": 6, "frames": 2 * len(moving.frames)}


def test_batches_keep_to_their_episodes(numbered):
    batch = SubgoalBatches(numbered, slice(2, None), (1, 3))(0, 100, slice(None))
    assert batch["observation"].min() >= LENGTHS[0] + LENGTHS[1]


def test_no_episode_or_no_step_ahead_is_refused(numbered):
    with pytest.raises(ConfigError, match="low <= high"):
        SubgoalBatches(numbered, slice(3, None), (1, 3))
    with pytest.raises(ConfigError, match="low <= high"):
        SubgoalBatches(numbered, slice(None), (0, 3))


def test_conditions_are_dropped_as_often_as_configured():
    text, image = Dropout(0.1, 0.2, 0.3).draw(100_000, torch.Generator().manual_seed(0))
    for kept, expected in (
        (~text & image, 0.1),
        (text & ~image, 0.2),
        (~text & ~image, 0.3),
        (text & image, 0.4),
    ):
        assert kept.float().mean() == pytest.approx(expected, abs=0.01)


def test_impossible_dropout_is_refused():
    with pytest.raises(ConfigError, match="together at most 1"):
        Dropout(0.5, 0.5, 0.5)


def test_angles_cover_the_schedule_more_densely_at_its_noisy_end():
    angles = stratified_angles(100, torch.Generator().manual_seed(0)).sort().values
    assert (angles.diff() < 0.16).all()
    assert angles[0] < 0.2
    assert angles[-1] > 1.5
    assert 0.65 < (angles > 0.75).float().mean() < 0.85


def test_keypoints_condition_the_renderer_as_spots_and_unknown_ones_are_left_out():
    net = CompactSubgoalNet(replace(TINY, predict_keypoints=True))
    assert net.keypoint_embedding is not None
    torch.nn.init.normal_(net.keypoint_embedding.weight)
    keypoints = grid_cells(16)[[0, 60, 5, 255, 17, 100]].repeat(2, 1, 1)
    keypoints[0, 3], keypoints[1] = torch.nan, torch.nan
    encoded = net.encode(torch.zeros(2, 3, 16, 16), torch.zeros(2, 5, 384), torch.ones(2))
    conditioned = net.add_keypoints(encoded, keypoints)
    maps = conditioned.keypoint_maps
    spots = torch.nn.functional.pixel_shuffle(maps[:, :-1], 4).flatten(2)
    assert spots[0, [0, 1, 2, 4, 5]].argmax(-1).tolist() == [0, 60, 5, 17, 100]
    assert (spots[0, 3] == 0).all()
    assert maps[:, -1].amin((1, 2)).tolist() == [1, 0]
    assert (spots[1] == 0).all()
    assert not torch.equal(conditioned.condition[0], encoded.condition[0])


def predictions(coordinates: list[float], scale: float, p: list[float]) -> KeypointPredictions:
    """Hypotheses for one sample, in each of which all coordinates are the same."""
    shape = (1, len(coordinates), NUM_PREDICTED, 2)
    keypoints = torch.tensor(coordinates)[None, :, None, None].expand(shape)
    return KeypointPredictions(
        torch.tensor([p]).log(),
        keypoints,
        torch.full(shape, scale),
        keypoints[:, 0],
        torch.zeros(1, 1, 1),
    )


def test_nll_equals_a_laplace_mixtures_calculated_by_hand():
    target = torch.full((1, NUM_PREDICTED, 2), torch.nan)
    target[0, 0, 0] = 0.3
    one = predictions([0.1], 0.2, [1.0]).nll(target)
    expected = (0.2 / 0.2 + np.log(2 * 0.2)) / (2 * NUM_PREDICTED)
    assert one.item() == pytest.approx(expected, rel=1e-4)
    two = predictions([0.1, 0.5], 0.2, [0.5, 0.5]).nll(target)
    assert two.item() == pytest.approx(one.item(), rel=1e-4)
    assert predictions([0.1, 0.3], 0.2, [0.5, 0.5]).nll(target) < one
    assert predictions([0.1], 0.2, [1.0]).nll(target * torch.nan).item() == 0


def test_a_cluster_of_hypotheses_outweighs_a_likelier_single_one_and_is_averaged():
    found = predictions([0.5, -0.30, -0.32, -0.34], 0.1, [0.4, 0.2, 0.2, 0.2])
    best = found.cluster_p().argmax(1)
    assert best.item() == 2
    cluster, single = found.cluster_mean(best), found.cluster_mean(torch.tensor([0]))
    shape = (1, NUM_PREDICTED, 2)
    torch.testing.assert_close(cluster, torch.full(shape, -0.32), atol=1e-2, rtol=0)
    torch.testing.assert_close(single, torch.full(shape, 0.5), atol=1e-2, rtol=0)


def test_points_move_with_the_image_in_augmentation():
    """A white spot on black is at its point, before and after."""
    rng = np.random.default_rng(0)
    at = torch.tensor(rng.uniform(-0.5, 0.5, (20, 1, 2)), dtype=torch.float32)
    spots = gaussian_heatmaps(at[:, 0], 64, 1.5).exp().reshape(20, 64, 64, 1)
    batch = {
        "observation": (255 * spots.expand(-1, -1, -1, 3)).to(torch.uint8),
        "points": at.repeat(1, NUM_POINTS, 1),
        "future_points": torch.full((20, NUM_PREDICTED, 2), torch.nan),
    }
    image, points, future = augment(batch, AUGMENTATION, torch.Generator().manual_seed(0))
    light = (image.mean(1) - image.mean(1).amin((1, 2), keepdim=True)).flatten(1) ** 2
    centroid = light @ grid_cells(64) / light.sum(1, keepdim=True)
    inside = (points[:, 0].abs() < 0.9).all(1)
    assert inside.sum() > 10
    torch.testing.assert_close(centroid[inside], points[inside, 0], atol=0.05, rtol=0)
    assert (points[:, 0] - at[:, 0]).abs().nanmedian() > 0.05
    assert future.isnan().all()


def test_recolored_tables_keep_what_stands_on_them():
    """On a gray table with a red thing, half of the tables change, the thing stays as red, and points don't move."""
    gray = torch.full((64, 32, 32, 3), 150, dtype=torch.uint8)
    gray[:, 12:20, 12:20] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    batch = {
        "observation": gray,
        "points": torch.zeros(64, NUM_POINTS, 2),
        "future_points": torch.zeros(64, NUM_PREDICTED, 2),
    }
    image, points, _ = augment(batch, (TableColor(),), torch.Generator().manual_seed(0))
    before = gray.permute(0, 3, 1, 2) / 127.5 - 1
    changed = (image - before).abs().amax((1, 2, 3)) > 0.05
    assert 20 < changed.sum() < 44
    torch.testing.assert_close(
        image[:, :, 14:18, 14:18], before[:, :, 14:18, 14:18], atol=0.02, rtol=0
    )
    assert not points.any()


def test_keypoint_samples_train_the_predictor_beside_clips(moving, tmp_path):
    """These clips have no keypoints, so that whatever the predictor learns is from the samples."""
    rng, n = np.random.default_rng(0), 12
    points = np.tile(rng.uniform(-0.5, 0.5, (NUM_POINTS, 2)).astype(np.float32), (n, 1, 1))
    samples = KeypointSamples(
        images=rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8),
        points=points,
        later=points[:, None].repeat(MAX_STEPS_AHEAD - MIN_STEPS_AHEAD + 1, 1),
        states=np.zeros((n, 7), np.float32),
        words=moving.words,
        rows=np.zeros(n, np.int64),
        sided=np.ones(n, bool),
    )
    ClipCorpus.from_frames(moving.frames).save(tmp_path / "corpus")
    config = SubgoalTrainConfig(
        net=replace(TINY, predict_keypoints=True), steps_ahead=(2, 4), held_out=0.3
    )
    fit = replace(config.fit, steps=60, learning_rate=3e-3, warmup_steps=5, batch_size=16,
                  device="cpu", log_every=20, save_every=60, ema_decay=0)  # fmt: skip
    train_compact_subgoals(
        tmp_path / "corpus", tmp_path / "out", replace(config, fit=fit), keypoint_samples=samples
    )
    nll = [line["keypoint_nll"] for line in read_lines(tmp_path / "out" / "log.jsonl")]
    assert nll[-1] < nll[0] - 0.5
    assert checkpoints.load(tmp_path / "out", KIND).provenance["corpus"]["moments"] == n


def test_a_trained_generator_follows_the_instruction(moving, tmp_path):
    """After a short training the generated block is at the side that the instruction names."""
    moving.save(tmp_path / "corpus")
    config = SubgoalTrainConfig(net=TINY, steps_ahead=(2, 4))
    config = replace(
        config,
        fit=replace(
            config.fit, steps=200, learning_rate=2e-3, warmup_steps=10, ema_decay=0.95,
            batch_size=16, device="cpu", log_every=50, save_every=200,
        ),
    )  # fmt: skip
    train_compact_subgoals(tmp_path / "corpus", tmp_path / "out", config)
    model = CompactSubgoalGenerator.load(tmp_path / "out", device="cpu")
    start = image_only(moving.frames.images[[0, 0]])
    tasks = [Task(LEFT), Task(RIGHT)]
    left, right = model.generate(start, tasks, np.random.default_rng(0)).astype(float)
    brightness = [[half.mean() for half in np.split(i, 2, axis=1)] for i in (left, right)]
    assert brightness[0][0] > brightness[0][1] + 15
    assert brightness[1][1] > brightness[1][0] + 15

    learned = checkpoints.load(tmp_path / "out")
    one = replace(config.fit, steps=1, learning_rate=1e-6, log_every=1, save_every=1)
    train_compact_subgoals(
        tmp_path / "corpus", tmp_path / "more", replace(config, fit=one), start=learned
    )
    more = checkpoints.load(tmp_path / "more")
    assert more.provenance["started_from"] == learned.id
    for name, weight in learned.weights.items():
        torch.testing.assert_close(more.weights[name], weight, atol=1e-4, rtol=0)


def test_the_predictors_nll_falls_in_training(moving, tmp_path):
    moving.save(tmp_path / "corpus")
    config = SubgoalTrainConfig(
        net=replace(TINY, predict_keypoints=True), steps_ahead=(2, 4), augment=False
    )
    fit = replace(
        config.fit, steps=40, learning_rate=2e-3, warmup_steps=5, batch_size=16, device="cpu",
        log_every=10, save_every=40,
    )  # fmt: skip
    train_compact_subgoals(tmp_path / "corpus", tmp_path / "out", replace(config, fit=fit))
    nll = [row["keypoint_nll"] for row in read_lines(tmp_path / "out" / "log.jsonl")]
    assert nll[-1] < nll[0] - 0.1


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(moving, tmp_path, monkeypatch):
    moving.save(tmp_path / "corpus")
    config = SubgoalTrainConfig(net=TINY, steps_ahead=(2, 4))
    short = replace(
        config.fit, steps=4, warmup_steps=1, batch_size=4, device="cpu", log_every=2, save_every=2
    )
    config = replace(config, fit=short)
    train_compact_subgoals(tmp_path / "corpus", tmp_path / "whole", config)
    calls = iter(range(100))
    original = CompactSubgoalLearner.loss

    def cut(self, batch, generator):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return original(self, batch, generator)

    with monkeypatch.context() as patch:
        patch.setattr(CompactSubgoalLearner, "loss", cut)
        with pytest.raises(KeyboardInterrupt):
            train_compact_subgoals(tmp_path / "corpus", tmp_path / "cut", config)
    train_compact_subgoals(tmp_path / "corpus", tmp_path / "cut", config)
    whole, resumed = (checkpoints.load(tmp_path / f, KIND) for f in ("whole", "cut"))
    assert all(torch.equal(w, resumed.weights[k]) for k, w in whole.weights.items())


def test_a_run_is_not_resumed_with_other_settings(moving, tmp_path):
    moving.save(tmp_path / "corpus")
    config = SubgoalTrainConfig(net=TINY, steps_ahead=(2, 4))
    fit = replace(config.fit, steps=2, batch_size=4, device="cpu", log_every=1, save_every=1)
    train_compact_subgoals(tmp_path / "corpus", tmp_path / "out", replace(config, fit=fit))
    with pytest.raises(CheckpointError, match=r"\(seed: 0, now 1\)"):
        train_compact_subgoals(
            tmp_path / "corpus", tmp_path / "out", replace(config, fit=replace(fit, seed=1))
        )


def test_frames_without_embeddings_or_points_load_as_a_corpus(numbered, tmp_path):
    numbered.frames.save(tmp_path)
    loaded = ClipCorpus.load(tmp_path)
    assert np.array_equal(loaded.words, numbered.words)
    assert np.isnan(loaded.points).all()
    assert loaded.instructions == [LEFT, RIGHT]


def test_a_corpus_of_another_resolution_is_refused(numbered, tmp_path: Path):
    numbered.save(tmp_path)
    with pytest.raises(ConfigError, match="16 pixels; valid: 96"):
        train_compact_subgoals(tmp_path, tmp_path / "out")


def test_concatenated_corpora_keep_their_episodes_instructions_and_points(numbered, moving):
    points = np.zeros((len(moving.frames), NUM_POINTS, 2), np.float32)
    both = ClipCorpus.concatenate(numbered, replace(moving, points=points))
    a, b = numbered.frames, moving.frames
    assert len(both.frames) == len(a) + len(b)
    assert [e.instruction for e in both.frames.episodes] == [LEFT, RIGHT, LEFT] * 2
    start, end = both.frames.starts[4], both.frames.starts[5]
    np.testing.assert_array_equal(
        both.frames.images[start:end], b.images[b.starts[1] : b.starts[2]]
    )
    assert np.isnan(both.points[: len(a)]).all()
    assert not np.isnan(both.points[len(a) :]).any()
