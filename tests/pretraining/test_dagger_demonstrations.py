"""DAgger demonstrations start from the system's states, end after a few steps, and are collected once."""

from __future__ import annotations

import numpy as np
from tests.pretraining.models import Copies, Down

import soar.pretraining.dagger_demonstrations as dagger
from soar.data.store.lance import open_store
from soar.sim.scenes.regimes import sample_scene
from soar.types import Query

SEED = 3


def test_expert_continues_for_a_few_steps_from_each_state_with_a_subgoal_request():
    policy = Down()
    episodes = dagger.continue_from_attempt(sample_scene("bridge", SEED), SEED, (policy, Copies()))
    assert len(episodes) == 10
    for episode, state in zip(episodes, policy.states[::10], strict=True):
        np.testing.assert_allclose(episode.states[0], state, atol=1e-5)
        assert 0 < len(episode.actions) <= 24
    assert max(len(e.actions) for e in episodes) == 24
    assert np.ptp([e.states[-1][:3] for e in episodes], axis=0).max() > 0.03  # it goes elsewhere


def test_store_is_filled_once_and_resumes_with_other_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(dagger, "packaged_models", lambda: (Down(), Copies()))

    def run_here(run, seeds, missing, workers, show):
        while missing > 0:
            missing -= run(next(seeds)).kept

    monkeypatch.setattr(dagger, "run_until", run_here)
    store = tmp_path / "store"

    def collected(episodes: int) -> list[str]:
        dagger.collect_continuations(store, episodes)
        found = open_store(store).query(Query(regimes=("bridge",)))
        return [s.id for s in found]

    first = collected(3)
    assert len(first) >= 3
    assert collected(3) == first
    more = collected(len(first) + 1)
    assert more[: len(first)] == first
    seeds = {s.provenance.seed for s in open_store(store).query(Query())}
    assert seeds == set(range(dagger.FIRST_SEED, dagger.FIRST_SEED + len(seeds)))
    assert len(seeds) == 2


def test_attempts_of_a_full_table_are_left_out(monkeypatch):
    def full(*args):
        raise dagger.ConfigError("the objects don't fit on the table")

    monkeypatch.setattr(dagger, "attempt", full)
    scene = sample_scene("bridge", SEED)
    assert dagger.continue_from_attempt(scene, SEED, (Down(), Copies())) == []
