"""Checks of the machine: rendering, store, disk and webhook."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from soar.data.store.images import encode
from soar.data.store.lance import SCHEMA, open_store
from soar.doctor.results import CheckResult, Failure, attempt
from soar.errors import StoreError
from soar.rollout.station import EpisodeConfig
from soar.types import Image
from soar.utils.notices import NoticeChannel

_RENDERING_TIMEOUT_S = 120.0
_TIGHT = 0.8
"""Share of the free space whose use gives a warning."""


class EpisodeSize(NamedTuple):
    """Space that an episode takes on disk."""

    bytes: float
    source: str
    """Origin of the number."""


def check_rendering() -> CheckResult:
    """Check that MuJoCo can render without a screen, in a separate process."""
    command = [sys.executable, "-m", "soar.sim.headless"]
    tried = attempt(
        lambda: subprocess.run(
            command, capture_output=True, text=True, timeout=_RENDERING_TIMEOUT_S
        )
    )
    if not isinstance(tried, Failure) and tried.returncode == 0:
        return CheckResult("rendering", "ok", "MuJoCo renders without a screen")
    lines = [str(tried)] if isinstance(tried, Failure) else tried.stderr.strip().splitlines()
    return CheckResult(
        "rendering",
        "failed",
        lines[-1] if lines else "MuJoCo's rendering crashed",
        "install EGL, on Debian or Ubuntu: sudo apt-get install libegl1 libgl1-mesa-dri",
    )


def check_store(path: Path) -> CheckResult:
    """Check that a store can be created, or that this version can read and write the existing one."""
    if path.exists() and not path.is_dir():
        return CheckResult("store", "failed", f"{path} is no folder", "name a folder")
    if not (path / "store.json").exists() and not (path.is_dir() and any(path.iterdir())):
        written = attempt(lambda: _write(_nearest(path)))
        if isinstance(written, Failure):
            return CheckResult(
                "store", "failed", str(written), f"choose another folder than {path}"
            )
        return CheckResult("store", "ok", f"{path} will be created")
    tried = attempt(lambda: _count_episodes(path))
    if isinstance(tried, Failure):
        advice = (
            f"see `soar data verify --store {path}`, or choose another folder"
            if isinstance(tried.error, StoreError)
            else f"make {path} writable, or choose another folder"
        )
        return CheckResult("store", "failed", str(tried), advice)
    return CheckResult("store", "ok", f"{tried} episodes, schema {SCHEMA}, writable")


def check_disk(path: Path, size: EpisodeSize | None, episodes: int | None) -> CheckResult:
    """Check that the disk has room for `episodes` more episodes."""
    free = shutil.disk_usage(_nearest(path)).free
    if size is None:
        what = f"{free / 1e9:.1f} GB free; the size of an episode is unknown"
        return CheckResult("disk", "warning", what, "check again when a station works")
    capacity = int(free / size.bytes)
    each = f"{size.bytes / 1e6:.2f} MB an episode ({size.source})"
    if episodes is None:
        return CheckResult(
            "disk", "ok", f"room for {capacity} episodes: {free / 1e9:.1f} GB free, {each}"
        )
    need = episodes * size.bytes
    what = f"{episodes} episodes need {need / 1e9:.2f} GB of {free / 1e9:.1f} GB: {each}"
    if need > free:
        advice = f"free some space, choose another disk, or collect at most {capacity} episodes"
        return CheckResult("disk", "failed", what, advice)
    if need > _TIGHT * free:
        return CheckResult("disk", "warning", what, "free some space: training needs room as well")
    return CheckResult("disk", "ok", what)


def check_notices(name: str, channel: NoticeChannel) -> CheckResult:
    """Send a test message by one of a station's ways to tell a person."""
    kind = type(channel).__name__.lower()
    message = {"station": name, "kind": "test", "message": f"test of the {kind} by soar doctor"}
    problem = attempt(lambda: channel.send(message).wait())
    if problem:
        advice = f"correct the {kind} in the station's file; without it only `soar status` shows problems"
        return CheckResult(f"{name}: {kind}", "warning", str(problem), advice)
    return CheckResult(f"{name}: {kind}", "ok", "received a test message")


def episode_size(path: Path, images: Sequence[Image], episode: EpisodeConfig) -> EpisodeSize | None:
    """Return the mean size of stored episodes, else an estimate from camera images; None without either."""
    stored = attempt(lambda: _stored_sizes(path))
    if not isinstance(stored, Failure) and stored:
        return EpisodeSize(float(np.mean(stored)), "mean of the store")
    if not images:
        return None
    frame = float(np.mean([len(encode(image)) for image in images]))
    frames = episode.length + 1 + episode.num_subgoals
    return EpisodeSize(frame * frames, "estimated from a camera image")


def _count_episodes(path: Path) -> int:
    """Return the number of a store's episodes, after a test of writing beside them."""
    store = open_store(path)
    _write(path)
    return sum(count.attempts for count in store.history().values())


def _stored_sizes(path: Path) -> list[int]:
    sizes: list[int] = open_store(path, read_only=True).index.rows(("bytes",), "")["bytes"].to_pylist()  # fmt: skip
    return sizes


def _write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"soar")


def _nearest(path: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.is_dir())
