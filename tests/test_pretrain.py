"""Making weights, on a few demonstrations made here."""

from dataclasses import replace

import numpy as np
import pytest

import soar.pretrain
from soar import checkpoint as checkpoints
from soar.data.frames import Frames
from soar.data.mixture import Source
from soar.errors import ConfigError
from soar.fit_policy import debug, fit_policy
from soar.interventions import Pilot
from soar.pretrain import INTERVENTIONS, DemonstrationSet, install, pretrain_policy
from soar.sim.demos import DemoConfig, session
from soar.sim.scenes import sample_scene

WANTED = DemonstrationSet(4)


class Photographer:
    """Paints the future as it is."""

    def repaint(self, images, instructions, futures, rng):
        return futures


@pytest.fixture(scope="module")
def frames() -> Frames:
    config = DemoConfig(image_size=32, tasks=(1, 1), disturbed=0.0)
    episodes = [e for seed in range(6) for e in session(sample_scene("bridge", seed), seed, config)]
    return Frames.from_episodes(episodes, 32)


def test_a_policy_is_made_gone_on_from_and_installed(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(soar.pretrain, "demonstrations", lambda wanted: frames)
    begin = pretrain_policy(debug(), WANTED, tmp_path / "first")
    first = checkpoints.load(begin)
    assert first.provenance["mixture"]["bridge"]["imagined_goals"] == 0

    made = pretrain_policy(
        debug(), WANTED, tmp_path / "second", start=begin, interventions=2,
        painter=Photographer(), imagined=0.5,
    )  # fmt: skip
    second = checkpoints.load(made)
    assert second.provenance["started_from"] == first.id
    assert second.provenance["mixture"]["bridge"]["imagined_goals"] == 0.5
    assert second.provenance["mixture"]["interventions"]["share"] == INTERVENTIONS
    assert second.transforms == first.transforms

    id = install(made, tmp_path / "gcbc", "gcbc", "soar pretrain gcbc", ("bridge",))
    shipped = checkpoints.load(tmp_path / "gcbc")
    assert shipped.id == id
    name = "head.1.weight"
    np.testing.assert_allclose(shipped.weights[name], second.weights[name], atol=1e-3)
    assert f"`{id}`" in (tmp_path / "gcbc" / "README.md").read_text()


def test_interventions_begin_where_a_policy_got_to(frames, tmp_path):
    policy = tmp_path / "policy"
    fit_policy(debug(), [Source("bridge", frames, 1.0)], policy)
    scene = sample_scene("bridge", 1)
    pilot = Pilot(policy, imagined=0.0, steps=(5, 5))
    config = DemoConfig(image_size=32, tasks=(1, 1), disturbed=1.0)
    (led,) = session(scene, 1, config, pilot)
    (plain,) = session(scene, 1, replace(config, disturbed=0.0))
    assert led.provenance.truth
    moved = np.linalg.norm(led.states[0, :3] - plain.states[0, :3])
    assert moved > 0.001
    assert led.instruction == plain.instruction
    with pytest.raises(ConfigError, match="policy to start from"):
        pretrain_policy(debug(), WANTED, tmp_path / "third", interventions=2)
    with pytest.raises(ConfigError, match="steps a range"):
        Pilot(policy, steps=(0, 5))
