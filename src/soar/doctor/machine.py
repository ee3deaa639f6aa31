"""Checks of the machine: rendering, the store, the disk, and the way to reach a person."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from soar.data.store.images import encode
from soar.data.store.lance import SCHEMA, open_store
from soar.doctor.findings import CheckResult, Problem, attempt
from soar.errors import StoreError
from soar.rollout.station import EpisodeConfig
from soar.types import Image

_RENDERING_S = 120.0
_WEBHOOK_S = 5.0
_TIGHT = 0.8
"""Share of the free space from which a disk is called tight."""


class EpisodeSize(NamedTuple):
    """How much space an episode takes."""

    bytes: float
    source: str
    """What it was measured on."""


def check_rendering() -> CheckResult:
    """Whether MuJoCo can render without a screen, tried in a process of its own."""
    command = [sys.executable, "-m", "soar.sim.headless"]
    tried = attempt(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=_RENDERING_S)
    )
    if not isinstance(tried, Problem) and tried.returncode == 0:
        return CheckResult("rendering", "ok", "MuJoCo renders without a screen")
    lines = [str(tried)] if isinstance(tried, Problem) else tried.stderr.strip().splitlines()
    return CheckResult(
        "rendering",
        "failed",
        lines[-1] if lines else "MuJoCo's rendering crashed",
        "install EGL, on Debian or Ubuntu: sudo apt-get install libegl1 libgl1-mesa-dri",
    )


def check_store(path: Path) -> CheckResult:
    """Whether episodes can be written, into a store that this version reads."""
    if not (path / "store.json").exists() and not (path.is_dir() and any(path.iterdir())):
        written = attempt(lambda: _write_something(_nearest(path)))
        if isinstance(written, Problem):
            return CheckResult(
                "store", "failed", str(written), f"choose another folder than {path}"
            )
        return CheckResult("store", "ok", f"{path} will be made")
    tried = attempt(lambda: _look_into(path))
    if isinstance(tried, Problem):
        advice = (
            f"see `soar data verify --store {path}`, or choose another folder"
            if isinstance(tried.error, StoreError)
            else f"make {path} writable, or choose another folder"
        )
        return CheckResult("store", "failed", str(tried), advice)
    return CheckResult("store", "ok", f"{tried} episodes, schema {SCHEMA}, writable")


def check_disk(path: Path, size: EpisodeSize | None, episodes: int | None) -> CheckResult:
    """Whether the disk holds so many more episodes."""
    free = shutil.disk_usage(_nearest(path)).free
    if size is None:
        what = f"{free / 1e9:.1f} GB free; nobody knows how large an episode is"
        return CheckResult("disk", "warning", what, "get a station to work, and look again")
    room = int(free / size.bytes)
    each = f"{size.bytes / 1e6:.2f} MB an episode ({size.source})"
    if episodes is None:
        return CheckResult(
            "disk", "ok", f"room for {room} episodes: {free / 1e9:.1f} GB free, {each}"
        )
    need = episodes * size.bytes
    what = f"{episodes} episodes need {need / 1e9:.2f} GB of {free / 1e9:.1f} GB: {each}"
    if need > free:
        advice = f"free some space, choose another disk, or collect at most {room} episodes"
        return CheckResult("disk", "failed", what, advice)
    if need > _TIGHT * free:
        return CheckResult("disk", "warning", what, "free some space: training needs room as well")
    return CheckResult("disk", "ok", what)


def check_webhook(name: str, url: str) -> CheckResult:
    """Whether a message for a person is taken; a real one is sent, marked as a test."""
    tried = attempt(lambda: _post_test(name, url))
    if isinstance(tried, Problem):
        advice = "correct `webhook` in the station's file; without it only `soar status` tells"
        return CheckResult(f"{name}: webhook", "warning", str(tried), advice)
    return CheckResult(f"{name}: webhook", "ok", "took a test message")


def episode_size(
    path: Path, images: Sequence[Image], episode_config: EpisodeConfig
) -> EpisodeSize | None:
    """Mean size of the store's own episodes; else of one made of such pictures; None without any."""
    stored = attempt(lambda: _stored_sizes(path))
    if not isinstance(stored, Problem) and stored:
        return EpisodeSize(float(np.mean(stored)), "mean of those in the store")
    if not images:
        return None
    frame = float(np.mean([len(encode(image)) for image in images]))
    return EpisodeSize(
        frame * (episode_config.length + 1 + episode_config.num_subgoals), "by the camera's picture"
    )


def _post_test(name: str, url: str) -> None:
    message = {"station": name, "kind": "test", "message": "soar doctor tries the webhook"}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(message).encode(), headers)
    urllib.request.urlopen(request, timeout=_WEBHOOK_S).close()


def _look_into(path: Path) -> int:
    """Write next to the episodes, and count them."""
    store = open_store(path)
    _write_something(path)
    return sum(count.attempts for count in store.history().values())


def _stored_sizes(path: Path) -> list[int]:
    sizes: list[int] = open_store(path, read_only=True).index.rows(("bytes",), "")["bytes"].to_pylist()  # fmt: skip
    return sizes


def _write_something(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"soar")


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.is_dir())
