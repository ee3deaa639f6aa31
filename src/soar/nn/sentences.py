"""Embeddings of instructions from a file, for sentence encoders that can't be run here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from soar.errors import ConfigError
from soar.utils.files import read_json

FILES = (".json", ".npz")
"""Endings of these files."""


class Sentences(NamedTuple):
    """Instructions and their embeddings."""

    sentences: tuple[str, ...]
    vectors: Float32[Tensor, "n d"]


def read_sentences(path: Path) -> Sentences:
    """Read a JSON object of instructions and their numbers, or an .npz with `sentences` (n,) and `vectors` (n, d).

    Raises:
        ConfigError: the file is another one, holds none, or the same instruction twice.
    """
    found, vectors = _read_npz(path) if path.suffix == ".npz" else _read_object(path)
    if (
        vectors.ndim != 2
        or len(vectors) != len(found)
        or not vectors.size
        or not np.isfinite(vectors).all()
    ):
        raise ConfigError(
            f"{path}: {len(found)} sentences with vectors of shape {vectors.shape}; valid: as many finite "
            "numbers for each"
        )
    if len(set(found)) < len(found):
        raise ConfigError(f"{path} has a sentence twice")
    return Sentences(tuple(found), torch.from_numpy(vectors))


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            vectors = np.asarray(file["vectors"]).astype(np.float32)
            return [str(text) for text in file["sentences"]], vectors
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ConfigError(
            f"{path} isn't an .npz of sentences and vectors ({error!s:.80})"
        ) from error


def _read_object(path: Path) -> tuple[list[str], np.ndarray]:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    data = read_json(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is no JSON object of instructions and their numbers")
    try:
        return list(data), np.array(list(data.values()), np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: the instructions need as many numbers each") from error
