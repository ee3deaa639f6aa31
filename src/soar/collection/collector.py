"""Autonomous collection for days: propose a task, try it, judge it, store the episode, and recover from faults.

A restart needs the store alone: the counts for the proposals, and each station's number of episodes, from which the
next seed follows. A fault of a robot drops its episode and is cleared in software, an unavailable model is waited for,
and while the disk is full the arms wait.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

import soar
from soar.collection import unstored
from soar.collection.config import CollectionConfig, CollectionSummary
from soar.collection.retry import Retrier, with_retries
from soar.collection.status import StatusFolder
from soar.collection.supervisor import StationSupervisor
from soar.errors import (
    BadOutput,
    ConfigError,
    ContentError,
    ModelUnavailable,
    RobotFault,
    SoarError,
    StoreError,
)
from soar.interfaces import EpisodeStore
from soar.rollout.assessment import assess
from soar.rollout.callbacks import Callback, CallbackList, EpisodeResult
from soar.rollout.contracts import require_contracts, robot_contract
from soar.rollout.loop import INLINE, run_episodes
from soar.rollout.models import Models
from soar.rollout.recorder import Recorder
from soar.rollout.station import Station
from soar.types import History, Proposal, Provenance, Query
from soar.utils.clock import Clock, Metronome

log = logging.getLogger(__name__)
T = TypeVar("T")

_POLL_S = 0.5
"""Interval in seconds at which a paused station reads its command."""


def collect(
    stations: Sequence[Station],
    models: Models,
    store: EpisodeStore,
    status_folders: Sequence[StatusFolder],
    config: CollectionConfig,
    *,
    episodes: int | None = None,
    hours: float | None = None,
    least_episodes: int = 0,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    refresh: Callable[[Models], Models] = lambda models: models,
    callbacks: Sequence[Callback] = (),
    config_hash: str = "",
    spare: Path | None = None,
) -> CollectionSummary:
    """Collect with one station, or with several in lockstep, until a limit, `stop`, or until all are broken.

    Args:
        stations: the stations.
        models: the models.
        store: where episodes are stored.
        status_folders: one for each station.
        config: configuration.
        episodes: number of stored episodes, of all stations together, after which to stop.
        hours: duration after which no new episode begins.
        least_episodes: number of stored episodes before which `hours` doesn't count.
        stop: ends the collection after the running episode.
        clock: keeps the control period of real arms; None runs without pauses (simulation).
        refresh: returns the models of the next episode, given the current ones.
        callbacks: called back at each event.
        config_hash: hash of the run's whole configuration, noted in every episode.
        spare: folder for episodes that can't be stored when `stop` ends the wait for the store.

    Raises:
        ConfigError: there is no station, two have the same name, or one and the policy can't work together.
        StoreError: the collection was stopped while the store couldn't be written; the message says where the
            episodes are.
    """
    stop = stop or threading.Event()
    names = [s.name for s in stations]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"stations need names that differ, at least one; got {names}")
    require_contracts([(s.name, s.robot) for s in stations], models.policy)
    config = replace(config, episode=config.episode.at(stations[0].robot.period_s))
    parts, limits = zip(stations, status_folders, strict=True), config.fault_limits
    supervisors = [StationSupervisor(s, store, f, limits, stop) for s, f in parts]
    metronome = Metronome(clock, stations[0].robot.period_s) if clock else None
    collector = Collector(
        supervisors, models, store, config, stop, callbacks, metronome, config_hash, spare
    )
    ends = time.monotonic() + 3600 * (math.inf if hours is None else hours)
    try:
        collector.run(episodes, partial(collector.is_late, ends, least_episodes), refresh)
    finally:
        collector.close()
    return collector.summary


class Collector(Callback):
    """Collection with some stations in lockstep."""

    def __init__(
        self,
        supervisors: Sequence[StationSupervisor],
        models: Models,
        store: EpisodeStore,
        config: CollectionConfig,
        stop: threading.Event,
        callbacks: Sequence[Callback],
        metronome: Metronome | None,
        config_hash: str,
        spare: Path | None,
    ) -> None:
        """See `collect`."""
        self._config_hash, self._spare = config_hash, spare
        self.supervisors = supervisors
        self._outages: dict[str, str] = {}
        """Message of each model's current outage, by the model's role."""
        self._broken_off = 0
        """Number of episodes in a row that unavailable models broke off."""
        self._store, self._config, self._stop, self._metronome = store, config, stop, metronome
        self.models = self._retried(models)
        self._recorder = Recorder(store, config.episode.length, self._provenance, self._on_settled)
        self._callback = CallbackList((self._recorder, self, *callbacks))
        self._worker: Executor = ThreadPoolExecutor(2) if config.overlap else INLINE
        self._retrier = Retrier(
            "store", config.backoff, stop, StoreError, self._wait_for_store, endless=True
        )
        self._store_problem = ""
        """Message of the store's outage; empty without one."""
        self._requested: dict[Query, Future[History]] = {}
        """Counts that the recorder's thread reads for the next proposals."""
        self._uncounted: list[tuple[Query, EpisodeResult]] = []
        """Episodes that aren't in those counts."""

    @property
    def summary(self) -> CollectionSummary:
        """Result so far."""
        return CollectionSummary(
            sum(s.stored for s in self.supervisors),
            sum(s.dropped for s in self.supervisors),
            sum(s.faults for s in self.supervisors),
            tuple(s.station.name for s in self.supervisors if s.broken),
        )

    def run(
        self, episodes: int | None, late: Callable[[], bool], refresh: Callable[[Models], Models]
    ) -> None:
        """Run episodes until a limit, `stop`, or until all stations are broken or stopped. See `collect`."""
        try:
            self._run_until(episodes, late, refresh)
            self.settle()
        except StoreError:
            if not self._stop.is_set():
                raise
            # stopped while the store couldn't be written: `close` tries once more

    def _run_until(
        self, episodes: int | None, late: Callable[[], bool], refresh: Callable[[Models], Models]
    ) -> None:
        while not self._stop.is_set():
            left = self._left(episodes)
            if left == 0 and self.settle():  # the store may refuse some
                left = self._left(episodes)
            if late() or left == 0 or not self._working():
                break
            self.models = self._retried(refresh(self.models))
            self.run_episode(self.ready()[:left])

    def _retried(self, models: Models) -> Models:
        """Return the models with checked calls and retries."""
        width = robot_contract(self.supervisors[0].station.robot).action.dim
        return with_retries(models, self._config.backoff, self._stop, self._on_outage, width)

    def is_late(self, ends: float, least_episodes: int) -> bool:
        """Whether the time [s, monotonic] is over at which a collection ends that has stored `least_episodes`."""
        return time.monotonic() >= ends and self.summary.episodes >= least_episodes

    def _left(self, episodes: int | None) -> int | None:
        """Number of episodes that are still to be stored; None without a limit."""
        return None if episodes is None else episodes - self.summary.episodes

    def ready(self) -> list[StationSupervisor]:
        """Return the stations that can begin an episode now; without any, wait a moment."""
        supervisors = [s for s in self.supervisors if s.willing()]
        for supervisor in supervisors:
            supervisor.reset_simulation()
        self._assess([s for s in supervisors if s.assessment is None])
        supervisors = [s for s in supervisors if s.assessment is not None]
        if not supervisors:
            self._stop.wait(_POLL_S)
        return supervisors

    def run_episode(self, supervisors: Sequence[StationSupervisor]) -> None:
        """Run one episode on each station, and handle its result."""
        goes_on = bool(supervisors) and self.settle(keep=len(self.supervisors))
        supervisors = [s for s in supervisors if not s.broken]  # the store's refusals may break one
        if not goes_on or not supervisors:
            return
        rng = np.random.default_rng([s.seed for s in supervisors])
        for supervisor in supervisors:
            supervisor.noise = self._config.noise if rng.random() < self._config.exploring else 0.0
        histories = self._histories(supervisors)
        try:
            results = run_episodes(
                [s.station for s in supervisors],
                [s.assessment for s in supervisors if s.assessment],
                self.models,
                self._config.episode,
                histories,
                rng,
                noise=np.array([s.noise for s in supervisors]),
                callback=self._callback,
                worker=self._worker,
                metronome=self._metronome,
            )
        except (ModelUnavailable, BadOutput) as error:
            self._break_off(supervisors, error)
            return
        self._broken_off = 0
        for supervisor, result in zip(supervisors, results, strict=True):
            supervisor.finish(result)
            if result.fault is None:
                self._uncounted.append((_same_scene(supervisor.station), result))

    def settle(self, keep: int = 0) -> bool:
        """Wait until at most `keep` episodes aren't stored yet.

        Returns:
            Whether the collection goes on.

        Raises:
            StoreError: the collection was stopped while the store couldn't be written.
        """
        # While the store fails, wait for all of them: an attempt in the background says nothing yet.
        self._when_store_works(lambda: self._recorder.settle(0 if self._store_problem else keep))
        return not self._stop.is_set()

    def _on_settled(self, station: str, refusal: ContentError | None) -> None:
        """Correct a station's counts where the store refused an episode."""
        next(s for s in self.supervisors if s.station.name == station).settled(refusal)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Show the task in the station's status."""
        doing = "; ".join([proposal.task.instruction, *self._outages.values()])
        self._supervisor(station).show("collecting", doing, self._late_ms())

    def close(self) -> None:
        """Store what is left, and show the stations as stopped. Raises StoreError: see `collect`."""
        try:
            self._recorder.close()
        except StoreError as error:
            raise StoreError(unstored.keep(self._spare, self._recorder.unstored, error)) from error
        finally:
            self._worker.shutdown(cancel_futures=True)
            if self._metronome:
                log.info("%s", self._metronome.jitter)
            for supervisor in self.supervisors:
                if not supervisor.broken:
                    supervisor.show("stopped", late_ms=self._late_ms())
                supervisor.status_folder.settle()

    def _assess(self, supervisors: Sequence[StationSupervisor]) -> None:
        """Assess the scenes of stations without an assessment: at the start, and after faults."""
        observed = []
        for supervisor in supervisors:
            try:
                observed.append((supervisor, supervisor.observe()))
            except RobotFault as error:
                supervisor.fault(error)
        assessments = assess(self.models.vlm, [(o, s.station.tasks) for s, o in observed])
        for (supervisor, _), assessment in zip(observed, assessments, strict=True):
            supervisor.update(assessment)

    def _when_store_works(self, function: Callable[[], T]) -> T:
        """Return the result of a function that uses the store; while the store fails, the arms wait."""
        result = self._retrier.call(function)
        if self._store_problem:
            self._store_problem = ""
            for supervisor in self._working():
                supervisor.status_folder.note("back", "the store works again")
                supervisor.show("collecting")
        return result

    def _wait_for_store(self, error: SoarError) -> None:
        """Show that the store fails; a person is called once. `soar stop` for all stations ends the wait."""
        first, self._store_problem = not self._store_problem, str(error)
        for supervisor in self._working():
            if first:
                supervisor.status_folder.note("store", str(error), person=True)
            supervisor.show("waiting", str(error))
        if all(s.status_folder.command() == "stop" for s in self._working()):
            self._stop.set()

    def _break_off(
        self, supervisors: Sequence[StationSupervisor], error: ModelUnavailable | BadOutput
    ) -> None:
        """Drop the episode of all stations, after a model failed in the middle of it, and home the arms."""
        for supervisor in supervisors:
            supervisor.seeds.advance()
            if isinstance(error, BadOutput):
                supervisor.drop(error)
            else:
                supervisor.wait_for_model(error)
        if isinstance(error, ModelUnavailable):
            self._stop.wait(self._config.backoff.pause_s(self._broken_off))
            self._broken_off += 1

    def _on_outage(self, role: str, message: str) -> None:
        """Show that a model is unavailable, or works again if the message is empty; a person is called once."""
        if message:
            self._outages[role] = message
        else:
            self._outages.pop(role, None)
        for supervisor in self._working():
            if message:
                supervisor.status_folder.note("model down", message, person=True)
                supervisor.show("waiting", message)
            else:
                supervisor.status_folder.note("back", f"the {role} works again")

    def _working(self) -> list[StationSupervisor]:
        """Return the stations that aren't broken or stopped."""
        return [s for s in self.supervisors if s.activity not in ("broken", "stopped")]

    def _histories(self, supervisors: Sequence[StationSupervisor]) -> list[History]:
        """Counts for the proposals: those of the store during the last episode, plus that episode.

        The recorder's thread reads the store while the arms move, after the earlier episodes were stored, so that no
        station waits for it.
        """
        scenes = [_same_scene(s.station) for s in supervisors]
        counts = {q: self._when_store_works(partial(self._count, q)) for q in set(scenes)}
        for query, result in self._uncounted:
            if query in self._requested and query in counts:
                counts[query] = result.counted_in(counts[query])
        self._uncounted.clear()
        self._requested = {
            q: self._recorder.submit(partial(self._store.history, q)) for q in counts
        }
        return [counts[q] for q in scenes]

    def _count(self, query: Query) -> History:
        """Return the counts that were requested, or those of the store now. Raises StoreError."""
        requested = self._requested.get(query)
        if requested is not None and requested.exception() is None:
            return requested.result()
        self._requested.pop(query, None)
        return self._store.history(query)

    def _provenance(self, station: Station) -> Provenance:
        """Provenance of the station's next episode."""
        supervisor = self._supervisor(station)
        return Provenance(
            station=station.name,
            regime=station.regime,
            scene=station.scene,
            seed=supervisor.seed,
            started_s=time.time(),
            checkpoint=self.models.checkpoint,
            config_hash=self._config_hash,
            code_version=soar.__version__,
            round=self._config.round,
            exploration={"noise": supervisor.noise},
            faults=tuple(supervisor.recent_faults),
        )

    def _supervisor(self, station: Station) -> StationSupervisor:
        return next(s for s in self.supervisors if s.station is station)

    def _late_ms(self) -> float | None:
        return 1000 * self._metronome.jitter.mean_s if self._metronome else None


def _same_scene(station: Station) -> Query:
    """Episodes that count in a station's proposals: those of all stations in its scene."""
    return Query(scenes=(station.scene,), regimes=(station.regime,))
