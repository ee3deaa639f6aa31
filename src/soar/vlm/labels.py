"""A person's labels of episodes in a CSV file with the columns id, instruction, success (yes, no or unsure).

The file may be in object storage, beside a store there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from soar.errors import ConfigError
from soar.types import EpisodeSummary, Image
from soar.utils.files import read_text, write_bytes
from soar.utils.objects import AnyPath, ObjectPath, object_of

_COLUMNS = ("id", "instruction", "success")
_WORDS: dict[str, bool | None] = {"yes": True, "y": True, "1": True, "true": True, "success": True,
          "no": False, "n": False, "0": False, "false": False, "failure": False, "unsure": None}  # fmt: skip
_WRITTEN = {True: "yes", False: "no", None: "unsure"}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of text that a spreadsheet would run as a formula."""


def read_labels(path: str | AnyPath) -> dict[str, bool | None]:
    """Return success by episode id, None where the person was unsure; empty if there is no file.

    Raises:
        ConfigError: it can't be read; the message names a wrong line.
        FileError: object storage can't be reached.
    """
    text = _read(path := _file(path))
    if text is None:
        return {}
    labels: dict[str, bool | None] = {}
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {"id", "success"} <= set(rows.fieldnames or ()):
            raise ConfigError(f"{path} needs the columns id and success (yes, no or unsure)")
        for number, row in enumerate(rows, 2):
            word = (row["success"] or "").strip().lower()
            if word not in _WORDS:
                raise ConfigError(
                    f"{path}, line {number}: success must be yes, no or unsure, not '{word:.40}'"
                )
            labels[row["id"]] = _WORDS[word]
    except csv.Error as error:
        raise ConfigError(f"{path} is no CSV file: {error}") from error
    return labels


def write_labels(
    path: str | AnyPath, labels: Mapping[str, bool | None], episodes: Mapping[str, EpisodeSummary]
) -> None:
    """Write the labels of episodes, replacing the file whole or not at all. Raises FileError."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for id, success in labels.items():
        instruction = episodes[id].instruction if id in episodes else ""
        shown = f"'{instruction}" if instruction.startswith(_FORMULA) else instruction
        rows.writerow((id, shown, _WRITTEN[success]))
    data, path = text.getvalue().encode(), _file(path)
    if isinstance(path, Path):
        write_bytes(path, data)
    else:
        path.write_bytes(data)


def _file(path: str | AnyPath) -> AnyPath:
    """Return the file of a path, which is in object storage where the path stands for a URL."""
    return path if isinstance(path, ObjectPath) else object_of(path) or Path(path)


def _read(path: AnyPath) -> str | None:
    """Return a file's text; None without one. Raises ConfigError, FileError."""
    if isinstance(path, Path):
        return read_text(path) if path.exists() else None
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None


def to_blocks(image: Image) -> str:
    """Return an image as colored half blocks, two pixels per character, for a terminal with true color."""
    lines = []
    for top, bottom in zip(image[::2], image[1::2], strict=False):
        cells = (
            f"\x1b[38;2;{';'.join(map(str, a))}m\x1b[48;2;{';'.join(map(str, b))}m▀"
            for a, b in zip(top.tolist(), bottom.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
