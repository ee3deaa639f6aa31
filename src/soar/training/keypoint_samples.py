"""Keypoint samples: an observation, an instruction, and where everything is some control steps later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int64, UInt8

from soar.data.prefetch import step_rng
from soar.subgoals.clips import Points
from soar.subgoals.compact.keypoint_predictor import PREDICTED

SOONEST, LATEST = 8, 12
"""How many control steps ahead places are noted."""


@dataclass(frozen=True, eq=False)
class KeypointSamples:
    """What is seen and felt now, and where everything is SOONEST to LATEST steps later."""

    images: UInt8[np.ndarray, "n r r 3"]
    points: Points
    later: Float32[np.ndarray, "n k 7 2"]
    states: Float32[np.ndarray, "n 7"]
    words: Float16[np.ndarray, "u l d"]
    """Token embeddings of each different instruction."""
    rows: Int64[np.ndarray, " n"]
    """Which of `words` is a moment's."""
    sided: Bool[np.ndarray, " n"]
    """Whether left and right are spoken of."""

    @classmethod
    def load(cls, folder: str | Path) -> KeypointSamples:
        """What `make_keypoint_samples` saved."""
        with np.load(Path(folder) / "moments.npz") as file:
            return cls(**file)

    @classmethod
    def joined(cls, parts: Sequence[KeypointSamples]) -> KeypointSamples:
        """All of them, one after the other."""
        firsts = np.cumsum([0, *(len(p.words) for p in parts[:-1])])
        whole = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("images", "points", "later", "states", "words", "sided")
        }
        rows = np.concatenate([p.rows + f for p, f in zip(parts, firsts, strict=True)])
        return cls(**whole, rows=rows)


class KeypointBatches:
    """Random moments, each with a random one of the times that were noted; pure, as `SubgoalBatches`."""

    def __init__(self, moments: KeypointSamples, seed: int = 0) -> None:
        self.moments, self.seed = moments, seed

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """The same names as of `SubgoalBatches`, less what is painted."""
        m, rng = self.moments, step_rng(self.seed, step)
        now = rng.integers(len(m.images), size=size)[part]
        ahead = rng.integers(SOONEST, LATEST + 1, size)[part]
        return {
            "observation": m.images[now],
            "words": m.words[m.rows[now]].astype(np.float32),
            "ahead": ahead.astype(np.float32),
            "points": m.points[now],
            "places": m.later[now, ahead - SOONEST][:, PREDICTED],
            "states": m.states[now],
            "sided": m.sided[now],
        }


def is_sided(instruction: str) -> bool:
    """Whether the instruction speaks of left or right, so that it is another one in a mirror."""
    return not {"left", "right"}.isdisjoint(instruction.lower().split())
