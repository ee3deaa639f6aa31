"""Stations whose trials a person attends: one program drives each arm, and the person controls it as in collection."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from os import getpid
from pathlib import Path
from typing import NamedTuple

from soar.collection.keys import operator_keys
from soar.collection.lease import station_held
from soar.collection.status import Activity, StationStatus, StatusFolder
from soar.rollout.station_config import StationConfig
from soar.utils.keys import Keys


class Attended(NamedTuple):
    """Stations that a person attends."""

    folders: Mapping[str, Path]
    """Folder of each station, in which the person stops its motion, by name."""
    keys: Keys
    """Keys of the terminal: emergency stop and what ends it, heartbeat."""


@contextlib.contextmanager
def attended(stations: Sequence[StationConfig], place: Path) -> Iterator[Attended]:
    """Hold some stations for trials, show them as evaluating, and take the terminal's keys.

    Args:
        stations: the stations.
        place: folder that `soar stop --emergency`, `soar release`, `soar resume`, `soar attend` and `soar watch` name.

    Raises:
        InUse: another program drives one of the arms.
    """

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    folders = [StatusFolder(place, station.name) for station in stations]
    with contextlib.ExitStack() as stack:
        for station in stations:
            stack.enter_context(station_held(station, place, interrupt))
        _show(stations, folders, "evaluating")
        stack.callback(_show, stations, folders, "stopped")
        keys = stack.enter_context(operator_keys(folders))
        yield Attended({f.station: f.folder for f in folders}, keys)


def _show(
    stations: Sequence[StationConfig], folders: Sequence[StatusFolder], activity: Activity
) -> None:
    now = time.time()
    for station, folder in zip(stations, folders, strict=True):
        scene = station.scene_info.name
        folder.show(StationStatus(station.name, scene, activity, now, now, getpid()))
