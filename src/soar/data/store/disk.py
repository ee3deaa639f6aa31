"""Disk access of the store: flushing, and errors as one family with one-line messages."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

from soar.errors import StoreError
from soar.utils.files import DISK_FULL
from soar.utils.objects import AnyPath, ObjectPath

LANCE_ERRORS = (OSError, ValueError, RuntimeError)
"""Errors of pylance when a file is missing, damaged or can't be written."""
_MANIFEST_END = b"LANC"
_user: dict[str, int] = {}
"""Process that used Lance first, this one or one that it was forked from; empty before."""


@contextmanager
def no_panic() -> Iterator[None]:
    """Turn Lance's panics, which some damaged bytes cause and which aren't an `Exception`, into OSError.

    Raises:
        StoreError: this process was forked from one that uses Lance, which would crash or hang here.
    """
    if _user.setdefault("pid", os.getpid()) != os.getpid():
        raise StoreError(
            "a forked process can't use a store that was used before the fork; valid: processes that are spawned, "
            "such as DataLoader(..., multiprocessing_context='forkserver')"
        )
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(f"its bytes make no sense ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """Return a library's error message in one line of at most 200 characters."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return DISK_FULL
    text = str(error) or type(error).__name__
    return text.splitlines()[0].split(", /")[0][:200]


def flush(*paths: AnyPath) -> None:
    """Wait until files, and folders' directory entries, are on the disk; objects in object storage are durable."""
    for path in paths:
        if isinstance(path, ObjectPath):
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def adding(store: Path, *, alone: bool) -> Iterator[None]:
    """Hold a store for adding episodes under ids that others may add, too; a new episode's random id needs no holding.

    Args:
        store: its local folder; of one in object storage, only this machine's processes are kept out.
        alone: for an import; copies, which are the same whoever makes them, go on beside each other.

    Raises:
        StoreError: an import is under way, or this is one and a copy is.
    """
    about = store / "store.json"
    with about.open("r+b" if os.access(about, os.W_OK) else "rb") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another command imports or copies episodes into '{store}'; wait until it ends"
            ) from None
        except OSError:
            pass  # the file system has no locks
        yield


def check_regular(table: AnyPath) -> None:
    """Raise OSError for a pipe or device in place of one of the table's files, which could be read forever."""
    if isinstance(table, Path):
        for folder in (p for p in table.glob("*") if p.is_dir()):
            with os.scandir(folder) as entries:
                if odd := [e.path for e in entries if not (e.is_file() or e.is_dir())]:
                    raise OSError(f"{odd[0]} is no regular file")


def is_whole_manifest(path: Path) -> bool:
    """Whether a manifest was written to its end."""
    if not S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        return size > 16 and file.read() == _MANIFEST_END
