"""The newest picture of each station, as a file beside its status, for as long as somebody watches.

    <store>/stations/<name>/live.json   picture, subgoal, task and step, replaced a few times a second
    <store>/stations/watched            touched by whoever watches (`soar watch`)

The control loop only leaves a reference to its newest step. A thread publishes it, but only looks at
the marker while nobody watches; the last picture then stays.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge

from soar.collection.sharing import PICTURE, WATCHED
from soar.collection.status import UnixTime
from soar.contract.contract import WIDOWX, Contract
from soar.errors import ConfigError
from soar.rollout.callbacks import Callback
from soar.rollout.contracts import robot_contract
from soar.rollout.station import Station
from soar.types import Action, Image, Proposal, State, Step
from soar.utils.config import from_plain
from soar.utils.files import read_json

PERIOD_S = 0.25
"""Least time between two pictures of a station [s]; slower control steps give fewer."""
_MOST_PIXELS = 320
"""Longer side of a picture [px]; larger images are reduced by a whole factor."""
_QUALITY = 80
_UNWATCHED_S = 10.0
"""Time after the last touch of the marker for which pictures are still written [s]; a network mount may be late."""


@dataclass(frozen=True)
class LivePicture:
    """What a station saw at `time_s`."""

    task: str
    step: Annotated[int, Ge(0)]
    """Number of the control step, from 0."""
    steps: Annotated[int, Ge(1)]
    """Control steps of an episode."""
    time_s: UnixTime
    """Unix time."""
    image: str
    """JPEG file in base64."""
    subgoal: str = ""
    """The policy's goal, likewise; empty without one."""
    state: Mapping[str, float] = field(default_factory=dict)
    """The observation's state, by the contract's names."""
    action: Mapping[str, float] = field(default_factory=dict)
    """The executed action, likewise."""


class _Seen(NamedTuple):
    task: str
    step: Step
    time_s: float


class LivePictures(Callback):
    """Publishes the newest picture of every station of this process."""

    def __init__(self, store: Path, steps: int) -> None:
        """Start the thread.

        Args:
            store: the store's folder.
            steps: control steps of an episode.
        """
        self._stations, self._steps = store / "stations", steps
        self._tasks: dict[str, str] = {}
        self._contracts: dict[str, Contract] = {}
        self._newest: dict[str, _Seen] = {}
        self._subgoals: dict[str, tuple[Image, str]] = {}
        """Subgoal that was encoded last, by station."""
        self._touched, self._touched_at_s = _touch_time(store), -_UNWATCHED_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live pictures", daemon=True)
        self._thread.start()

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Note the task."""
        self._tasks[station.name] = proposal.task.instruction
        self._contracts[station.name] = robot_contract(station.robot)

    def on_step(self, station: Station, step: Step) -> None:
        """Note the step."""
        self._newest[station.name] = _Seen(self._tasks.get(station.name, ""), step, time.time())

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        shown: dict[str, _Seen] = {}
        while not self._ended.wait(PERIOD_S):
            if not self._is_watched():
                continue
            for name, seen in list(self._newest.items()):
                if seen is not shown.get(name):
                    shown[name] = seen
                    with contextlib.suppress(OSError):  # a full disk; the next one may fit
                        self._write(name, seen)

    def _is_watched(self) -> bool:
        """Whether the marker was touched lately, by this machine's clock alone."""
        touched, now_s = _touch_time(self._stations.parent), time.monotonic()
        if touched != self._touched:
            self._touched, self._touched_at_s = touched, now_s
        return now_s - self._touched_at_s < _UNWATCHED_S

    def _write(self, name: str, seen: _Seen) -> None:
        picture = LivePicture(
            seen.task,
            seen.step.index,
            self._steps,
            seen.time_s,
            encode_picture(seen.step.observation.image),
            self._subgoal(name, seen.step),
            *self._numbers(name, seen.step),
        )
        path = self._stations / name / PICTURE
        draft = path.with_name(f".{PICTURE}")
        draft.write_text(json.dumps(asdict(picture)))
        os.replace(draft, path)  # at once, but without waiting for the disk: it may be lost

    def _numbers(self, name: str, step: Step) -> tuple[dict[str, float], dict[str, float]]:
        """Return state and executed action by name."""
        contract = self._contracts.get(name, WIDOWX)
        return (
            _finite(contract.state.names, step.observation.state),
            _finite(contract.action.names, step.executed),
        )

    def _subgoal(self, name: str, step: Step) -> str:
        if step.subgoal is None:
            return ""
        image, encoded = self._subgoals.get(name, (None, ""))
        if image is not step.subgoal.image:
            encoded = encode_picture(step.subgoal.image)
            self._subgoals[name] = step.subgoal.image, encoded
        return encoded


def _finite(names: Sequence[str], values: State | Action) -> dict[str, float]:
    numbers = zip(names, values.tolist(), strict=False)
    return {name: round(value, 5) for name, value in numbers if math.isfinite(value)}


def read_picture(store: Path, station: str) -> LivePicture | None:
    """Return a station's newest picture; None without one."""
    path = store / "stations" / station / PICTURE
    try:
        return from_plain(LivePicture, read_json(path), path)
    except ConfigError:
        return None


def picture_time(store: Path, station: str) -> int:
    """Return when a station's picture was written [ns], which changes with each picture; 0 without one."""
    return _time(store / "stations" / station / PICTURE)


def touch_watched(store: Path) -> None:
    """Ask the stations of a store for pictures, for some seconds; does nothing where the request can't be written.

    Nothing is written into a folder that isn't a store yet, as no store could then be made there.
    """
    if not (store / "store.json").exists():
        return
    with contextlib.suppress(OSError):
        (store / "stations").mkdir(exist_ok=True)
        (store / "stations" / WATCHED).write_text(str(time.time_ns()))


def _touch_time(store: Path) -> int:
    return _time(store / "stations" / WATCHED)


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def encode_picture(image: Image) -> str:
    """Return an image as a JPEG file in base64, reduced to at most 320 px."""
    import simplejpeg
    from PIL import Image as Pillow

    factor = -(-max(image.shape[:2]) // _MOST_PIXELS)
    if factor > 1:
        image = np.asarray(Pillow.fromarray(image).reduce(factor))
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), _QUALITY, "RGB", "420")
    return b64encode(data).decode()
