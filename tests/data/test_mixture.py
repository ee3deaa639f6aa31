"""Batches of a mixture of sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import recorded_subgoals, regenerated_goals
from soar.data.mixture import Mixture, Source, upsampled_share
from soar.data.relabel import Final, Uniform
from soar.errors import ConfigError, StoreError
from soar.types import EpisodeSummary, Outcome, Provenance, Query, Regime, Verdict

WHOLE = slice(None)


def frames(lengths: list[int], first: int = 0, resolution: int = 4) -> Frames:
    """Episodes whose pixels encode the episode's number in green and the frame's index in red."""
    starts = np.cumsum([0, *(n + 1 for n in lengths)])
    images = np.zeros((starts[-1], resolution, resolution, 3), np.uint8)
    for i, n in enumerate(lengths):
        images[starts[i] : starts[i + 1], ..., 1] = first + i
        images[starts[i] : starts[i + 1], ..., 0] = np.arange(n + 1)[:, None, None]
    actions = np.repeat(images[:, 0, 0, :1].astype(np.float32), 7, axis=1)
    return Frames(
        images,
        np.zeros((len(images), 7), np.float32),
        actions,
        starts,
        tuple(summary(i, n) for i, n in enumerate(lengths)),
    )


def summary(i: int, length: int) -> EpisodeSummary:
    outcome: Outcome = "success" if i % 2 else "failure"
    regime: Regime = "bridge" if i < 2 else "soar"
    provenance = Provenance("station", regime, str(i), seed=i, started_s=0.0)
    return EpisodeSummary(str(i), f"do {i % 2}", length, Verdict(outcome), provenance)


def test_a_step_always_has_the_same_batch_and_parts_are_its_rows() -> None:
    mixture = Mixture([Source("a", frames([5, 9]), 1), Source("b", frames([7], 9), 2)], seed=3)
    whole, again = mixture(17, 32, WHOLE), mixture(17, 32, WHOLE)
    part = mixture(17, 32, slice(8, 16))
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value[8:16], part[name])
    assert not np.array_equal(whole["image"], mixture(18, 32, WHOLE)["image"])


def test_observation_goal_and_action_come_from_the_same_episode() -> None:
    source = Source("a", frames([5, 9, 3]), 1, goals=Uniform(0, 4))
    batch = Mixture([source], seed=0)(0, 4000, WHOLE)
    image, goal = batch["image"][:, 0, 0], batch["goal"][:, 0, 0]
    np.testing.assert_array_equal(image[:, 1], goal[:, 1])
    np.testing.assert_array_equal(image[:, 0], batch["action"][:, 0])
    ahead = goal[:, 0].astype(int) - image[:, 0]
    assert set(ahead) == {0, 1, 2, 3, 4}
    assert image[:, 0].max() == 8, "the last frame has no action"


def test_every_step_is_equally_likely() -> None:
    batch = Mixture([Source("a", frames([10, 30]), 1)], seed=0)(0, 20_000, WHOLE)
    assert (batch["image"][:, 0, 0, 1] == 0).mean() == pytest.approx(0.25, abs=0.01)


def test_shares_are_as_requested_and_come_with_the_batch() -> None:
    sources = [Source("pre", frames([10]), 8), Source("own", frames([90], 1), 2)]
    batch = Mixture(sources, seed=0)(0, 20_000, WHOLE)
    assert batch["share/pre"].mean() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(batch["share/own"] == 1, batch["image"][:, 0, 0, 1] == 1)
    np.testing.assert_array_equal(batch["share/own"] + batch["share/pre"], 1)


def test_a_source_can_use_some_of_the_episodes() -> None:
    source = Source("a", frames([5, 6, 7]), 1, episodes=np.array([2]), goals=Final(), sum_steps=2)
    mixture = Mixture([source], seed=0)
    batch = mixture(0, 100, WHOLE)
    assert len(mixture) == 7
    assert (batch["image"][:, 0, 0, 1] == 2).all()
    assert (batch["goal"][:, 0, 0, 0] == 7).all()
    t = batch["image"][:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(batch["action"][:, 0], t + np.where(t < 6, t + 1, 0))


def test_statistics_describe_the_drawn_actions() -> None:
    sources = [Source("a", frames([10]), 1), Source("b", frames([4, 3]), 3, sum_steps=2)]
    mixture = Mixture(sources, seed=0)
    drawn = mixture(0, 100_000, WHOLE)["action"]
    statistics = mixture.action_statistics()
    np.testing.assert_allclose(statistics["mean"], drawn.mean(0), rtol=0.02)
    np.testing.assert_allclose(statistics["std"], drawn.std(0), rtol=0.02)


def test_words_embed_the_sample_s_own_instruction() -> None:
    def embed(sentences: Sequence[str]) -> np.ndarray:
        return np.array([[float(s[-1]), 1] for s in sentences], np.float32)

    batch = Mixture([Source("a", frames([5, 6, 7]), 1)], 0, embed)(0, 100, WHOLE)
    np.testing.assert_array_equal(batch["words"][:, 0], batch["image"][:, 0, 0, 1] % 2)


def test_three_percent_of_autonomous_data_get_a_share_of_thirty() -> None:
    assert upsampled_share(30, 1000) == pytest.approx(0.3)
    assert upsampled_share(300, 1000) == 0.5


def test_invalid_mixtures_are_refused() -> None:
    good = Source("a", frames([5]), 1)
    cases = {
        "at least one source": [],
        "the same name": [good, good],
        "valid: one resolution": [good, Source("b", frames([5], resolution=8), 1)],
        "weight 0": [replace(good, weight=0)],
        "no steps to draw": [replace(good, episodes=np.zeros(0, np.int64))],
    }
    for message, sources in cases.items():
        with pytest.raises(ConfigError, match=message):
            Mixture(sources, seed=0)


def test_generated_goals_replace_their_share_of_hindsight_goals_and_have_no_pose(
    store, make_episode, tmp_path
):
    for seed in (0, 1):
        store.append(make_episode(seed, steps=20))
    kept = build_frames(store, Query(), 16, tmp_path / "frames")
    assert recorded_subgoals(store, kept, share=0) is None
    generated = recorded_subgoals(store, kept, share=0.5)
    assert generated is not None
    mixture = Mixture([Source("a", kept, 1, generated_goals=generated)], seed=0)
    batch = mixture(0, 2000, WHOLE)
    without = Mixture([Source("a", kept, 1)], seed=0)(0, 2000, WHOLE)

    swapped = np.isnan(batch["pose"]).any(1)
    assert 0.4 < swapped.mean() < 0.6
    np.testing.assert_array_equal(batch["image"], without["image"])
    np.testing.assert_array_equal(batch["goal"][~swapped], without["goal"][~swapped])
    known = {image.tobytes() for image in generated.images}
    assert {goal.tobytes() for goal in batch["goal"][swapped]} <= known
    subgoals = store.load(kept.episodes[0].id).subgoals
    assert generated.image_indices[kept.starts[0] + subgoals[-1].step] == len(subgoals) - 1


class BlueShift:
    """Generator of the future observations, a hundred levels bluer; records its input."""

    def __init__(self) -> None:
        self.instructions: list[str] = []
        self.images: list[np.ndarray] = []

    def __call__(self, observations, instructions, futures, rng):
        self.instructions += instructions
        self.images.append(np.stack([o.image for o in observations]))
        return np.stack([o.image for o in futures]) + np.array([0, 0, 100], np.uint8)


def test_goals_are_generated_along_every_episode_from_its_frames_and_instruction(tmp_path):
    some, generator = frames([45, 7]), BlueShift()
    made = regenerated_goals(some, generator, 0.5, seed=1, path=tmp_path / "goals.npz")
    last = some.starts[1:] - 1
    steps = np.setdiff1d(np.arange(len(some)), last)
    assert (made.image_indices[last] == -1).all()
    shown = made.images[made.image_indices[steps]][:, 0, 0]
    seen = some.images[steps][:, 0, 0]
    assert (shown[:, 2] == 100).all()
    np.testing.assert_array_equal(shown[:, 1], seen[:, 1])
    ahead = shown[:, 0].astype(int) - seen[:, 0]
    assert ahead.min() == 1
    assert 6 <= ahead.max() <= 14
    first = np.concatenate(generator.images)[made.image_indices[steps]][:, 0, 0, 0]
    assert (first <= seen[:, 0]).all()
    assert generator.instructions == sorted(generator.instructions)
    assert set(generator.instructions) == {"do 0", "do 1"}

    again = regenerated_goals(some, BlueShift(), 0.5, seed=1, path=tmp_path / "goals.npz")
    np.testing.assert_array_equal(again.images, made.images)
    with pytest.raises(ConfigError, match="valid: from 0 to 1"):
        regenerated_goals(some, BlueShift(), 1.5, seed=1, path=tmp_path / "never.npz")
    with pytest.raises(StoreError, match="belongs to other frames"):
        regenerated_goals(frames([3]), BlueShift(), 0.5, seed=1, path=tmp_path / "goals.npz")
