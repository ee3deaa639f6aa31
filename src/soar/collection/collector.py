"""Autonomous collection, for days: propose, try, judge, store, and go on whatever happens.

What a restart needs is in the store alone: counts for the proposals, and how many episodes each station
has, from which the next seed follows. Everything that can fail is met here: a robot's fault drops its
episode and is cleared in software, a model that is down is waited for, a full disk stops the arms.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

import soar
from soar.collection.retry import Backoff, RetryingSubgoals, RetryingVLM
from soar.collection.status import StatusFolder
from soar.collection.supervisor import FaultLimits, StationSupervisor, broken
from soar.errors import BadOutput, ConfigError, ModelUnavailable, RobotFault, StoreError
from soar.interfaces import EpisodeStore
from soar.rollout.assessment import assess
from soar.rollout.callbacks import Callback, CallbackList, EpisodeResult
from soar.rollout.loop import INLINE, run_episodes
from soar.rollout.recorder import Recorder
from soar.rollout.station import EpisodeConfig, Models, Station
from soar.types import History, Proposal, Provenance, Query, TaskCount
from soar.utils.clock import Clock, Metronome

log = logging.getLogger(__name__)

_POLL_S = 0.5
"""How often a paused station looks for a new wish."""


@dataclass(frozen=True)
class CollectionConfig:
    """How stations collect."""

    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    exploring: float = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian; the others take its mean."""
    noise: float = 1.0
    """Scale of the standard deviation in those."""
    overlap: bool = True
    """Look, judge, and imagine (`episode.prefetch_steps` ahead) while the arm moves."""
    endurance: FaultLimits = field(default_factory=FaultLimits)
    backoff: Backoff = field(default_factory=Backoff)
    """With models that are down, and a store that is full."""
    round: int = 0
    config_hash: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.exploring <= 1 or self.noise < 0:
            raise ConfigError("exploring is a share in 0..1, and noise is at least 0")


@dataclass(frozen=True)
class CollectionSummary:
    """What a call of `collect` did."""

    episodes: int
    """Stored."""
    dropped: int
    faults: int
    broken: tuple[str, ...] = ()
    """Stations that need a person."""


def collect(
    stations: Sequence[Station],
    models: Models,
    store: EpisodeStore,
    boards: Sequence[StatusFolder],
    config: CollectionConfig,
    *,
    episodes: int | None = None,
    hours: float | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    refresh: Callable[[Models], Models] = lambda models: models,
    callbacks: Sequence[Callback] = (),
) -> CollectionSummary:
    """Collect with one station, or with several in lockstep, until enough, told to stop, or all broken.

    Args:
        boards: one for each station.
        episodes: stop after so many stored ones, of all stations together.
        hours: start no episode after so long.
        stop: set it to end after the running episode.
        clock: keeps the control period of real arms; None doesn't wait (simulation).
        refresh: the models of the next episode, given the present ones: picks up a promoted checkpoint.
        callbacks: see what happens.

    Raises:
        StoreError: the store stayed unusable.
    """
    stop = stop or threading.Event()
    names = [s.name for s in stations]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"stations need names that differ, at least one; got {names}")
    supervisors = [
        StationSupervisor(s, store, b, config.endurance, stop)
        for s, b in zip(stations, boards, strict=True)
    ]
    shift = Collector(
        supervisors, with_retries(models, config.backoff, stop), store, config, stop, callbacks
    )
    shift.metronome = Metronome(clock, stations[0].robot.period_s) if clock else None
    ends = time.monotonic() + 3600 * hours if hours is not None else None
    try:
        while not stop.is_set():
            left = None if episodes is None else episodes - sum(d.stored for d in supervisors)
            late = ends is not None and time.monotonic() >= ends
            if late or left == 0 or all(d.activity in ("broken", "stopped") for d in supervisors):
                break
            shift.models = refresh(shift.models)
            shift.run(shift.ready()[:left])
        shift.settle()
    finally:
        shift.close()
    return CollectionSummary(
        sum(d.stored for d in supervisors),
        sum(d.dropped for d in supervisors),
        sum(d.faults for d in supervisors),
        broken(supervisors),
    )


def with_retries(models: Models, backoff: Backoff, stop: threading.Event) -> Models:
    """The same models, waited for while they are down."""
    generator = models.subgoals
    return replace(
        models,
        vlm=RetryingVLM(models.vlm, backoff, stop),
        subgoals=RetryingSubgoals(generator, backoff, stop) if generator else None,
    )


class Collector(Callback):
    """Some stations at work in lockstep."""

    def __init__(
        self,
        supervisors: Sequence[StationSupervisor],
        models: Models,
        store: EpisodeStore,
        config: CollectionConfig,
        stop: threading.Event,
        callbacks: Sequence[Callback],
    ) -> None:
        self.supervisors, self.models = supervisors, models
        self._store, self._config, self._stop = store, config, stop
        self._recorder = Recorder(store, config.episode.length, self._provenance)
        self._callback = CallbackList((self._recorder, self, *callbacks))
        self._worker: Executor = ThreadPoolExecutor(2) if config.overlap else INLINE
        self.metronome: Metronome | None = None
        self._asked: dict[Query, Future[History]] = {}
        self._fresh: list[tuple[Query, EpisodeResult]] = []
        """Episodes that the answers in `_asked` don't know yet."""

    def ready(self) -> list[StationSupervisor]:
        """The stations that can begin an episode now; when there is none, after a short wait."""
        supervisors = [d for d in self.supervisors if d.willing()]
        for supervisor in supervisors:
            supervisor.call_simulated_person()
        self._look_at([d for d in supervisors if d.look is None])
        supervisors = [d for d in supervisors if d.look is not None]
        if not supervisors:
            self._stop.wait(_POLL_S)
        return supervisors

    def run(self, supervisors: Sequence[StationSupervisor]) -> None:
        """One episode on each, and what follows from it."""
        if not supervisors or not self.settle(keep=len(self.supervisors)):
            return
        rng = np.random.default_rng([d.seed for d in supervisors])
        for supervisor in supervisors:
            supervisor.noise = self._config.noise if rng.random() < self._config.exploring else 0.0
        histories = self._histories(supervisors)
        try:
            results = run_episodes(
                [d.station for d in supervisors],
                [d.look for d in supervisors if d.look],
                self.models,
                self._config.episode,
                histories,
                rng,
                noise=np.array([d.noise for d in supervisors]),
                callback=self._callback,
                worker=self._worker,
                metronome=self.metronome,
            )
        except (ModelUnavailable, BadOutput) as error:
            self._broken_off(supervisors, error)
            return
        for supervisor, result in zip(supervisors, results, strict=True):
            supervisor.finish(result)
            if result.fault is None:
                self._fresh.append((_same_scene(supervisor.station), result))

    def settle(self, keep: int = 0) -> bool:
        """Wait until all but `keep` episodes are stored; False when someone wants to stop before."""
        pause, began = self._config.backoff.first_s, time.monotonic()
        while True:
            try:
                self._recorder.settle(keep)
            except StoreError as error:
                waited = time.monotonic() - began
                if self._stop.is_set() or waited > self._config.backoff.patience_s:
                    raise
                for supervisor in self.supervisors:
                    supervisor.board.note("store", str(error), person=waited < pause)
                    supervisor.show("waiting", str(error))
                self._stop.wait(pause)
                pause = min(pause * self._config.backoff.factor, self._config.backoff.longest_s)
            else:
                return not self._stop.is_set()

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Say on the board what is tried."""
        self._supervisor(station).show("collecting", proposal.task.instruction, self._late_ms())

    def close(self) -> None:
        """Store what is left, and say that nobody works here any more."""
        try:
            self._recorder.close()
        finally:
            self._worker.shutdown(cancel_futures=True)
            if self.metronome:
                log.info("%s", self.metronome.jitter)
            for supervisor in self.supervisors:
                if not supervisor.broken:
                    supervisor.show("stopped", late_ms=self._late_ms())

    def _look_at(self, supervisors: Sequence[StationSupervisor]) -> None:
        """A look for stations that have none: at the start, and after something happened."""
        seen = []
        for supervisor in supervisors:
            try:
                if supervisor.activity == "starting":
                    supervisor.station.robot.home()
                seen.append((supervisor, supervisor.station.robot.observe()))
            except RobotFault as error:
                supervisor.fault(error)
        looks = assess(self.models.vlm, [(o, d.station.tasks) for d, o in seen])
        for (supervisor, _), look in zip(seen, looks, strict=True):
            supervisor.see(look)

    def _broken_off(
        self, supervisors: Sequence[StationSupervisor], error: ModelUnavailable | BadOutput
    ) -> None:
        """A model failed in the middle of the episode: nothing of it is kept, the arms go home."""
        for supervisor in supervisors:
            supervisor.count += 1
            if isinstance(error, BadOutput):
                supervisor.drop(error)
            else:
                supervisor.wait_for_model(error)
        if isinstance(error, ModelUnavailable):
            self._stop.wait(self._config.backoff.longest_s)

    def _histories(self, supervisors: Sequence[StationSupervisor]) -> list[History]:
        """Counts for the proposals: what the store said during the last episode, plus that episode.

        The store is asked behind the arms' backs, after it has taken everything before; so nobody
        waits for it, and no count is kept aside.
        """
        scenes = [_same_scene(d.station) for d in supervisors]
        known = {
            q: self._asked[q].result() if q in self._asked else self._store.history(q)
            for q in set(scenes)
        }
        for query, result in self._fresh:
            if query in self._asked and query in known:
                known[query] = counted(known[query], result)
        self._fresh.clear()
        self._asked = {q: self._recorder.later(partial(self._store.history, q)) for q in known}
        return [known[q] for q in scenes]

    def _provenance(self, station: Station) -> Provenance:
        """Where the station's next episode comes from."""
        supervisor = self._supervisor(station)
        return Provenance(
            station=station.name,
            regime=station.regime,
            scene=station.scene,
            seed=supervisor.seed,
            started_s=time.time(),
            checkpoint=self.models.checkpoint,
            config_hash=self._config.config_hash,
            code_version=soar.__version__,
            round=self._config.round,
            exploration={"noise": supervisor.noise},
            faults=tuple(supervisor.recent_faults),
        )

    def _supervisor(self, station: Station) -> StationSupervisor:
        return next(d for d in self.supervisors if d.station is station)

    def _late_ms(self) -> float | None:
        return 1000 * self.metronome.jitter.mean_s if self.metronome else None


def counted(history: History, result: EpisodeResult) -> History:
    """The counts with one more episode."""
    task = result.proposal.task.instruction
    attempts, successes = history.get(task, TaskCount())
    success = result.verdict.outcome == "success"
    return {**history, task: TaskCount(attempts + 1, successes + success)}


def _same_scene(station: Station) -> Query:
    """Whose attempts count in a station's proposals: those of every station in its scene."""
    return Query(scenes=(station.scene,), regimes=(station.regime,))
