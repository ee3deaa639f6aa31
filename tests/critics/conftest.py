"""A store with a success, a failure, and an episode without a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar.critics.config import CriticConfig
from soar.data.store.lance import LanceStore, open_store
from soar.types import Episode, Outcome, Provenance, Subgoal, Verdict

TINY = CriticConfig(
    resolution=16, widths=(8, 8), embeddings=2, feature_dim=16, hidden=(16, 16), context_dim=8
)


def make_episode(
    seed: int, outcome: Outcome, steps: int = 6, instruction: str = "open the drawer"
) -> Episode:
    """An episode whose frames and states tell its seed and step."""
    rng = np.random.default_rng(seed)
    images = np.full((steps + 1, 16, 16, 3), 10 * seed, np.uint8)
    images[:, :, :, 1] = np.arange(steps + 1, dtype=np.uint8)[:, None, None]
    states = np.zeros((steps + 1, 7), np.float32)
    states[:, 0], states[:, 1] = seed, np.arange(steps + 1)
    actions = rng.uniform(-0.02, 0.02, (steps, 7)).astype(np.float32)
    pursued = np.full((16, 16, 3), 200 + seed, np.uint8)
    return Episode(
        instruction=instruction,
        actions=actions,
        commanded=actions,
        images=images,
        states=states,
        times_s=np.arange(steps + 1.0),
        subgoals=(Subgoal(pursued, 0),),
        verdict=Verdict(outcome, {"success": 0.9, "failure": 0.2}.get(outcome)),
        provenance=Provenance("one", "dev", "1", seed, 1e9 + seed),
    )


@pytest.fixture
def tiny() -> CriticConfig:
    return TINY


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    store = open_store(tmp_path / "store", create=True, codec="png")
    outcomes: tuple[Outcome, ...] = ("success", "failure", "unknown")
    for seed, outcome in enumerate(outcomes, 1):
        text = "close the drawer" if outcome == "failure" else "open the drawer"
        store.append(replace(make_episode(seed, outcome), instruction=text))
    return store
