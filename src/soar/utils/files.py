"""Small files that survive a crash: JSON replaced whole, and lines appended whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from soar.errors import ConfigError

Json: TypeAlias = Any
"""What JSON can hold: dict with string keys, list, str, int, float, bool, None."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Json) -> None:
    """Replace a JSON file atomically and durably; folders are made."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Json:
    """A JSON file's value. Raises ConfigError when it is missing or isn't JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing") from error
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def append_lines(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    """Append rows to a JSONL file in one write; a line that a crash left torn is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def read_lines(path: Path) -> list[dict[str, Json]]:
    """The whole rows of a JSONL file; none when there is no file yet. A torn last line is left out.

    Raises:
        ConfigError: a whole line isn't JSON.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line]
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def cache_folder() -> Path:
    """Where corpora and half-made weights lie between calls: SOAR_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("SOAR_CACHE", f"{home}/soar")).expanduser()
