"""The corpus that the compact VLM learns from: plain arrays and one JSON file on disk."""

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
    """n images, each with q questions; all questions' words once."""

    images: UInt8[np.ndarray, "n r r 3"]
    questions: Int32[np.ndarray, "n q"]
    """Index into `words`."""
    kinds: Int32[np.ndarray, "n q"]
    """Index into `soar.tasks.questions.QUESTION_KINDS`."""
    answers: Bool[np.ndarray, "n q"]
    points: Float32[np.ndarray, "n q 2 2"]
    """x and y in the image, each in [-1, 1], of thing and container; NaN for none."""
    scenes: Int32[np.ndarray, "n"]
    """Number of the scene that an image shows."""
    words: tuple[str, ...]
    about: Mapping[str, Json]
    """How it was made."""

    @classmethod
    def load(cls, folder: str | Path) -> VLMCorpus:
        """Open a corpus; images stay on disk until they are read. Raises ConfigError if there is none."""
        folder = Path(folder)
        if not (folder / "corpus.json").is_file():
            raise ConfigError(f"no corpus in {folder}: it has no corpus.json; make one first")
        about = json.loads((folder / "corpus.json").read_text())
        arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in ARRAYS}
        return cls(**arrays, words=tuple(about.pop("words")), about=about)

    def split(self, share: float) -> tuple[Int32[np.ndarray, "a"], Int32[np.ndarray, "b"]]:
        """Indices for training and of the last `share` of scenes, held out: no scene is in both."""
        first = round((self.scenes.max() + 1) * (1 - share))
        rows = np.arange(len(self.scenes), dtype=np.int32)
        return rows[self.scenes < first], rows[self.scenes >= first]
