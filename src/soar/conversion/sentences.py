"""Embeddings of instructions from a file, for encoders that can't be run here (MUSE)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from soar.conversion.settings import AgentSettings
from soar.errors import ConfigError
from soar.utils.files import read_json

DIM = 512
"""Length of MUSE's embeddings."""


class Sentences(NamedTuple):
    """Instructions and their embeddings."""

    sentences: tuple[str, ...]
    vectors: Float32[Tensor, "n 512"]


def read_sentences(path: Path) -> Sentences:
    """Read a JSON object of instructions and their 512 numbers, or an .npz with `sentences` (n,) and `vectors` (n, 512).

    Raises:
        ConfigError: the file is another one, holds none, or the same instruction twice.
    """
    found, vectors = _read_npz(path) if path.suffix == ".npz" else _read_object(path)
    if vectors.shape != (len(found), DIM) or not len(found) or not np.isfinite(vectors).all():
        raise ConfigError(
            f"{path}: {len(found)} sentences with vectors of shape {vectors.shape}; valid: {DIM} finite numbers each"
        )
    if len(set(found)) < len(found):
        raise ConfigError(f"{path} has a sentence twice")
    return Sentences(tuple(found), torch.from_numpy(vectors.astype(np.float32)))


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(text) for text in file["sentences"]], np.asarray(file["vectors"])
    except (OSError, KeyError, ValueError) as error:
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
        raise ConfigError(f"{path}: the instructions need {DIM} numbers each") from error


def known_sentences(settings: AgentSettings, sentences: Sentences | None) -> Sentences:
    """Return the embeddings for an agent of MUSE. Raises ConfigError: it has another encoder, or they are missing."""
    if settings.text != "muse_embedding":
        raise ConfigError(
            f"{settings.path}: the sentence encoder '{settings.text}' can't be converted; convertible: muse_embedding"
        )
    if sentences is None:
        raise ConfigError(
            "this model takes MUSE embeddings, which can't be made here; name a file of them with --vectors"
        )
    return sentences
