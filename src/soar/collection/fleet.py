"""Collection with several stations, one store and one set of models.

Simulated stations run in lockstep: one process holds the models and batches their calls, and each robot moves and
renders in a separate process. All episodes have the same length, so that only faults make the others wait. Real arms
can't wait for each other, so each station has a process with its own loop; models that these should share are endpoints.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path

from soar.collection.collector import CollectionConfig, CollectionSummary, collect
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.rollout.callbacks import Callback
from soar.rollout.models import ModelsConfig, PromotionWatcher
from soar.rollout.station_config import StationConfig, open_station
from soar.utils.clock import Clock
from soar.utils.processes import end_with_parent

log = logging.getLogger(__name__)

_RESTARTS = 3
"""Number of times that a crashed station's process is restarted."""


@dataclass(frozen=True)
class CollectionJob:
    """Everything that a collection needs beside its stations."""

    store: Path
    """Folder of the episode store."""
    models: ModelsConfig
    config: CollectionConfig = field(default_factory=CollectionConfig)
    episodes: int | None = None
    """Number of stored episodes, of all stations together, after which to stop; None for no limit."""
    hours: float | None = None
    """Duration after which no new episode begins; None for no limit."""
    config_hash: str = ""
    """Hash of the run's whole configuration, noted in every episode."""


def run_fleet(
    stations: Sequence[StationConfig],
    job: CollectionJob,
    *,
    stop: threading.Event | None = None,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """Collect with all stations: in lockstep if all are simulated, else each in a separate process.

    Args:
        stations: the stations.
        job: store, models, configuration and limits.
        stop: ends the collection after the running episode.
        callbacks: called back by stations in lockstep.

    Raises:
        ConfigError, CheckpointError, StoreError: it can't begin, or the store stayed unusable.
    """
    open_store(job.store, create=True)
    if len(stations) == 1 or not any(s.keeps_period for s in stations):
        return run_lockstep(stations, job, stop or threading.Event(), callbacks)
    return _run_separately(stations, job)


def run_lockstep(
    stations: Sequence[StationConfig],
    job: CollectionJob,
    stop: threading.Event,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """Collect with all stations in this process, with one batch for each call of a model. See `run_fleet`."""
    models = job.models.load()
    clock = Clock() if any(s.keeps_period for s in stations) else None
    with ExitStack() as stack:
        stack.enter_context(reserved_cores(len(stations)))
        opened = []
        for config in stations:
            opened.append(open_station(config, clock))
            stack.callback(opened[-1].robot.close)
        return collect(
            opened,
            models,
            open_store(job.store),
            [StatusFolder(job.store, s.name, s.webhook) for s in stations],
            job.config,
            episodes=job.episodes,
            hours=job.hours,
            stop=stop,
            clock=clock,
            refresh=PromotionWatcher(job.models),
            callbacks=callbacks,
            config_hash=job.config_hash,
        )


@contextmanager
def reserved_cores(robots: int) -> Iterator[None]:
    """Leave one core to each robot's process while it is open, as torch's waiting threads would take them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - robots))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stop_on_signals(stop: threading.Event) -> None:
    """Handle Ctrl-C and SIGTERM: the first sets `stop`, a second one raises KeyboardInterrupt."""

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        log.warning("stopping after the running episode; once more to drop it and stop at once")

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _run_separately(stations: Sequence[StationConfig], job: CollectionJob) -> CollectionSummary:
    """Run each station in its own process, restarted after a crash. Ctrl-C reaches all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share = None if job.episodes is None else -(-job.episodes // len(stations))
    job = replace(job, episodes=share)
    context = mp.get_context("spawn")
    processes = [_StationProcess(context, s, job) for s in stations]
    threads = [threading.Thread(target=p.run) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summaries = [p.summary for p in processes if p.summary]
    crashed = tuple(p.name for p in processes if p.summary is None)
    return CollectionSummary(
        sum(s.episodes for s in summaries),
        sum(s.dropped for s in summaries),
        sum(s.faults for s in summaries),
        tuple(name for s in summaries for name in s.broken) + crashed,
    )


class _StationProcess:
    """A station's process, with restarts."""

    def __init__(self, context: SpawnContext, station: StationConfig, job: CollectionJob) -> None:
        self.name = station.name
        self.summary: CollectionSummary | None = None
        """Summary of the process that ended by itself; None if all of them crashed."""
        self._context, self._station, self._job = context, station, job

    def run(self) -> None:
        """Run until the process ends by itself, or has crashed too often."""
        for _ in range(1 + _RESTARTS):
            receiver, sender = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_run_station, args=(sender, self._station, self._job)
            )
            process.start()
            sender.close()
            process.join()
            if receiver.poll():
                self.summary = receiver.recv()
                return
            log.error("station %s ended with exit code %s", self.name, process.exitcode)


def _run_station(sender: Connection, station: StationConfig, job: CollectionJob) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    end_with_parent(stop.set)
    sender.send(run_lockstep([station], job, stop))
