"""The whole lesson, on a few of an expert's episodes and the packaged imagination."""

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
from soar.improvement.methods.corrections.finetune_subgoals import (
    FinetuneSubgoalsConfig,
    finetune_subgoals,
)
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.labels import correction_sources, make_corrections
from soar.improvement.methods.corrections.planner import queries_by_scene
from soar.pretraining.clips import places
from soar.pretraining.demonstrations import demonstrate
from soar.pretraining.keypoint_samples import other_scene_samples
from soar.registry import packaged
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
from soar.subgoals.compact.generator import load_compact
from soar.training.keypoint_samples import KeypointSamples
from soar.types import Query

QUICK = FinetuneSubgoalsConfig(steps=2, batch_size=8, other_scenes=1, passes=2)


class Shown(NamedTuple):
    """An expert's episodes, and where the camera really sees the named thing before each."""

    store: LanceStore
    things: list[np.ndarray]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    things: list[np.ndarray] = []
    scene, made = load_scene("dev1"), open_store(tmp_path_factory.mktemp("store"), create=True)
    world = World(scene, 96)
    try:
        for seed in range(8):
            task = scene.tasks[seed % len(scene.tasks)]
            world.reset(seed, task.goal)
            things.append(places(world, task.goal)[0])
            episode = demonstrate(world, task, np.random.default_rng(seed), seed=seed)
            where = replace(episode.provenance, station="arm", started_s=float(seed))
            made.append(replace(episode, provenance=where))
    finally:
        world.close()
    return Shown(made, things)


@pytest.mark.slow
def test_an_imagination_is_taught_in_two_passes_and_can_be_used(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shown.store
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "imagination" / "round-1"
    finetune_subgoals(
        store, [Query(scenes=("dev1",))], "compact@10", out, QUICK, other_scene_samples, workers=1
    )
    before, after = (checkpoints.load(f, "subgoals") for f in (packaged("subgoals"), out))
    changed = {k for k, w in after.weights.items() if not w.equal(before.weights[k].to(w))}
    assert changed
    assert all(k.startswith("foresight.") for k in changed)
    assert after.provenance["taught_from"] == before.id
    assert (out.with_name("round-1-pass-1") / "checkpoint.json").exists()
    assert load_compact(f"{out}@10").ahead == 10
    again = finetune_subgoals(
        store, [Query(scenes=("dev1",))], "compact@10", out, QUICK, other_scene_samples, workers=1
    )
    assert again.step == QUICK.steps


@pytest.mark.slow
def test_moments_of_a_real_scene_say_where_things_are(shown: Shown, tmp_path: Path) -> None:
    frames = build_frames(shown.store, Query(), 96, tmp_path)
    moments = keypoint_labels(frames, load_compact())
    tips = moments.points[:, 3:5].mean(1)
    closed = moments.states[:, 6] < 0.6
    away = np.linalg.norm(moments.points[:, 0] - tips, axis=-1)
    assert closed.sum() > 5
    assert np.median(away[closed]) < 0.05 < np.median(away[~closed])
    off = []
    for image, truth in zip(frames.images[frames.starts[:-1]], shown.things, strict=True):
        first = np.flatnonzero((moments.images == image).all((1, 2, 3)))
        off += [np.linalg.norm(moments.points[i, 0] - truth) for i in first]
    assert len(off) >= 4
    assert np.median(off) < 0.08
    assert KeypointSamples.joined([moments, moments]).rows.max() == moments.rows.max() + len(
        moments.words
    )


@pytest.mark.slow
def test_an_expert_is_told_to_do_about_what_it_did(shown: Shown, tmp_path: Path) -> None:
    queries = queries_by_scene(shown.store, Query(outcomes=("failure",)))
    [made] = make_corrections(shown.store, queries, "compact", tmp_path, 64)
    frames = build_frames(shown.store, queries[0], 64, tmp_path)
    assert made.resolution == 64
    which = [int(np.flatnonzero((frames.states == s).all(1))[0]) for s in made.states[0::2]]
    did, told = frames.actions[which], made.actions[0::2]
    ways = np.linalg.norm(did[:, :3], axis=1), np.linalg.norm(told[:, :3], axis=1)
    moves = (ways[0] > 0.01) & (ways[1] > 0.01)
    cosine = (did * told)[:, :3].sum(1)[moves] / ways[0][moves] / ways[1][moves]
    assert moves.sum() > 50
    assert np.median(cosine) > 0.8
    assert ((did[:, 6] > 0.5) == (told[:, 6] > 0.5)).mean() > 0.9
    [source] = correction_sources([made], 0.3)
    assert (source.name, source.weight) == ("corrections", 0.3)


def test_settings_that_teach_nothing() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        FinetuneSubgoalsConfig(own_share=1.0)
    with pytest.raises(ConfigError, match="at least 1"):
        FinetuneSubgoalsConfig(passes=0)
