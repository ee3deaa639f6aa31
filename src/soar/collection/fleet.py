"""Several stations, one store, one set of models.

Simulated stations work in lockstep: one process holds the models and batches them over all stations,
while each robot moves and renders in a process of its own. Every episode has the same length, so nobody
waits but for a fault. Real arms can't wait for one another, so each gets a process with its own loop;
models that should be shared between those are endpoints.
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
from typing import Annotated

from annotated_types import Ge, Le

from soar.collection.collector import CollectionConfig, CollectionSummary, collect
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.errors import SoarError
from soar.registry import load_policy, load_subgoals, load_vlm, promoted_models
from soar.rollout.callbacks import Callback
from soar.rollout.station import Models
from soar.rollout.station_config import StationConfig, open_station
from soar.utils.clock import Clock
from soar.utils.config import check_ranges
from soar.utils.processes import end_with_parent

log = logging.getLogger(__name__)

_RESTARTS = 3


@dataclass(frozen=True)
class ModelsConfig:
    """Which model plays which role, as `soar.registry` names them. A YAML file has the same fields."""

    vlm: str = "compact"
    subgoals: str = "compact"
    """"none" with a policy that follows words; or a run's folder, as for the policy."""
    policy: str = "gcbc"
    """Or the folder of a run: then the policy that it promoted last, picked up between episodes."""
    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    """P(success) from which an episode is called success."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def load(self) -> Models:
        """The models themselves."""
        now = in_force(self)
        subgoals = None if now.subgoals == "none" else load_subgoals(now.subgoals)
        return Models(load_vlm(self.vlm), load_policy(now.policy), subgoals, self.threshold)


def in_force(names: ModelsConfig) -> ModelsConfig:
    """The same with what a run promoted last in the place of the run's folder, for policy and subgoals."""
    return replace(
        names, policy=promoted_models(names.policy)[0], subgoals=promoted_models(names.subgoals)[1]
    )


class PromotionWatcher:
    """Swaps policy and subgoals between two episodes when a run has promoted new ones."""

    def __init__(self, names: ModelsConfig) -> None:
        self._names = names
        self._present = in_force(names)

    def __call__(self, models: Models) -> Models:
        """The models for the next episode; the present ones when the new ones can't be loaded."""
        try:
            new, old = in_force(self._names), self._present
            if new == old:
                return models
            changed = models
            if new.policy != old.policy:
                changed = replace(changed, policy=load_policy(new.policy))
            if new.subgoals != old.subgoals:
                changed = replace(changed, subgoals=load_subgoals(new.subgoals))
        except SoarError as error:
            log.warning("what was promoted can't be used, going on with the old: %s", error)
            return models
        log.warning("picked up what was promoted: %s, %s", new.policy, new.subgoals)
        self._present = new
        return changed


@dataclass(frozen=True)
class CollectionJob:
    """What a fleet is to do."""

    store: Path
    models: ModelsConfig
    config: CollectionConfig = field(default_factory=CollectionConfig)
    episodes: int | None = None
    """Stored ones, of all stations together."""
    hours: float | None = None


def run_fleet(
    stations: Sequence[StationConfig],
    job: CollectionJob,
    *,
    stop: threading.Event | None = None,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """Collect with these stations, in lockstep when all are simulated, else each in its own process.

    Args:
        stop: ends collection after the running episode.
        callbacks: see what stations in lockstep do.

    Raises:
        ConfigError, CheckpointError, StoreError: it can't begin, or the store stayed unusable.
    """
    open_store(job.store, create=True)
    if len(stations) == 1 or not any(s.keeps_period for s in stations):
        return run_lockstep(stations, job, stop or threading.Event(), callbacks)
    return _run_apart(stations, job)


def run_lockstep(
    stations: Sequence[StationConfig],
    job: CollectionJob,
    stop: threading.Event,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """All stations in this process, one batch for each model call."""
    models = job.models.load()
    clock = Clock() if any(s.keeps_period for s in stations) else None
    with ExitStack() as stack:
        stack.enter_context(leaving_cores(len(stations)))
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
        )


@contextmanager
def leaving_cores(robots: int) -> Iterator[None]:
    """Models leave a core to each robot's process: threads that wait for one another while robots move, too, take
    it from them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - robots))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stop_on_signals(stop: threading.Event) -> None:
    """The first Ctrl-C or SIGTERM ends after the running episode, the second at once, dropping it."""

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        log.warning("stopping after the running episode; once more to drop it and stop at once")

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _run_apart(stations: Sequence[StationConfig], job: CollectionJob) -> CollectionSummary:
    """Each station in its own process, started again when it crashes; Ctrl-C reaches all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share = None if job.episodes is None else -(-job.episodes // len(stations))
    job = replace(job, episodes=share)
    context = mp.get_context("spawn")
    watchers = [_Watcher(context, s, job) for s in stations]
    threads = [threading.Thread(target=w.watch) for w in watchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summaries = [w.summary for w in watchers if w.summary]
    lost = tuple(w.name for w in watchers if w.summary is None)
    return CollectionSummary(
        sum(t.episodes for t in summaries),
        sum(t.dropped for t in summaries),
        sum(t.faults for t in summaries),
        tuple(name for t in summaries for name in t.broken) + lost,
    )


class _Watcher:
    """Keeps one station's process alive."""

    def __init__(self, context: SpawnContext, station: StationConfig, job: CollectionJob) -> None:
        self.name = station.name
        self.summary: CollectionSummary | None = None
        self._context, self._station, self._job = context, station, job

    def watch(self) -> None:
        """Until it ends by itself, or has crashed too often."""
        for _ in range(1 + _RESTARTS):
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(target=_work, args=(theirs, self._station, self._job))
            process.start()
            theirs.close()
            process.join()
            if ours.poll():
                self.summary = ours.recv()
                return
            log.error("station %s ended with exit code %s", self.name, process.exitcode)


def _work(pipe: Connection, station: StationConfig, job: CollectionJob) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    end_with_parent(stop.set)
    pipe.send(run_lockstep([station], job, stop))
