"""Making weights, on a few demonstrations made here."""

import numpy as np
import pytest

import soar.pretraining.weights
from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.pretraining.demonstrations import DemonstrationConfig, session
from soar.pretraining.weights import DemonstrationSet, install, pretrain_policy
from soar.sim.scenes.regimes import sample_scene
from soar.training.policy import debug

WANTED = DemonstrationSet(4)


class Photographer:
    """Paints the future as it is."""

    def generate_from_futures(self, observations, instructions, futures, rng):
        return np.stack([o.image for o in futures])


@pytest.fixture(scope="module")
def frames() -> Frames:
    config = DemonstrationConfig(image_size=32, tasks=(1, 1), disturbed=0.0)
    episodes = [e for seed in range(6) for e in session(sample_scene("bridge", seed), seed, config)]
    return Frames.from_episodes(episodes, 32)


def test_a_policy_is_made_gone_on_from_and_installed(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(soar.pretraining.weights, "demonstrations", lambda wanted: frames)
    begin = pretrain_policy(debug(), WANTED, tmp_path / "first")
    first = checkpoints.load(begin)
    assert first.provenance["mixture"]["bridge"]["generated_goals"] == 0

    made = pretrain_policy(
        debug(), WANTED, tmp_path / "second", start=begin, painter=Photographer().generate_from_futures, imagined=0.5,
    )  # fmt: skip
    second = checkpoints.load(made)
    assert second.provenance["started_from"] == first.id
    assert second.provenance["mixture"]["bridge"]["generated_goals"] == 0.5
    assert second.transforms == first.transforms

    id = install(made, tmp_path / "gcbc", "gcbc", "soar pretrain gcbc", ("bridge",))
    shipped = checkpoints.load(tmp_path / "gcbc")
    assert shipped.id == id
    name = "head.1.weight"
    np.testing.assert_allclose(shipped.weights[name], second.weights[name], atol=1e-3)
    assert f"`{id}`" in (tmp_path / "gcbc" / "README.md").read_text()
