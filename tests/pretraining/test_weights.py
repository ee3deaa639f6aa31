"""Pretraining of packaged weights, on a few demonstrations."""

import numpy as np
import pytest

import soar.pretraining.weights
from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.pretraining.demonstrations import DemonstrationConfig, record_session
from soar.pretraining.weights import DemonstrationSet, install, pretrain_policy
from soar.sim.scenes.regimes import sample_scene
from soar.training.policy import debug

REQUESTED = DemonstrationSet(4)


class CopyGenerator:
    """A goal generator that returns the future image."""

    def generate_from_futures(self, observations, instructions, futures, rng):
        return np.stack([o.image for o in futures])


@pytest.fixture(scope="module")
def frames() -> Frames:
    config = DemonstrationConfig(image_size=32, tasks=(1, 1), disturb_probability=0.0)
    episodes = [
        e for seed in range(6) for e in record_session(sample_scene("bridge", seed), seed, config)
    ]
    return Frames.from_episodes(episodes, 32)


def test_policy_is_pretrained_continued_and_installed(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(soar.pretraining.weights, "demonstrations", lambda requested: frames)
    start = pretrain_policy(debug(), REQUESTED, tmp_path / "first")
    first = checkpoints.load(start)
    assert first.provenance["mixture"]["bridge"]["generated_goals"] == 0

    trained = pretrain_policy(
        debug(), REQUESTED, tmp_path / "second", start=start, generator=CopyGenerator().generate_from_futures,
            generated_goals=0.5,
    )  # fmt: skip
    second = checkpoints.load(trained)
    assert second.provenance["started_from"] == first.id
    assert second.provenance["mixture"]["bridge"]["generated_goals"] == 0.5
    assert second.transforms == first.transforms

    (tmp_path / "gcbc").mkdir()
    (tmp_path / "gcbc" / "notes.txt").write_text("a person's")
    id = install(trained, tmp_path / "gcbc", "gcbc", "soar pretrain gcbc", ("bridge",))
    installed = checkpoints.load(tmp_path / "gcbc")
    assert installed.id == id
    name = "head.1.weight"
    np.testing.assert_allclose(installed.weights[name], second.weights[name], atol=1e-3)
    assert (tmp_path / "gcbc" / "notes.txt").exists(), "other files stay"
    assert f"`{id}`" in (tmp_path / "gcbc" / "README.md").read_text()
