"""Statistics of a LeRobot data set's features: `meta/stats.json`.

Numbers are exact over all frames. Images are described by a histogram of sampled pixels, which is exact for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from soar.data.store.images import decode
from soar.utils.files import Json

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
Histogram = Int64[np.ndarray, "3 256"]
_MOST_ROWS = 2**24
"""Most rows for which quantiles are exact; of a longer data set only every second, third, ... row counts."""


def sample(images: Sequence[bytes]) -> list[bytes]:
    """Return the images of an episode that count for the statistics: a few, evenly spread."""
    count = max(1, round(len(images) ** 0.75 / 8))
    return [images[i] for i in np.linspace(0, len(images) - 1, count).round().astype(int)]


def histogram(images: Iterable[bytes]) -> Histogram:
    """Return how often each value of each channel occurs, in every second pixel of larger images."""
    counts: Histogram = np.zeros((3, 256), np.int64)
    for image in images:
        pixels = decode(image)
        stride = 1 if max(pixels.shape) < 300 else max(pixels.shape) // 150
        for channel in range(3):
            values = pixels[::stride, ::stride, channel].ravel()
            counts[channel] += np.bincount(values, minlength=256)
    return counts


def image_statistics(counts: Histogram, images: int) -> Json:
    """Return statistics of images in [0, 1], each of shape (3, 1, 1)."""
    values = np.arange(256) / 255
    weights = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mean = weights @ values
    found: dict[str, Float64[np.ndarray, "3"]] = {
        "min": values[(counts > 0).argmax(1)],
        "max": values[255 - (counts[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(weights @ values**2 - mean**2, 0)),
    }
    below = weights.cumsum(1)
    for q in QUANTILES:
        found[_name(q)] = values[(below >= q - 1e-12).argmax(1)]
    shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}
    return shaped | {"count": [images]}


def number_statistics(values: Float64[np.ndarray, "n d"]) -> Json:
    """Return statistics of vectors."""
    found = {
        "min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0),
    }  # fmt: skip
    part = values[:: 1 + len(values) // _MOST_ROWS]
    for q, value in zip(QUANTILES, np.quantile(part, QUANTILES, axis=0), strict=True):
        found[_name(q)] = value
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(values)]}


def column_statistics(files: Sequence[Path], features: Mapping[str, Json]) -> dict[str, Json]:
    """Return statistics of all features that are numbers, one column in memory at a time."""
    return {
        name: number_statistics(_column(files, name))
        for name, feature in features.items()
        if feature["dtype"] not in ("image", "video", "string")
    }


def _column(files: Sequence[Path], name: str) -> Float64[np.ndarray, "n d"]:
    import pyarrow.parquet as pq

    parts = []
    for path in files:
        column = pq.read_table(path, columns=[name], memory_map=True)[name].combine_chunks()
        rows = len(column)
        flat = column.flatten() if hasattr(column.type, "list_size") else column
        numbers = flat.to_numpy(zero_copy_only=False).astype(np.float64)
        parts.append(numbers.reshape(rows, -1))
    whole: Float64[np.ndarray, "n d"] = np.concatenate(parts)
    return whole


def _name(quantile: float) -> str:
    return f"q{round(100 * quantile):02d}"
