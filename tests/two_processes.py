"""A small training, and what it must have in common in one process and in two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from soar import checkpoint
from soar.data.store.lance import LanceStore, open_store
from soar.types import Episode, Provenance, Verdict
from soar.utils.files import read_lines


def fill(folder: Path, scene: str = "a", round: int = 0) -> LanceStore:
    """A store of random episodes."""
    rng, steps = np.random.default_rng(0), 12
    store = open_store(folder, create=True)
    for i in range(4):
        numbers = rng.normal(size=(steps, 7)).astype(np.float32)
        store.append(
            Episode(
                instruction="put the spoon in the pot",
                actions=numbers,
                commanded=numbers,
                images=rng.integers(0, 256, (steps + 1, 64, 64, 3), dtype=np.uint8),
                states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
                times_s=np.arange(steps + 1) * 0.2,
                subgoals=(),
                verdict=Verdict("success"),
                provenance=Provenance("arm", "bridge", scene, i, float(i), round=round),
            )
        )
    return store


def training(store: Path, out: Path) -> list[str]:
    """A command of `soar`."""
    words = f"train gcbc --preset debug --store {store} --out {out} --fit.batch-size 16"
    return f"{words} --fit.device cpu --fit.precision fp32 --fit.trackers".split()


def assert_same_training(one: Path, two: Path) -> None:
    """Both runs have the same losses, and checkpoints that are nearly the same."""
    before, after = (read_lines(folder / "log.jsonl") for folder in (one, two))
    assert [r["step"] for r in after] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "pose_error", "grad_norm"):
        assert [r[name] for r in after] == pytest.approx(
            [r[name] for r in before],
            rel=2e-4,  # sums of gradients in another order, in float32
        )
    first, second = checkpoint.load(one, "gcbc"), checkpoint.load(two, "gcbc")
    for name, weight in first.weights.items():
        torch.testing.assert_close(second.weights[name], weight, rtol=1e-3, atol=3e-4)
