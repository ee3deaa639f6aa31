"""A person's labels of episodes in a CSV file with the columns id, instruction, success (yes, no or unsure).

The file may be in object storage, beside a store there.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from soar.errors import ConfigError
from soar.types import EpisodeSummary, Image
from soar.utils.files import read_text, write_bytes, writing
from soar.utils.hub import check_own
from soar.utils.objects import AnyPath, Changed, ObjectPath, Tag, object_of

_COLUMNS = ("id", "instruction", "success")
_WORDS: dict[str, bool | None] = {"yes": True, "y": True, "1": True, "true": True, "success": True,
          "no": False, "n": False, "0": False, "false": False, "failure": False, "unsure": None}  # fmt: skip
_WRITTEN = {True: "yes", False: "no", None: "unsure"}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of text that a spreadsheet would run as a formula."""


_TRIES = 10
"""Number of times that a file in object storage is read and written anew when others write it, too."""


class _Row(NamedTuple):
    """An episode's label, and its instruction as the file has it."""

    instruction: str
    success: bool | None


def read_labels(path: str | AnyPath) -> dict[str, bool | None]:
    """Return success by episode id, None where the person was unsure; empty if there is no file.

    Raises:
        ConfigError: it can't be read; the message names a wrong line.
        FileError: object storage can't be reached.
    """
    return _successes(_read(_file(path))[0])


def update_label(
    path: str | AnyPath, episode: EpisodeSummary, success: bool | None, *, forget: bool = False
) -> dict[str, bool | None]:
    """Store or forget the label of one episode, and keep those that others write meanwhile.

    Args:
        path: the file, which need not exist yet.
        episode: the episode.
        success: its label; None where the person was unsure.
        forget: remove its label.

    Returns:
        All labels, as `read_labels` does.

    Raises:
        ConfigError, FileError: the file can't be read or written.
    """
    path, row = _file(path), None if forget else _Row(episode.instruction, success)
    if isinstance(path, Path):
        with _locked(path):
            rows = _with_row(_read(path)[0], episode.id, row)
            write_bytes(path, _to_csv(rows))
        return _successes(rows)
    for _ in range(_TRIES):
        known, tag = _read(path)
        rows = _with_row(known, episode.id, row)
        with contextlib.suppress(Changed, FileExistsError):
            path.write_if(_to_csv(rows), tag)
            return _successes(rows)
    raise Changed(f"{path} is being written by others; try again")


def _with_row(rows: Mapping[str, _Row], id: str, row: _Row | None) -> dict[str, _Row]:
    """Return the rows with another one of an episode; without one for None."""
    if row is None:
        return {other: known for other, known in rows.items() if other != id}
    return {**rows, id: row}


def _successes(rows: Mapping[str, _Row]) -> dict[str, bool | None]:
    return {id: row.success for id, row in rows.items()}


def _to_csv(rows: Mapping[str, _Row]) -> bytes:
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(_COLUMNS)
    for id, (instruction, success) in rows.items():
        shown = f"'{instruction}" if instruction.startswith(_FORMULA) else instruction
        lines.writerow((id, shown, _WRITTEN[success]))
    return text.getvalue().encode()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from updating a file meanwhile. Raises ConfigError, FileError."""
    check_own(path.parent)
    with contextlib.ExitStack() as stack:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((path.parent / f".{path.name}.lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _file(path: str | AnyPath) -> AnyPath:
    """Return the file of a path, which is in object storage where the path stands for a URL."""
    return path if isinstance(path, ObjectPath) else object_of(path) or Path(path)


def _read(path: AnyPath) -> tuple[dict[str, _Row], Tag]:
    """Return a file's rows by episode id, none if there is no file; in object storage with its tag, else {}.

    Raises:
        ConfigError, FileError: see `read_labels`.
    """
    tag: Tag = {}
    if isinstance(path, Path):
        return (_rows(path, read_text(path)) if path.exists() else {}), tag
    try:
        data, tag = path.read_tagged()
        return _rows(path, data.decode("utf-8-sig")), tag
    except FileNotFoundError:
        return {}, tag
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None


def _rows(path: AnyPath, text: str) -> dict[str, _Row]:
    """Return the rows of a file's text by episode id. Raises ConfigError."""
    found: dict[str, _Row] = {}
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
            found[row["id"]] = _Row(row.get("instruction") or "", _WORDS[word])
    except csv.Error as error:
        raise ConfigError(f"{path} is no CSV file: {error}") from error
    return found


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
