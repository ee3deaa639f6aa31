"""A fleet while it runs: one engine or the other, stations that are added to its file, and its end."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from soar.collection.config import CollectionSummary
from soar.collection.fleet import CollectionJob, run_fleet, shares
from soar.collection.lease import held
from soar.collection.status import StatusFolder
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, FileError, StoreError
from soar.fleet.cluster import Cluster
from soar.fleet.config import FleetConfig, FleetStation
from soar.fleet.station_run import StationTask
from soar.rollout.callbacks import Callback
from soar.types import Query
from soar.utils.config import to_plain
from soar.utils.progress import announce
from soar.utils.threads import alongside

log = logging.getLogger(__name__)

_POLL_S = 0.5
"""Interval in seconds at which the fleet file and the stations are looked at."""


class FleetFile:
    """A fleet file, to which stations may be added at any time."""

    def __init__(self, path: Path, where: str = "") -> None:
        """Read it. `where`: take only the stations at this place. Raises ConfigError."""
        self._path, self.where = path, where
        self._version = self._file_version()
        self.config = self._read()
        """Content as last read."""

    def added(self, known: Collection[str]) -> list[FleetStation]:
        """Return the stations that aren't among the known names; a mistake in the file is only logged."""
        now = self._file_version()
        if now != self._version:
            self._version = now
            try:
                self.config = self._read()
            except (ConfigError, FileError) as error:
                log.warning("the fleet goes on as it is: %s", error)
        return [s for s in self.config.stations if s.station.name not in known]

    def _read(self) -> FleetConfig:
        config = FleetConfig.read(self._path)
        return config.at(self.where) if self.where else config

    def _file_version(self) -> tuple[int, int]:
        """Return its time and size: a half-written file may have the same time as the complete one."""
        try:
            found = os.stat(self._path)
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size


def fleet_lease(store: Path, where: str = "") -> Path:
    """Return the file of the lease of a store's fleet, or of its part at one place."""
    return store / "fleet" / f"{where or 'all'}.json"


def collection_job(config: FleetConfig, episodes: int | None, hours: float | None) -> CollectionJob:
    """Return what the fleet's stations do; creates the store, and keeps the configuration in it. Raises StoreError."""
    name = open_store(config.store, create=True).save_config(to_plain(config))
    return CollectionJob(config.store, config.models, config.collection, episodes, hours, name)


def run_embedded(
    file: FleetFile, job: CollectionJob, stop: threading.Event, callbacks: Sequence[Callback] = ()
) -> CollectionSummary:
    """Run a fleet in processes of this machine, until its stations have ended or `stop` is set.

    When a station is added, the others finish their episodes, and then all go on together.
    """
    ends_s = None if job.hours is None else time.monotonic() + 3600 * job.hours
    stations, total = list(file.config.stations), CollectionSummary(0, 0, 0)
    while True:
        with alongside(partial(_watch, file, stations, stop), "fleet file") as pause:
            done = run_fleet([s.station for s in stations], job, stop=pause, callbacks=callbacks)
        total += done
        added = file.added({s.station.name for s in stations})
        stations = [s for s in stations if not _ended(job, s, total.broken)] + added
        if job.episodes is not None:
            job = replace(job, episodes=job.episodes - done.episodes)
        if ends_s is not None:
            job = replace(job, hours=(ends_s - time.monotonic()) / 3600)
        over = any(limit is not None and limit <= 0 for limit in (job.episodes, job.hours))
        if stop.is_set() or over or not added:
            return total


def _watch(
    file: FleetFile, stations: Sequence[FleetStation], stop: threading.Event, pause: threading.Event
) -> None:
    """Set `pause` when `stop` is set, or a station was added."""
    known = {s.station.name for s in stations}
    while not pause.wait(_POLL_S / 2):
        if stop.is_set() or file.added(known):
            pause.set()


def _ended(job: CollectionJob, station: FleetStation, broken: Collection[str]) -> bool:
    name = station.station.name
    return name in broken or StatusFolder(job.store, name).command() == "stop"


@runtime_checkable
class StationEngine(Protocol):
    """An engine outside of this package that runs stations, and starts them again after a loss."""

    def start_station(self, station: FleetStation, task: StationTask) -> None:
        """Start a station, unless it runs already."""

    def ended(self, stations: Collection[str]) -> dict[str, CollectionSummary]:
        """Return the results of those stations that have ended."""

    def stop(self, stations: Collection[str]) -> None:
        """End stations after their running episode."""


def run_stations(
    engine: StationEngine, file: FleetFile, job: CollectionJob, stop: threading.Event
) -> CollectionSummary:
    """Run a fleet's stations by an engine, until they have ended or `stop` is set, which ends them."""
    store, begun_s = open_store(job.store), time.time()
    first = file.config.stations
    each = dict(zip((s.station.name for s in first), shares(job.episodes, len(first)), strict=True))
    stored = _stored(store)
    running: dict[str, None] = {}
    results: dict[str, CollectionSummary] = {}
    while not stop.is_set() or len(results) < len(running):
        for station in file.added(running):
            name = station.station.name
            share = each.get(name, each[first[0].station.name])
            until = None if share is None else share + stored.get(name, 0)
            until_s = None if job.hours is None else begun_s + 3600 * job.hours
            engine.start_station(
                station, StationTask(station.station, job, time.time(), until, until_s)
            )
            running[name] = None
            announce(f"{name}: started")
        results = engine.ended(running)
        if stop.is_set():
            engine.stop(running.keys() - results.keys())
            time.sleep(_POLL_S)
        if len(results) == len(running) and not file.added(running):
            break
        stop.wait(_POLL_S)
    total = CollectionSummary(0, 0, 0)
    for result in results.values():
        total += result
    try:
        new = {n: c - stored.get(n, 0) for n, c in _stored(store).items() if n in running}
    except StoreError:
        return total
    return replace(total, episodes=sum(new.values()))


def _stored(store: LanceStore) -> dict[str, int]:
    """Number of episodes in the store, by station."""
    rows = store.query(Query())
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.provenance.station] = counts.get(row.provenance.station, 0) + 1
    return counts


def up(
    file: FleetFile,
    stop: threading.Event,
    episodes: int | None = None,
    hours: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """Run a fleet until its stations have ended.

    Args:
        file: the fleet file.
        stop: ends all stations after their running episodes.
        episodes: number of stored episodes after which to stop, of all stations together; None for no limit.
        hours: duration after which no new episode begins; None for no limit.
        callbacks: called back by stations in lockstep of the embedded engine.

    Raises:
        SoarError: it can't begin, or the store stayed unusable.
    """
    config = file.config
    job = collection_job(config, episodes, hours)
    lease = fleet_lease(config.store, file.where)
    with held(lease, f"the fleet of {config.store}", stop.set):
        if config.engine == "embedded":
            return run_embedded(file, job, stop, callbacks)
        cluster = Cluster(config, open_store(config.store).identity)
        try:
            cluster.start_replicas()
            summary = run_stations(cluster, file, job, stop)
        except Exception:
            if not cluster.working([s.station.name for s in config.stations]):
                cluster.down()
            raise  # stations that run go on, and the same command takes them over
        except BaseException:
            cluster.down()
            raise
        cluster.down()
        return summary
