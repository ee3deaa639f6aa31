"""`soar pretrain keypoints`, with noise for samples."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch

import soar.pretraining.keypoint_samples as module
from soar.cli.pretrain import keypoints, keypoints_preset
from soar.registry import packaged
from soar.subgoals.clips import MAX_TOKENS
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.subgoals.compact.observation_encoder import PredictorSize
from soar.tasks.grammar import parse_instruction
from soar.training.fit import FitConfig
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointSamples,
    KeypointSampleSet,
)
from soar.types import image_only

SAMPLES = KeypointSampleSet(3, 1, views=1, scene_offset=7)
AHEAD = MAX_STEPS_AHEAD - MIN_STEPS_AHEAD + 1


def noise_samples(folder, scenes, workers, seed, config) -> KeypointSamples:
    assert seed % 1000 == 7
    assert folder.name.endswith("-from-7")
    rng, n = np.random.default_rng(seed), 2 * scenes
    return KeypointSamples(
        images=rng.integers(0, 256, (n, 96, 96, 3), np.uint8),
        points=rng.uniform(-1, 1, (n, 7, 2)).astype(np.float32),
        later=rng.uniform(-1, 1, (n, AHEAD, 7, 2)).astype(np.float32),
        states=rng.uniform(-0.1, 0.1, (n, 7)).astype(np.float32),
        words=rng.normal(size=(1, MAX_TOKENS, 384)).astype(np.float16),
        rows=np.zeros(n, np.int64),
        sided=np.zeros(n, bool),
    )


def quick(**given) -> FitConfig:
    config = replace(keypoints_preset(), steps=1, batch_size=4, warmup_steps=1, ema_decay=0)
    return replace(config, log_every=1, save_every=1, **given)


def test_only_the_keypoint_predictor_changes_and_the_card_says_from_what(monkeypatch, tmp_path):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "make_keypoint_samples", noise_samples)
    keypoints(quick(steps=2), SAMPLES, out=tmp_path / "out")
    before, after = (
        CompactSubgoalGenerator.load(folder, device="cpu").net.state_dict()
        for folder in (packaged("subgoals"), tmp_path / "out")
    )
    changed = {k.split(".")[0] for k, w in after.items() if not torch.equal(w, before[k])}
    assert changed == {"keypoint_predictor"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert '"samples": 6' in card
    assert '"dagger_samples": 2' in card
    assert '"keypoints": [' in card
    assert '"started_from": "9a3788d6a606"' in card  # the packaged predictor's first training
    assert '"painter"' in card  # the renderer's provenance stays


def test_a_larger_predictor_begins_with_the_weights_that_fit(monkeypatch, tmp_path):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "make_keypoint_samples", noise_samples)
    size = PredictorSize(cells=32, width=48, depth=2)
    still = quick(learning_rate=1e-9, weight_decay=0)
    keypoints(still, SAMPLES, size=size, out=tmp_path / "out")
    before, after = (
        CompactSubgoalGenerator.load(folder, device="cpu")
        for folder in (packaged("subgoals"), tmp_path / "out")
    )
    assert after.net.config.predictor == replace(size, coarse_width=192)  # as packaged
    old, new = before.net.state_dict(), after.net.state_dict()
    assert new["keypoint_predictor.encoder.fine.convs.0.weight"].shape == (48, 48, 3, 3)
    kept = "keypoint_predictor.encoder.instruction_encoder.slots"
    assert torch.allclose(new[kept], old[kept], atol=1e-4)
    assert all(torch.equal(new[k], w) for k, w in old.items() if "keypoint_predictor" not in k)
    gray, task = (
        image_only(np.full((1, 256, 256, 3), 90, np.uint8)),
        parse_instruction("open the drawer"),
    )
    assert after.generate(gray, [task], np.random.default_rng(0)).shape == (1, 64, 64, 3)


def test_trainings_with_other_seeds_stand_side_by_side(monkeypatch, tmp_path):
    """Their mean is the point of them (`soar pretrain average`)."""
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "make_keypoint_samples", noise_samples)
    for seed in (1, 2):
        keypoints(quick(seed=seed), SAMPLES, out=tmp_path / str(seed))
    first, second = (json.loads((tmp_path / s / "checkpoint.json").read_text()) for s in "12")
    assert first["id"] != second["id"]


def test_the_states_are_those_of_the_system_that_is_named(monkeypatch, tmp_path):
    """Samples of one policy's system aren't taken for another's."""
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    made: list[tuple[str, tuple[str, str] | None]] = []

    def remembered(folder, scenes, workers, seed, config):
        made.append((folder.name, config.system))
        return noise_samples(folder, scenes, workers, seed, config)

    monkeypatch.setattr(module, "make_keypoint_samples", remembered)
    generator, policy = packaged("subgoals"), packaged("gcbc")
    keypoints(quick(), SAMPLES, out=tmp_path / "a")
    keypoints(quick(), SAMPLES, start=generator, policy=policy, out=tmp_path / "b")
    assert [system for _, system in made] == [
        None, ("gcbc", "compact"), None, (str(policy), str(generator))
    ]  # fmt: skip
    (expert, first), (again, second) = (
        [name for name, _ in made[:2]],
        [name for name, _ in made[2:]],
    )
    assert expert == again
    assert first != second
