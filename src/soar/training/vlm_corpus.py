"""Training corpus of the compact VLM: plain arrays and one JSON file, readable without the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from soar.errors import ConfigError
from soar.utils.arrays import check_indices, map_arrays
from soar.utils.files import Json, read_json

ARRAYS = {
    "images": "u1 n r r 3", "questions": "i4 n q", "kinds": "i4 n q", "answers": "b1 n q", "points": "f4 n q 2 2",
    "scenes": "i4 n",
}  # fmt: skip
"""Type and shape of each array, as `soar.utils.arrays` reads it."""


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
        """Open a corpus with its arrays memory-mapped. Raises ConfigError: there is none, or it is damaged."""
        folder = Path(folder)
        if not (folder / "corpus.json").is_file():
            raise ConfigError(f"no corpus in {folder}: it has no corpus.json; make one first")
        about = read_json(folder / "corpus.json")
        words = about.pop("words", None) if isinstance(about, dict) else None
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise ConfigError(f"{folder / 'corpus.json'} is damaged: it has no list of words")
        arrays = map_arrays(folder, ARRAYS)
        check_indices(folder, arrays["questions"], len(words))
        return cls(**arrays, words=tuple(words), about=about)

    def split(self, share: float) -> tuple[Int32[np.ndarray, "a"], Int32[np.ndarray, "b"]]:
        """Return the rows for training, and those of the last `share` of the scenes, which are held out.

        A share of 1 holds out all; any other leaves a scene at least on either side.

        Raises:
            ConfigError: there is a single scene.
        """
        count = int(self.scenes.max()) + 1
        if share < 1 and count < 2:
            raise ConfigError(
                "all images of the corpus are of one scene, and some are held out; valid: more images"
            )
        first = 0 if share == 1 else min(count - 1, max(1, round(count * (1 - share))))
        rows = np.arange(len(self.scenes), dtype=np.int32)
        return rows[self.scenes < first], rows[self.scenes >= first]
