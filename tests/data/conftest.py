"""Small seeded episodes, to compare what is read with what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.data.store.lance import LanceStore, open_store
from soar.types import (
    Answer,
    Episode,
    Outcome,
    Proposal,
    Provenance,
    Question,
    Subgoal,
    Task,
    Verdict,
)

TASK = Task(
    "put the lemon in the bowl", Question("Is the lemon in the bowl?"), True, ("lemon", "bowl")
)


def make_episode(
    seed: int = 0,
    steps: int = 4,
    size: int = 16,
    instruction: str = TASK.instruction,
    outcome: Outcome = "success",
    **provenance: Any,
) -> Episode:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (steps + 1, size, size, 3), np.uint8)
    fields: dict[str, Any] = {
        "station": "one",
        "regime": "soar",
        "scene": "1",
        "seed": seed,
        "started_s": 1e9 + seed,
        "checkpoint": "gcbc-0",
        "config_hash": "c0ffee",
        "code_version": "0.1",
        "exploration": {"noise": 0.5},
        "proposal": Proposal(TASK, "uncertain", (TASK.instruction,), {TASK.instruction: 0.7}),
        "answers_before": (Answer(TASK.question, 0.1, "no"), Answer(Question("Any?"), None, "¿?")),
        "answers_after": (Answer(TASK.question, 0.9, "yes"),),
        "faults": ("motor 3",),
        "truth": True,
    }
    return Episode(
        instruction=instruction,
        actions=rng.normal(size=(steps, 7)).astype(np.float32),
        commanded=rng.normal(size=(steps, 7)).astype(np.float32),
        images=images,
        states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        times_s=np.cumsum(rng.random(steps + 1)),
        subgoals=(Subgoal(images[-1], 0), Subgoal(images[0][:8, :8], steps)) if steps else (),
        verdict=Verdict(outcome, 0.9, TASK.question.text, "yes", "compact"),
        provenance=Provenance(**fields | provenance),
    )


def same(a: Episode, b: Episode) -> bool:
    arrays = ("actions", "commanded", "images", "states", "times_s")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and [s.step for s in a.subgoals] == [s.step for s in b.subgoals]
        and all(
            np.array_equal(x.image, y.image) for x, y in zip(a.subgoals, b.subgoals, strict=True)
        )
        and (a.instruction, a.verdict, a.provenance) == (b.instruction, b.verdict, b.provenance)
    )


@pytest.fixture(name="make_episode")
def _make_episode() -> Callable[..., Episode]:
    return make_episode


@pytest.fixture(name="same")
def _same() -> Callable[[Episode, Episode], bool]:
    return same


@pytest.fixture
def place() -> str:
    """Where the store is: "disk", unless the test says "s3"."""
    return "disk"


@pytest.fixture
def store(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> LanceStore:
    """An empty store that keeps frames bit for bit."""
    where = tmp_path / "store" if place == "disk" else request.getfixturevalue("bucket") + "/store"
    return open_store(where, create=True, codec="png")
