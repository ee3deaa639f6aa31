"""Training samples of the keypoint predictor: an observation, an instruction, and the keypoints some steps later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float16, Float32, Int64, UInt8

from soar.data.prefetch import step_rng
from soar.subgoals.clips import Points
from soar.subgoals.compact.keypoint_predictor import PREDICTED_POINTS
from soar.utils.arrays import check_indices, read_arrays

MIN_STEPS_AHEAD, MAX_STEPS_AHEAD = 8, 12
"""Control steps ahead at which future keypoints are stored, both included."""
SAMPLES_FILE = "moments.npz"
_LAYOUT = {
    "images": "u1 n r r 3", "points": "f4 n 7 2", "later": "f4 n k 7 2", "states": "f4 n 7", "words": "f2 u l d",
    "rows": "i8 n", "sided": "b1 n",
}  # fmt: skip


@dataclass(frozen=True)
class KeypointSampleSet:
    """The scenes that keypoint samples come from: of a disturbed expert, and of a system's own attempts (DAgger)."""

    scenes: Annotated[int, Ge(1)] = 2500
    """Number of scenes of the expert, with about eight states each."""
    dagger_scenes: Annotated[int, Ge(1)] = 800
    """Number of scenes of the system, with about seven states each."""
    views: Annotated[int, Ge(1)] = 4
    """Images of each state, all but one with other colors, names, table, camera and light."""
    scene_offset: Annotated[int, Ge(0), Le(90_000)] = 0
    """Number of the first scene; one far beyond those of an earlier training makes all scenes new."""
    workers: Annotated[int, Ge(1)] = 2
    """Number of processes that make the samples."""


@dataclass(frozen=True, eq=False)
class KeypointSamples:
    """Images, robot states and current keypoints, with the keypoints MIN_ to MAX_STEPS_AHEAD steps later."""

    images: UInt8[np.ndarray, "n r r 3"]
    points: Points
    later: Float32[np.ndarray, "n k 7 2"]
    """`points` after each number of steps."""
    states: Float32[np.ndarray, "n 7"]
    words: Float16[np.ndarray, "u l d"]
    """Token embeddings of each distinct instruction, padded with zeros."""
    rows: Int64[np.ndarray, " n"]
    """Index into `words` for each sample."""
    sided: Bool[np.ndarray, " n"]
    """Whether the instruction mentions left or right."""

    @classmethod
    def load(cls, folder: str | Path) -> KeypointSamples:
        """Load the samples that `make_keypoint_samples` saved. Raises ConfigError: they are missing or damaged."""
        path = Path(folder) / SAMPLES_FILE
        arrays = read_arrays(path, _LAYOUT)
        check_indices(path, arrays["rows"], len(arrays["words"]))
        return cls(**arrays)

    @classmethod
    def concatenate(cls, parts: Sequence[KeypointSamples]) -> KeypointSamples:
        """Concatenate samples of the same resolution."""
        offsets = np.cumsum([0, *(len(p.words) for p in parts[:-1])])
        arrays = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("images", "points", "later", "states", "words", "sided")
        }
        rows = np.concatenate([p.rows + o for p, o in zip(parts, offsets, strict=True)])
        return cls(**arrays, rows=rows)


class KeypointBatches:
    """Random samples, each with a random number of steps ahead; a pure function of the step."""

    def __init__(self, samples: KeypointSamples, seed: int = 0) -> None:
        self.samples, self.seed = samples, seed

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return the arrays of `SubgoalBatches` that the keypoint loss needs."""
        s, rng = self.samples, step_rng(self.seed, step)
        now = rng.integers(len(s.images), size=size)[part]
        ahead = rng.integers(MIN_STEPS_AHEAD, MAX_STEPS_AHEAD + 1, size)[part]
        return {
            "observation": s.images[now],
            "words": s.words[s.rows[now]].astype(np.float32),
            "ahead": ahead.astype(np.float32),
            "points": s.points[now],
            "future_points": s.later[now, ahead - MIN_STEPS_AHEAD][:, PREDICTED_POINTS],
            "states": s.states[now],
            "sided": s.sided[now],
        }


def mentions_side(instruction: str) -> bool:
    """Whether the instruction mentions left or right, so that it changes in a mirror image."""
    return not {"left", "right"}.isdisjoint(instruction.lower().split())
