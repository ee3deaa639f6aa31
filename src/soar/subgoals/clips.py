"""Image sequences with instructions as plain arrays: the training data of the compact subgoal generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, Float32, Int64

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.nn.text import SentenceEncoder
from soar.utils.arrays import map_arrays
from soar.utils.files import replace_file

MAX_TOKENS = 24
"""Tokens of an instruction that are read; the rest is cut off."""

NUM_POINTS = 7
Points = Float32[np.ndarray, "n 7 2"]
"""Image coordinates of seven keypoints, x and y in [-1, 1], NaN where unknown.

In order: named object, named container, gripper, and the arm's `soar.sim.projection.arm_positions` (left and right fingertip,
wrist, the table's point below the gripper).
"""


@dataclass(frozen=True, eq=False)
class ClipCorpus:
    """Episode frames with the keypoints of each frame and the instruction of each episode."""

    frames: Frames
    points: Points
    words: Float16[np.ndarray, "u l d"]
    """Token embeddings of each distinct instruction, padded with zeros."""
    rows: Int64[np.ndarray, " e"]
    """Index into `words` for each episode."""

    @property
    def instructions(self) -> list[str]:
        """The distinct instructions, in the order of `words`."""
        return sorted({e.instruction for e in self.frames.episodes})

    @classmethod
    def from_frames(cls, frames: Frames, points: Points | None = None) -> ClipCorpus:
        """Embed the instructions of some frames; without `points`, all keypoints are NaN."""
        if points is None:
            points = np.full((len(frames), NUM_POINTS, 2), np.nan, np.float32)
        instructions = sorted({e.instruction for e in frames.episodes})
        words = SentenceEncoder().tokens(instructions, MAX_TOKENS).half().numpy()
        return cls(frames, points, words, _rows(frames))

    @classmethod
    def concatenate(cls, first: ClipCorpus, second: ClipCorpus) -> ClipCorpus:
        """Concatenate two corpora of the same resolution."""
        a, b = first.frames, second.frames
        frames = Frames(
            images=np.concatenate([a.images, b.images]),
            states=np.concatenate([a.states, b.states]),
            actions=np.concatenate([a.actions, b.actions]),
            starts=np.concatenate([a.starts, b.starts[1:] + len(a)]),
            episodes=(*a.episodes, *b.episodes),
        )
        return cls.from_frames(frames, np.concatenate([first.points, second.points]))

    @classmethod
    def load(cls, folder: str | Path) -> ClipCorpus:
        """Memory-map a folder that `save` or `Frames.save` wrote.

        Raises:
            StoreError: the folder holds no frames.
            ConfigError: the keypoints or words are damaged.
        """
        folder, frames = Path(folder), Frames.load(folder)
        if not (folder / "words.npy").exists():
            return cls.from_frames(frames)
        arrays = map_arrays(folder, {"points": f"f4 n {NUM_POINTS} 2", "words": "f2 u l d"})
        points, words = (np.array(arrays[name]) for name in ("points", "words"))
        instructions = {e.instruction for e in frames.episodes}
        if (len(points), len(words)) != (len(frames), len(instructions)):
            raise ConfigError(f"{folder} is damaged: its keypoints or words are of other frames")
        return cls(frames, points, words, _rows(frames))

    def save(self, folder: str | Path) -> None:
        """Write plain arrays, from which a machine with only numpy and torch can train."""
        folder = Path(folder)
        for name in ("points", "words"):
            with replace_file(folder / f"{name}.npy") as file:
                np.save(file, getattr(self, name))
        self.frames.save(folder)


class Part(NamedTuple):
    """A corpus in a mixture."""

    corpus: ClipCorpus
    weight: float = 1.0
    """Share of the samples, relative to the other parts'."""


def _rows(frames: Frames) -> Int64[np.ndarray, " e"]:
    instructions = [e.instruction for e in frames.episodes]
    row = {text: i for i, text in enumerate(sorted(set(instructions)))}
    return np.array([row[text] for text in instructions])
