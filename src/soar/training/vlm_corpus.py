"""Training corpus of the compact VLM: plain arrays and one JSON file, readable without the simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from soar.errors import ConfigError
from soar.utils.files import Json

ARRAYS = ("images", "questions", "kinds", "answers", "points", "scenes")


@dataclass(frozen=True, eq=False)
class VLMCorpus:
    """n images with q questions each."""

    images: UInt8[np.ndarray, "n r r 3"]
    questions: Int32[np.ndarray, "n q"]
    """Indices into `words`."""
    kinds: Int32[np.ndarray, "n q"]
    """Indices into `soar.tasks.questions.QUESTION_KINDS`."""
    answers: Bool[np.ndarray, "n q"]
    points: Float32[np.ndarray, "n q 2 2"]
    """Image positions of object and container, x right and y down in [-1, 1]; NaN for none."""
    scenes: Int32[np.ndarray, "n"]
    """Number of each image's scene."""
    words: tuple[str, ...]
    """Texts of all questions, each once."""
    about: Mapping[str, Json]
    """Settings of its generation."""

    @classmethod
    def load(cls, folder: str | Path) -> VLMCorpus:
        """Open a corpus with its arrays memory-mapped. Raises ConfigError if there is none."""
        folder = Path(folder)
        if not (folder / "corpus.json").is_file():
            raise ConfigError(f"no corpus in {folder}: it has no corpus.json; make one first")
        about = json.loads((folder / "corpus.json").read_text())
        arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in ARRAYS}
        return cls(**arrays, words=tuple(about.pop("words")), about=about)

    def split(self, share: float) -> tuple[Int32[np.ndarray, "a"], Int32[np.ndarray, "b"]]:
        """Return the rows for training, and those of the last `share` of the scenes, which are held out."""
        first = round((self.scenes.max() + 1) * (1 - share))
        rows = np.arange(len(self.scenes), dtype=np.int32)
        return rows[self.scenes < first], rows[self.scenes >= first]
