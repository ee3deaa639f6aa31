"""Fine-tuning and corrections on a few of an expert's episodes, with the packaged subgoal generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.data.frame_cache import build_frames
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import (
    FinetuneSubgoalsConfig,
    finetune_subgoals,
)
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.labels import correction_sources, make_corrections
from soar.improvement.methods.corrections.planner import queries_by_scene
from soar.pretraining.clips import goal_keypoints
from soar.pretraining.demonstrations import demonstrate
from soar.pretraining.keypoint_samples import other_scene_samples
from soar.registry import packaged
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
from soar.subgoals.compact.generator import FINETUNED_FROM, load_compact
from soar.training.keypoint_samples import KeypointSamples
from soar.types import Query

CORRECTIONS = CorrectionsConfig()
QUICK = FinetuneSubgoalsConfig(steps=2, batch_size=8, other_scenes=1, passes=2)


class Expert(NamedTuple):
    """An expert's episodes, and the true image position of the named object before each."""

    store: LanceStore
    positions: list[np.ndarray]


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Expert:
    positions: list[np.ndarray] = []
    scene, made = load_scene("dev1"), open_store(tmp_path_factory.mktemp("store"), create=True)
    world = World(scene, 96)
    try:
        for seed in range(8):
            task = scene.tasks[seed % len(scene.tasks)]
            world.reset(seed, task.goal)
            positions.append(goal_keypoints(world, task.goal)[0])
            episode = demonstrate(world, task, np.random.default_rng(seed), seed=seed)
            where = replace(episode.provenance, station="arm", started_s=float(seed))
            made.append(replace(episode, provenance=where))
    finally:
        world.close()
    return Expert(made, positions)


def test_a_subgoal_generator_is_fine_tuned_in_two_passes_and_can_be_used(
    expert: Expert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = expert.store
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "subgoals" / "round-1"
    finetune_subgoals(
        store,
        [Query(scenes=("dev1",))],
        "compact@10",
        out,
        QUICK,
        CORRECTIONS,
        other_scene_samples,
        workers=1,
    )
    before, after = (load_compact(name).net.state_dict() for name in ("compact", str(out)))
    changed = {k for k, w in after.items() if not w.equal(before[k])}
    assert changed
    assert all(k.startswith("keypoint_predictor.") for k in changed)
    provenance = checkpoints.load(out, "subgoals").provenance
    assert provenance[FINETUNED_FROM] == checkpoints.load(packaged("subgoals")).id
    assert (out.with_name("round-1-pass-1") / "checkpoint.json").exists()
    assert load_compact(f"{out}@10").steps_ahead == 10
    again = finetune_subgoals(
        store,
        [Query(scenes=("dev1",))],
        "compact@10",
        out,
        QUICK,
        CORRECTIONS,
        other_scene_samples,
        workers=1,
    )
    assert again.step == QUICK.steps


def test_labels_of_a_scene_hold_the_positions_of_its_objects(
    expert: Expert, tmp_path: Path
) -> None:
    frames = build_frames(expert.store, Query(), 96, tmp_path)
    samples = keypoint_labels(frames, load_compact(), CORRECTIONS)
    tips = samples.points[:, 3:5].mean(1)
    closed = samples.states[:, 6] < 0.6
    away = np.linalg.norm(samples.points[:, 0] - tips, axis=-1)
    assert closed.sum() > 5
    assert np.median(away[closed]) < 0.05 < np.median(away[~closed])
    off = []
    for image, truth in zip(frames.images[frames.starts[:-1]], expert.positions, strict=True):
        first = np.flatnonzero((samples.images == image).all((1, 2, 3)))
        off += [np.linalg.norm(samples.points[i, 0] - truth) for i in first]
    assert len(off) >= 4
    assert np.median(off) < 0.08
    assert KeypointSamples.concatenate([samples, samples]).rows.max() == samples.rows.max() + len(
        samples.words
    )


def test_corrections_of_an_expert_agree_with_its_actions(expert: Expert, tmp_path: Path) -> None:
    queries = queries_by_scene(expert.store, Query(outcomes=("failure",)))
    [made] = make_corrections(expert.store, queries, "compact", tmp_path, 64, CORRECTIONS)
    frames = build_frames(expert.store, queries[0], 64, tmp_path)
    assert made.resolution == 64
    which = [int(np.flatnonzero((frames.states == s).all(1))[0]) for s in made.states[0::2]]
    done, corrected = frames.actions[which], made.actions[0::2]
    lengths = np.linalg.norm(done[:, :3], axis=1), np.linalg.norm(corrected[:, :3], axis=1)
    moves = (lengths[0] > 0.01) & (lengths[1] > 0.01)
    cosine = (done * corrected)[:, :3].sum(1)[moves] / lengths[0][moves] / lengths[1][moves]
    assert moves.sum() > 50
    assert np.median(cosine) > 0.8
    assert ((done[:, 6] > 0.5) == (corrected[:, 6] > 0.5)).mean() > 0.9
    [source] = correction_sources([made], 0.3)
    assert (source.name, source.weight) == ("corrections", 0.3)


def test_settings_outside_their_ranges_are_refused() -> None:
    with pytest.raises(ConfigError, match="above 0 below 1"):
        FinetuneSubgoalsConfig(own_share=1.0)
    with pytest.raises(ConfigError, match="at least 1"):
        FinetuneSubgoalsConfig(passes=0)
