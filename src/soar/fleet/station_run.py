"""A station's collection as an engine outside of this package runs it: begun again after a crash, until it has ended.

Everything that it needs is in its arguments and in the store, so that the engine may start it anew at any time and on
any machine: its share of episodes is a number of stored episodes, and its end a time of day.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace

from soar.collection.config import CollectionSummary
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.collection.lease import InUse
from soar.collection.restarts import Restarts
from soar.collection.sharing import shared
from soar.collection.status import Activity, StationStatus, StatusFolder
from soar.data.store.lance import open_store
from soar.errors import ConfigError, FileError, ModelUnavailable, SoarError, StoreError
from soar.rollout.station_config import StationConfig
from soar.types import Query

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StationTask:
    """What one station is to do."""

    station: StationConfig
    job: CollectionJob
    """The collection; its limits are those below."""
    begun_s: float
    """Unix time at which a person started it."""
    until_episodes: int | None = None
    """Number of the station's episodes in the store at which it ends; None for no limit."""
    until_s: float | None = None
    """Unix time after which no new episode begins; None for no limit."""


class StationRun:
    """A running station."""

    def __init__(self, task: StationTask, *, again: bool = False) -> None:
        """Begin in a thread. `again`: whether its process was lost, as after a kill."""
        self._task, self._again = task, again
        self._stop = threading.Event()
        self._folder = StatusFolder(task.job.store, task.station.name, task.station.channels)
        self._summary = CollectionSummary(0, 0, 0)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the running episode."""
        self._stop.set()

    def ended(self) -> CollectionSummary | None:
        """Return the result of this process; None while it runs."""
        return None if self._thread.is_alive() else self._summary

    def _work(self) -> None:
        with shared(self._task.job.store, [self._task.station.name]):
            self._collect()

    def _collect(self) -> None:
        """Collect, again after crashes, until the station has ended."""
        why = "its process was lost" if self._again else ""
        failures = 0
        while not self._stop.is_set():
            if why and not self._may_restart(why):
                return
            why, waits = "", self._task.job.config.backoff.pause_s(failures)
            try:
                if self._run():
                    return
            except (InUse, StoreError, FileError, ModelUnavailable) as error:  # they pass
                self._wait(str(error), waits)
                failures += 1
            except ConfigError as error:
                self._give_up(str(error))
                return
            except Exception as error:  # whatever a driver raises is a crash
                log.exception("%s crashed", self._task.station.name)
                why = str(error) if isinstance(error, SoarError) else repr(error)

    def _run(self) -> bool:
        """Collect; return whether the station has ended. Raises what a collection raises."""
        job, task = self._task.job, self._task
        if task.until_episodes is not None:
            query = Query(stations=(task.station.name,))
            stored = sum(c.attempts for c in open_store(job.store).history(query).values())
            job = replace(job, episodes=task.until_episodes - stored)
        if task.until_s is not None:
            job = replace(job, hours=(task.until_s - time.time()) / 3600)
        if any(limit is not None and limit <= 0 for limit in (job.episodes, job.hours)):
            return True
        self._summary = run_lockstep([task.station], job, self._stop)
        return True

    def _may_restart(self, why: str) -> bool:
        """Wait before the next start; return whether there is to be one."""
        job = self._task.job
        try:
            store = open_store(job.store)
        except StoreError:
            return True  # which the next start waits for
        restarts = Restarts(store, self._folder, job.config.backoff, self._task.begun_s)
        pause_s = restarts.pause_after(why)
        if restarts.broken:
            self._give_up(why, told=True)
        if pause_s is not None:
            self._stop.wait(pause_s)
        return pause_s is not None

    def _wait(self, why: str, pause_s: float) -> None:
        log.warning("%s waits: %s", self._task.station.name, why)
        self._show("waiting", why)
        self._stop.wait(pause_s)

    def _give_up(self, why: str, *, told: bool = False) -> None:
        if not told:
            self._folder.note("broken", why, person=True)
        self._show("broken", why)
        self._folder.settle()
        self._summary = replace(self._summary, broken=(self._task.station.name,))

    def _show(self, activity: Activity, doing: str) -> None:
        station, now = self._task.station, time.time()
        self._folder.show(
            StationStatus(
                station.name, station.scene_info.name, activity, now, now, os.getpid(), doing
            )
        )
