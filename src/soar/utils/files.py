"""Crash-safe small files: JSON replaced atomically, and JSONL with atomic lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from soar.errors import ConfigError

Json: TypeAlias = Any
"""JSON value: dict with string keys, list, str, int, float, bool or None."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; creates folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Json) -> None:
    """Replace a JSON file atomically and durably; creates folders."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Json:
    """Read a JSON file. Raises ConfigError if it is missing or isn't JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing") from error
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def append_lines(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    """Append rows to a JSONL file in one write, after removing an incomplete last line that a crash left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        complete = file.read().rfind(b"\n") + 1
        file.truncate(complete)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def read_lines(path: Path) -> list[dict[str, Json]]:
    """Read the rows of a JSONL file; none if there is no file. An incomplete last line is left out.

    Raises:
        ConfigError: a complete line isn't JSON.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line]
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def cache_folder() -> Path:
    """Return the folder of corpora and unfinished weights: SOAR_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("SOAR_CACHE", f"{home}/soar")).expanduser()
