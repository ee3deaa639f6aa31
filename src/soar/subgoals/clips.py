"""Image sequences with instructions as plain arrays: the training data of the compact subgoal generator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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

_BLOCK = 256
"""Instructions that are embedded at once."""
NUM_POINTS = 7
Points = Float32[np.ndarray, "n 7 2"]
"""Image coordinates of seven keypoints, x and y in [-1, 1], NaN where unknown.

In order: named object, named container, gripper, and the arm's `soar.sim.projection.arm_positions` (both fingertips,
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
    def from_frames(
        cls, frames: Frames, points: Points | None = None, cache: Path | None = None
    ) -> ClipCorpus:
        """Embed the instructions of some frames.

        Args:
            frames: the frames.
            points: their keypoints; without them all are NaN.
            cache: folder for the embeddings, which are then read from the disk as they are needed.
        """
        if points is None:
            points = np.broadcast_to(np.float32(np.nan), (len(frames), NUM_POINTS, 2))
        instructions = sorted({e.instruction for e in frames.episodes})
        if cache is None:
            words = SentenceEncoder().tokens(instructions, MAX_TOKENS).half().numpy()
        else:
            words = _words_on_disk(instructions, cache)
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


def _words_on_disk(instructions: Sequence[str], cache: Path) -> Float16[np.ndarray, "u l d"]:
    """Return token embeddings mapped from a file, which is written once, block by block."""
    from soar.utils.progress import progress_bar

    name = hashlib.sha256(json.dumps(instructions).encode()).hexdigest()[:16]
    path = cache / f"words-{name}.npy"
    if not path.exists():
        encoder = SentenceEncoder()
        shape = (len(instructions), MAX_TOKENS, encoder.dim)
        about = {"descr": "<f2", "fortran_order": False, "shape": shape}
        with replace_file(path) as file, progress_bar() as bar:
            task = bar.add_task("reading captions", total=len(instructions), note="")
            np.lib.format.write_array_header_1_0(file, about)
            for start in range(0, len(instructions), _BLOCK):
                block = instructions[start : start + _BLOCK]
                file.write(encoder.tokens(block, MAX_TOKENS).half().numpy().tobytes())
                bar.advance(task, len(block))
    words: Float16[np.ndarray, "u l d"] = np.load(path, mmap_mode="r")
    return words


def _rows(frames: Frames) -> Int64[np.ndarray, " e"]:
    instructions = [e.instruction for e in frames.episodes]
    row = {text: i for i, text in enumerate(sorted(set(instructions)))}
    return np.array([row[text] for text in instructions])
