"""Image sequences with instructions, in plain arrays: what the compact subgoal generator learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, Int64

from soar.data.frame_cache import Frames
from soar.nn.text import SentenceEncoder

WORDS = 24
"""Tokens of an instruction that are read."""

POINTS = 7
Points = Float32[np.ndarray, "n 7 2"]
"""x and y in [-1, 1], in each image, of named thing, container, hand, and of the arm's `sim.pointing.limbs`; NaN
where there is none."""


@dataclass(frozen=True, eq=False)
class ClipCorpus:
    """Frames of episodes, with the words of each and the places it speaks of."""

    frames: Frames
    points: Points
    words: Float16[np.ndarray, "u l d"]
    """Token embeddings of each different instruction."""
    rows: Int64[np.ndarray, " e"]
    """Which of `words` is an episode's."""

    @property
    def instructions(self) -> list[str]:
        """The different instructions, in the order of `words`."""
        return sorted({e.instruction for e in self.frames.episodes})

    @classmethod
    def of(cls, frames: Frames, points: Points | None = None) -> ClipCorpus:
        """Any frames with instructions; without points, nothing is pointed at."""
        instructions = sorted({e.instruction for e in frames.episodes})
        words = SentenceEncoder().tokens(instructions, WORDS).half().numpy()
        return cls(
            frames, _nowhere(len(frames)) if points is None else points, words, _rows(frames)
        )

    @classmethod
    def joined(cls, first: ClipCorpus, second: ClipCorpus) -> ClipCorpus:
        """Both, one after the other; of the same resolution."""
        a, b = first.frames, second.frames
        frames = Frames(
            images=np.concatenate([a.images, b.images]),
            states=np.concatenate([a.states, b.states]),
            actions=np.concatenate([a.actions, b.actions]),
            starts=np.concatenate([a.starts, b.starts[1:] + len(a)]),
            episodes=(*a.episodes, *b.episodes),
        )
        return cls.of(frames, np.concatenate([first.points, second.points]))

    @classmethod
    def load(cls, folder: str | Path) -> ClipCorpus:
        """Map a folder that `save` or `Frames.save` wrote. Raises StoreError: it is no such folder."""
        folder, frames = Path(folder), Frames.load(folder)
        if not (folder / "words.npy").exists():
            return cls.of(frames)
        points, words = (np.load(folder / f"{name}.npy") for name in ("points", "words"))
        return cls(frames, points, words, _rows(frames))

    def save(self, folder: str | Path) -> None:
        """Write plain arrays that a machine with only numpy and torch can train from."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "points.npy", self.points)
        np.save(folder / "words.npy", self.words)
        self.frames.save(folder)


def _rows(frames: Frames) -> Int64[np.ndarray, " e"]:
    instructions = [e.instruction for e in frames.episodes]
    row = {text: i for i, text in enumerate(sorted(set(instructions)))}
    return np.array([row[text] for text in instructions])


def _nowhere(n: int) -> Points:
    return np.full((n, POINTS, 2), np.nan, np.float32)
