"""Collection with several stations, one store and one set of models.

Simulated stations run in lockstep: one process holds the models and batches their calls, and each robot moves and
renders in a separate process. All episodes have the same length, so that only faults make the others wait. Real arms
can't wait for each other, so each station has a process with its own loop; models that they are to share are endpoints.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing as mp
import multiprocessing.connection
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from soar.collection.collector import collect
from soar.collection.config import CollectionConfig, CollectionSummary
from soar.collection.keys import operator_keys
from soar.collection.lease import station_held
from soar.collection.live import LivePictures
from soar.collection.restarts import Restarts
from soar.collection.sharing import shared
from soar.collection.status import StatusFolder
from soar.collection.takeover import TakeoverKeys
from soar.collection.unstored import restore, spare_folder
from soar.data.store.lance import open_store
from soar.errors import ConfigError, SoarError, StoreError
from soar.interfaces import TaskProposer, VisionLanguageModel
from soar.rollout.callbacks import Callback
from soar.rollout.console import SentActions
from soar.rollout.models import ModelsConfig, PromotionWatcher
from soar.rollout.station import Station
from soar.rollout.station_config import StationConfig, open_station, station_tasks
from soar.rollout.takeover import Takeover
from soar.types import Query, Task
from soar.utils.clock import Clock
from soar.utils.processes import end_with_parent, start_resource_tracker
from soar.utils.signals import STOP_SIGNALS, Stopped, blocked, stoppable, stopping
from soar.utils.terminal import log_to_terminal

log = logging.getLogger(__name__)

_POLL_S = 0.2
"""Interval in seconds at which stations' processes are looked after."""
_END_S = 10.0
"""Time in seconds in which a process may end by itself, before it is killed."""


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
    dry_run: bool = False
    """Move nothing, and print what would be sent; `store` is then for this run alone."""
    least_episodes: int = 0
    """Number of stored episodes, of all stations together, before which `hours` doesn't count."""


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
    names = [s.name for s in stations]
    if twice := [n for n in names if names.count(n) > 1]:
        raise ConfigError(f"two stations are named '{twice[0]}'; give each a `name` of its own")
    stop = stop or threading.Event()
    open_store(job.store, create=True)
    keys = TakeoverKeys()
    folders = [StatusFolder(job.store, name) for name in names]
    with shared(job.store, names), operator_keys(folders, press=keys.press):
        if len(stations) == 1:
            return run_lockstep(stations, job, stop, callbacks, keys.make)
        if not any(s.keeps_period for s in stations):
            return run_lockstep(stations, job, stop, callbacks)
        return _run_separately(stations, job, stop)


def run_lockstep(
    stations: Sequence[StationConfig],
    job: CollectionJob,
    stop: threading.Event,
    callbacks: Sequence[Callback] = (),
    make_takeover: Callable[[Station], Takeover | None] = lambda station: None,
) -> CollectionSummary:
    """Collect with all stations in this process, with one batch for each call of a model. See `run_fleet`.

    `make_takeover`: returns who may act at an opened station in the policy's place; None for nobody.
    """
    models = job.models.load()
    clock = Clock() if any(s.keeps_period for s in stations) else None
    with ExitStack() as stack:
        for config in stations:
            stack.enter_context(station_held(config, job.store, stop.set))
        stack.enter_context(reserved_cores(len(stations)))
        opened, store = [], open_store(job.store)
        for config in stations:
            restore(store, config.name)
            folder = StatusFolder(job.store, config.name).folder
            station = open_station(config, clock, folder, dry_run=job.dry_run)
            stack.callback(station.robot.close)
            choose = partial(_choose_tasks, config, job.models, models.vlm)
            proposer = job.models.load_proposer(station.tasks, models.vlm)
            takeover = make_takeover(station)
            opened.append(
                replace(station, proposer=proposer, choose_tasks=choose, takeover=takeover)
            )
        live = LivePictures(job.store, job.config.episode.at(opened[0].robot.period_s).length)
        stack.callback(live.close)
        return collect(
            opened,
            models,
            store,
            [StatusFolder(job.store, s.name, s.channels) for s in stations],
            job.config,
            episodes=job.episodes,
            hours=job.hours,
            least_episodes=job.least_episodes,
            stop=stop,
            clock=clock,
            refresh=PromotionWatcher(job.models),
            callbacks=[*callbacks, live, *([SentActions()] if job.dry_run else [])],
            config_hash=job.config_hash,
            spare=spare_folder(store),
        )


def _choose_tasks(
    config: StationConfig,
    models: ModelsConfig,
    vlm: VisionLanguageModel,
    instructions: Sequence[str],
) -> tuple[tuple[Task, ...], TaskProposer]:
    """Return a station's tasks and their proposer. See `Station.choose_tasks`."""
    possible = config.scene_info.instructions
    if config.simulated and (others := [i for i in instructions if i not in possible]):
        raise ConfigError(f"the scene has no task '{others[0]}'; there is: {', '.join(possible)}")
    tasks = station_tasks(replace(config, tasks=tuple(instructions) or config.tasks))
    return tasks, models.load_proposer(tasks, vlm)


@contextmanager
def reserved_cores(robots: int) -> Iterator[None]:
    """Leave one core to each robot's process while the context is open, as torch's waiting threads would take them."""
    if "torch" not in sys.modules:  # the models are elsewhere
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - robots))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shares(episodes: int | None, stations: int) -> list[int | None]:
    """Return each station's number of episodes, as even as possible; None for no limit."""
    if episodes is None:
        return [None] * stations
    each, rest = divmod(episodes, stations)
    return [each + (index < rest) for index in range(stations)]


def _run_separately(
    stations: Sequence[StationConfig], job: CollectionJob, stop: threading.Event
) -> CollectionSummary:
    """Run each station in its own process until all have ended. `stop` ends them after their episode."""
    start_resource_tracker()
    parts = zip(
        stations,
        shares(job.episodes, len(stations)),
        shares(job.least_episodes, len(stations)),
        strict=True,
    )
    processes = [
        StationProcess(s, replace(job, episodes=n, least_episodes=least or 0), stop)
        for s, n, least in parts
        if n != 0
    ]
    try:
        while any(not p.over for p in processes):
            for process in processes:
                process.supervise()
            running = [p.process.sentinel for p in processes if p.process is not None]
            mp.connection.wait(running, timeout=_POLL_S) if running else time.sleep(_POLL_S)
    finally:
        for process in processes:
            process.end()
    errors = [p.error for p in processes if p.error]
    if len(errors) == len(processes) and errors:
        raise errors[0]
    total = CollectionSummary(0, 0, 0)
    for process in processes:
        total += process.summary
    return total


class StationProcess:
    """A station's process, restarted after a crash with what is left of its share."""

    def __init__(self, station: StationConfig, job: CollectionJob, stop: threading.Event) -> None:
        """Prepare to run a station; `supervise` starts its process."""
        self.station = station
        self.process: SpawnProcess | None = None
        self.over = self.broken = False
        """Whether it ended for good, and whether it needs a person."""
        self.error: SoarError | None = None
        """Error that another attempt doesn't cure."""
        self.episodes = self.dropped = self.faults = 0
        """Counts of those of its processes that ended by themselves."""
        self._job, self._stop = job, stop
        self._query = Query(stations=(station.name,))
        self._before = self._count()
        """Number of the station's episodes in the store before all processes."""
        self._status_folder = StatusFolder(job.store, station.name, station.channels)
        self._restarts = Restarts(open_store(job.store), self._status_folder, job.config.backoff)
        self._starts_at = time.monotonic()
        self._ends_at = None if job.hours is None else self._starts_at + 3600 * job.hours
        self._told = False

    @property
    def stored(self) -> int:
        """Number of episodes that all of its processes stored. Raises StoreError."""
        return self._count() - self._before

    @property
    def summary(self) -> CollectionSummary:
        """Result so far; without the episodes of killed processes where the store can't be read."""
        try:
            episodes = self.stored
        except StoreError:
            episodes = self.episodes
        broken = (self.station.name,) if self.broken else ()
        return CollectionSummary(episodes, self.dropped, self.faults, broken)

    def supervise(self) -> None:
        """Start the process when it is due, tell it to stop, and handle its end."""
        if self.process is None:
            if self._stop.is_set():
                self.over = True
            elif not self.over and time.monotonic() >= self._starts_at:
                self._start()
            return
        if self._stop.is_set() and not self._told and self.process.is_alive():
            self._told = True
            self.process.terminate()
        if not self.process.is_alive():
            self._handle_end(self.process)

    def end(self) -> None:
        """End a process that still runs: at once, and by force if it doesn't obey."""
        self._status_folder.settle()
        if self.process is None or not self.process.is_alive():
            return
        for _ in range(1 if self._told else 2):
            self.process.terminate()
            self.process.join(_END_S / 2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _start(self) -> None:
        job = self._job
        if job.episodes is not None or job.least_episodes:
            try:
                stored = self.stored
                job = replace(
                    job,
                    episodes=None if job.episodes is None else job.episodes - stored,
                    least_episodes=max(0, job.least_episodes - stored),
                )
            except StoreError as error:
                log.warning("%s waits: %s", self.station.name, error)
                self._starts_at = time.monotonic() + job.config.backoff.max_s
                return
        if self._ends_at is not None:
            job = replace(job, hours=(self._ends_at - time.monotonic()) / 3600)
        finished = job.episodes is not None and job.episodes <= 0
        late = job.hours is not None and job.hours <= 0 and not job.least_episodes
        if finished or late:
            self.over = True
            return
        context = mp.get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_run_station, args=(sender, self.station, job))
        with blocked():
            self.process.start()
        sender.close()

    def _handle_end(self, process: SpawnProcess) -> None:
        """Take over the result, or plan a restart after a crash."""
        process.join()
        self.process = None
        result = None
        with contextlib.suppress(EOFError, OSError):
            result = self._receiver.recv() if self._receiver.poll() else None
        self._receiver.close()
        if isinstance(result, CollectionSummary):
            self.over, self.broken = True, bool(result.broken)
            self.episodes += result.episodes
            self.dropped += result.dropped
            self.faults += result.faults
            return
        with contextlib.suppress(ConfigError):
            status = self._status_folder.status()
            if status.pid == process.pid:
                self.dropped += status.dropped
                self.faults += status.faults
        if self._stop.is_set():
            self.over, self.error = True, result
            if result:
                log.error("%s: %s", self.station.name, result)
            return
        why = str(result) if result else f"its process ended with exit code {process.exitcode}"
        if isinstance(result, ConfigError):
            self.error = result
            self.over = self.broken = True
            self._status_folder.note("broken", why, person=True)
            return
        pause = self._restarts.pause_after(why)
        self.over, self.broken = pause is None, self._restarts.broken
        self._starts_at = time.monotonic() + (pause or 0)

    def _count(self) -> int:
        history = open_store(self._job.store).history(self._query)
        return sum(count.attempts for count in history.values())


def _run_station(sender: Connection, station: StationConfig, job: CollectionJob) -> None:
    """Run a station in its process. Only its parent and SIGTERM stop it: Ctrl-C and SIGHUP reach all processes."""
    stop = threading.Event()
    log_to_terminal()
    with stoppable(""), stopping(stop):
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        end_with_parent(stop.set)
        try:
            sender.send(run_lockstep([station], job, stop))
        except SoarError as error:
            sender.send(error)
        except Stopped as stopped:
            sys.exit(stopped.exit_code)
