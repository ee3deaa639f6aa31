"""Cases by name, and what each showed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.attack.tools.checkout import LIMIT_S, ROOT, Lab

MADE = ROOT / "tests" / "formats" / "made_by_975160d"
"""Stores, checkpoints and runs that every commit since 975160d reads."""


class Finding(NamedTuple):
    """What a case showed."""

    works: bool
    seen: str


Case = Callable[[Lab], Finding]
CASES: dict[str, tuple[str, Case]] = {}
"""What is put in, and the function that tries it, by the name of the case."""


def case(name: str, given: str) -> Callable[[Case], Case]:
    """Register a case."""

    def register(function: Case) -> Case:
        CASES[name] = (given, function)
        return function

    return register


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
    """Wait for a condition, and return whether it came true within the limit [s]."""
    end = time.monotonic() + limit_s
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return true


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk in a new folder. Raises PermissionError: only root may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("mounting isn't permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(disk: Path, free: int) -> Path:
    """Fill a disk up to a number of free bytes, and return the file that does."""
    stat, ballast = os.statvfs(disk), disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))
    return ballast
