"""Crash-safe small files: files replaced atomically, and JSONL with atomic lines."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from soar.errors import ConfigError, FileError
from soar.utils.hub import HUB, check_own, hub_folder, pinned_name
from soar.utils.objects import check_no_part, is_object_url, object_of

Json: TypeAlias = Any
"""JSON value: dict with string keys, list, str, int, float, bool or None."""

DISK_FULL = "the disk is full; free some space"
"""Message of a full disk."""
_TEMPORARY = ".soar-tmp"
"""End of the names of temporary files. Each is locked by its writer while it is written."""


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` at the end, atomically and durably; creates folders.

    After an error there is no trace of it. What killed writers left in the folder is removed.

    Raises:
        FileError: the file can't be written.
        ConfigError: it is in a copy of a folder on the Hub.
    """
    check_own(path.parent)
    check_no_part(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise FileError(f"{path} can't be written: it is no regular file")
        remove_temporaries(path.parent)
        temporary, file = _locked_temporary(path.parent)
        with file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an OSError into a FileError that says in one line that `path` can't be written, and why."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path} can't be written: {os_problem(error)}") from error


def os_problem(error: OSError) -> str:
    """Return the cause of an OSError in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return DISK_FULL
    return " ".join(str(error.strerror or error or type(error).__name__).split())[:200]


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _locked_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file and lock it before anyone can take it for a leftover."""
    while True:
        path = folder / f".{secrets.token_hex(8)}{_TEMPORARY}"
        file = path.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            return path, file
        file.close()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; creates folders. Raises FileError."""
    with replace_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Json) -> None:
    """Replace a JSON file atomically and durably; creates folders. Raises FileError."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def refresh_json(path: Path, value: Json) -> None:
    """Replace a small JSON file; while the disk is full, overwrite it, which takes no space. Raises FileError."""
    try:
        write_json(path, value)
    except FileError:
        if not path.is_file():
            raise
        data = (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
        with writing(path), path.open("r+b") as file:
            file.write(data.ljust(os.fstat(file.fileno()).st_size))


def read_bytes(path: Path, most: int = 2**29) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        ConfigError: it is missing, too large, a folder, device or pipe, or can't be read.
    """
    try:
        if not path.is_file():
            found = "is no regular file" if path.exists() else "is missing"
            raise ConfigError(f"{path} {found}")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # read(most) would reserve that much memory
            data = file.read(min(size, most) + 1)
    except (OSError, ValueError) as error:  # a ValueError: a zero byte in the name
        problem = os_problem(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path} can't be read: {problem}") from error
    if len(data) > most:
        raise ConfigError(f"{path} is too large; valid: up to {most} bytes")
    return data


def file_inside(folder: Path, name: str, ending: str) -> Path | None:
    """Return the file that others' data names, if it is a regular one inside the folder, links included.

    Args:
        folder: the only folder in which it may be.
        name: relative path.
        ending: end of valid names, such as ".mp4".
    """
    try:
        path = (folder / name).resolve()
        valid = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
        return None
    return path if valid and not Path(name).is_absolute() and name.endswith(ending) else None


def read_text(path: Path, most: int = 2**29) -> str:
    """Read a text file in UTF-8, without its byte-order mark. Raises ConfigError."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None


def read_json(path: Path) -> Json:
    """Read a JSON file. Raises ConfigError if it is missing or isn't JSON."""
    return _parse(path, read_text(path))


def append_lines(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    """Append all rows to a JSONL file or none, after removing an incomplete last line that a crash left.

    Threads and processes may append to one file at once.

    Raises:
        FileError: the file can't be written.
        ConfigError: it is in a copy of a folder on the Hub.
    """
    check_own(path.parent)
    check_no_part(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            complete = file.read().rfind(b"\n") + 1
            file.truncate(complete)
            try:
                while data:
                    data = data[file.write(data) :]
            except BaseException:  # as of a full disk, with some of the rows written
                with contextlib.suppress(OSError):
                    file.truncate(complete)
                raise


def read_lines(path: Path) -> list[dict[str, Json]]:
    """Read the rows of a JSONL file; none if there is no file. An incomplete last line is left out.

    Raises:
        ConfigError: a complete line isn't a JSON object.
    """
    if not path.exists():
        return []
    text = read_text(path)
    rows = [_parse(path, line) for line in text[: text.rfind("\n") + 1].split("\n") if line]
    if wrong := [row for row in rows if not isinstance(row, dict)]:
        raise ConfigError(f"{path} is damaged: {wrong[0]!r:.60} is no JSON object")
    return rows


def _parse(path: Path, text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path} is damaged: it is nested too deeply") from None


def local_path(text: str, *, quick: bool = False) -> Path:
    """Return the path of a file or folder on this machine, with "~" expanded.

    For a folder on the Hub it is that of its local copy, likewise for one in object storage (`soar.utils.mirrors`); for
    a store there, it is the folder for what stays local of it. `quick`: give up after seconds where object storage
    doesn't answer.

    Raises:
        ConfigError: it is another URL, or the Hub hasn't got it (`soar.utils.hub`).
        FileError: object storage can't be reached or refuses.
    """
    if text.startswith(HUB):
        return hub_folder(text)
    if is_object_url(text):
        from soar.utils.mirrors import local_folder

        return local_folder(text, quick=quick)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ConfigError(f"'{text}' is a URL; valid: a file or folder on this machine")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"'{text}' begins with the home of an unknown user") from None


def public_name(path: str | Path) -> str:
    """Return the name by which others know a path that `local_path` returned: its URL, or its name on the Hub."""
    return str(object_of(path) or pinned_name(path))


def short_name(folder: Path) -> str:
    """Return the last part of a folder's name, or of the URL that it stands for."""
    url = object_of(folder)
    return url.name if url else folder.resolve().name


def cache_folder() -> Path:
    """Return the folder of corpora and unfinished weights: SOAR_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SOAR_CACHE") or f"{home}/soar").expanduser()
