"""The disk below the store: waiting for it, and its errors in one family and one line of words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LANCE_ERRORS = (OSError, ValueError, RuntimeError)
"""What pylance raises when a file is missing, damaged or can't be written."""


@contextmanager
def no_panic() -> Iterator[None]:
    """Lance's panics, which some damaged bytes cause and which are no `Exception`, as OSError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(f"its bytes make no sense ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """A library's error, short enough for one of ours."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return "the disk is full; free some space"
    text = str(error) or type(error).__name__
    return text.splitlines()[0].split(", /")[0][:200]


def flush(*paths: Path) -> None:
    """Wait until files, and folders' lists of names, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
