"""Images of an evaluated VLM: as many as asked for in every scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.evaluation import vlm
from soar.evaluation.vlm import judge_scenes
from soar.interfaces import VisionLanguageModel
from soar.pretraining.labeled_images import LabeledImageConfig, sample_states
from soar.registry import load_vlm
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World


@pytest.fixture
def eyes() -> VisionLanguageModel:
    return load_vlm()


def test_a_scene_whose_physics_diverges_goes_on_with_another_seed(
    eyes: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(scene: Scene, config: LabeledImageConfig, rng: np.random.Generator) -> Iterator[World]:
        for world, _ in zip(sample_states(scene, config, rng), range(2), strict=False):
            yield world

    monkeypatch.setattr(vlm, "sample_states", two)
    seen: list[int] = []
    judge_scenes(eyes, [load_scene("dev1")], 5, 0, lambda: seen.append(1))
    assert len(seen) == 5


def test_a_scene_without_any_state_is_refused_and_not_left_out(
    eyes: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlm, "sample_states", lambda *_: iter(()))
    with pytest.raises(ConfigError, match="scene 'dev1' gave 0 of 5 images"):
        judge_scenes(eyes, [load_scene("dev1")], 5, 0)
