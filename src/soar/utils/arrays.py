"""Files of NumPy arrays, read without code, checked, and with one error for whatever is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from soar.errors import ConfigError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Layout: TypeAlias = Mapping[str, str]
"""Type and shape of each array: {"images": "u1 n r r 3", "instructions": "U u"}. A letter is one size everywhere."""


def read_arrays(path: Path, layout: Layout | None = None) -> dict[str, Array]:
    """Read arrays of a .npz file: those of a layout, or all.

    Raises:
        ConfigError: it is missing, damaged, holds objects, or an array isn't as the layout says.
    """
    try:
        _check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (layout or file.files)}
    except Exception as error:
        raise _damaged(path, error) from error
    check_layout(arrays, layout or {}, path)
    return arrays


def map_arrays(folder: Path, layout: Layout) -> dict[str, Array]:
    """Map the files NAME.npy of a folder into memory, as `read_arrays` reads one file."""
    arrays: dict[str, Array] = {}
    for name in layout:
        path = folder / f"{name}.npy"
        try:
            _check_regular(path)
            arrays[name] = np.lib.format.open_memmap(path, mode="r")
        except Exception as error:
            raise _damaged(path, error) from error
    check_layout(arrays, layout, folder)
    return arrays


def check_layout(arrays: Mapping[str, Array], layout: Layout, where: Path) -> None:
    """Raise ConfigError if an array has another type or shape than the layout says."""
    sizes: dict[str, int] = {}
    for name, expected in layout.items():
        array = arrays[name]
        kind, *dims = expected.split()
        found = array.dtype.kind if kind == "U" else array.dtype.str[1:]
        fits = found == kind and array.ndim == len(dims)
        if not fits or any(
            size != (int(dim) if re.fullmatch(r"\d+", dim) else sizes.setdefault(dim, size))
            for dim, size in zip(dims, array.shape, strict=True)
        ):
            raise ConfigError(
                f"{where} is damaged: '{name}' is {array.dtype} of shape {array.shape}, not {expected}"
            )


def check_indices(where: Path, indices: Array, count: int) -> None:
    """Raise ConfigError for an index that isn't among `count`."""
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        raise ConfigError(f"{where} is damaged: an index isn't within 0..{count - 1}")


def _check_regular(path: Path) -> None:
    """Raise OSError for a pipe or device, which could be read forever."""
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")


def _damaged(path: Path, error: Exception) -> ConfigError:
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"{path} is missing")
    problem = " ".join(str(error).split())[:150] or type(error).__name__
    return ConfigError(f"{path} is damaged: {problem}")
