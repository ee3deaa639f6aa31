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

    plan: EpisodeConfig = field(default_factory=EpisodeConfig)
    exploring: float = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian; the others take its mean."""
    noise: float = 1.0
    """Scale of the standard deviation in those."""
    overlap: bool = True
    """Look, judge, and imagine (`plan.lead_steps` ahead) while the arm moves."""
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
    subscribers: Sequence[Callback] = (),
) -> CollectionSummary:
    """Collect with one station, or with several in lockstep, until enough, told to stop, or all broken.

    Args:
        boards: one for each station.
        episodes: stop after so many stored ones, of all stations together.
        hours: start no episode after so long.
        stop: set it to end after the running episode.
        clock: keeps the control period of real arms; None doesn't wait (simulation).
        refresh: the models of the next episode, given the present ones: picks up a promoted checkpoint.
        subscribers: see what happens.

    Raises:
        StoreError: the store stayed unusable.
    """
    stop = stop or threading.Event()
    names = [s.name for s in stations]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"stations need names that differ, at least one; got {names}")
    desks = [
        StationSupervisor(s, store, b, config.endurance, stop)
        for s, b in zip(stations, boards, strict=True)
    ]
    shift = Collector(
        desks, with_retries(models, config.backoff, stop), store, config, stop, subscribers
    )
    shift.metronome = Metronome(clock, stations[0].robot.period_s) if clock else None
    ends = time.monotonic() + 3600 * hours if hours is not None else None
    try:
        while not stop.is_set():
            left = None if episodes is None else episodes - sum(d.stored for d in desks)
            late = ends is not None and time.monotonic() >= ends
            if late or left == 0 or all(d.activity in ("broken", "stopped") for d in desks):
                break
            shift.models = refresh(shift.models)
            shift.run(shift.ready()[:left])
        shift.settle()
    finally:
        shift.close()
    return CollectionSummary(
        sum(d.stored for d in desks),
        sum(d.dropped for d in desks),
        sum(d.faults for d in desks),
        broken(desks),
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
        desks: Sequence[StationSupervisor],
        models: Models,
        store: EpisodeStore,
        config: CollectionConfig,
        stop: threading.Event,
        subscribers: Sequence[Callback],
    ) -> None:
        self.desks, self.models = desks, models
        self._store, self._config, self._stop = store, config, stop
        self._recorder = Recorder(store, config.plan.length, self._provenance)
        self._subscriber = CallbackList((self._recorder, self, *subscribers))
        self._worker: Executor = ThreadPoolExecutor(2) if config.overlap else INLINE
        self.metronome: Metronome | None = None
        self._asked: dict[Query, Future[History]] = {}
        self._fresh: list[tuple[Query, EpisodeResult]] = []
        """Episodes that the answers in `_asked` don't know yet."""

    def ready(self) -> list[StationSupervisor]:
        """The stations that can begin an episode now; when there is none, after a short wait."""
        desks = [d for d in self.desks if d.willing()]
        for desk in desks:
            desk.call_simulated_person()
        self._look_at([d for d in desks if d.look is None])
        desks = [d for d in desks if d.look is not None]
        if not desks:
            self._stop.wait(_POLL_S)
        return desks

    def run(self, desks: Sequence[StationSupervisor]) -> None:
        """One episode on each, and what follows from it."""
        if not desks or not self.settle(keep=len(self.desks)):
            return
        rng = np.random.default_rng([d.seed for d in desks])
        for desk in desks:
            desk.noise = self._config.noise if rng.random() < self._config.exploring else 0.0
        histories = self._histories(desks)
        try:
            endings = run_episodes(
                [d.station for d in desks],
                [d.look for d in desks if d.look],
                self.models,
                self._config.plan,
                histories,
                rng,
                noise=np.array([d.noise for d in desks]),
                subscriber=self._subscriber,
                worker=self._worker,
                metronome=self.metronome,
            )
        except (ModelUnavailable, BadOutput) as error:
            self._broken_off(desks, error)
            return
        for desk, ending in zip(desks, endings, strict=True):
            desk.finish(ending)
            if ending.fault is None:
                self._fresh.append((_same_scene(desk.station), ending))

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
                for desk in self.desks:
                    desk.board.note("store", str(error), person=waited < pause)
                    desk.show("waiting", str(error))
                self._stop.wait(pause)
                pause = min(pause * self._config.backoff.factor, self._config.backoff.longest_s)
            else:
                return not self._stop.is_set()

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Say on the board what is tried."""
        self._desk(station).show("collecting", proposal.task.instruction, self._late_ms())

    def close(self) -> None:
        """Store what is left, and say that nobody works here any more."""
        try:
            self._recorder.close()
        finally:
            self._worker.shutdown(cancel_futures=True)
            if self.metronome:
                log.info("%s", self.metronome.jitter)
            for desk in self.desks:
                if not desk.broken:
                    desk.show("stopped", late_ms=self._late_ms())

    def _look_at(self, desks: Sequence[StationSupervisor]) -> None:
        """A look for stations that have none: at the start, and after something happened."""
        seen = []
        for desk in desks:
            try:
                if desk.activity == "starting":
                    desk.station.robot.home()
                seen.append((desk, desk.station.robot.observe()))
            except RobotFault as error:
                desk.fault(error)
        looks = assess(self.models.vlm, [(o, d.station.tasks) for d, o in seen])
        for (desk, _), look in zip(seen, looks, strict=True):
            desk.see(look)

    def _broken_off(
        self, desks: Sequence[StationSupervisor], error: ModelUnavailable | BadOutput
    ) -> None:
        """A model failed in the middle of the episode: nothing of it is kept, the arms go home."""
        for desk in desks:
            desk.count += 1
            if isinstance(error, BadOutput):
                desk.drop(error)
            else:
                desk.wait_for_model(error)
        if isinstance(error, ModelUnavailable):
            self._stop.wait(self._config.backoff.longest_s)

    def _histories(self, desks: Sequence[StationSupervisor]) -> list[History]:
        """Counts for the proposals: what the store said during the last episode, plus that episode.

        The store is asked behind the arms' backs, after it has taken everything before; so nobody
        waits for it, and no count is kept aside.
        """
        scenes = [_same_scene(d.station) for d in desks]
        known = {
            q: self._asked[q].result() if q in self._asked else self._store.history(q)
            for q in set(scenes)
        }
        for query, ending in self._fresh:
            if query in self._asked and query in known:
                known[query] = counted(known[query], ending)
        self._fresh.clear()
        self._asked = {q: self._recorder.later(partial(self._store.history, q)) for q in known}
        return [known[q] for q in scenes]

    def _provenance(self, station: Station) -> Provenance:
        """Where the station's next episode comes from."""
        desk = self._desk(station)
        return Provenance(
            station=station.name,
            regime=station.regime,
            scene=station.scene,
            seed=desk.seed,
            started_s=time.time(),
            checkpoint=self.models.checkpoint,
            config_hash=self._config.config_hash,
            code_version=soar.__version__,
            round=self._config.round,
            exploration={"noise": desk.noise},
            faults=tuple(desk.recent_faults),
        )

    def _desk(self, station: Station) -> StationSupervisor:
        return next(d for d in self.desks if d.station is station)

    def _late_ms(self) -> float | None:
        return 1000 * self.metronome.jitter.mean_s if self.metronome else None


def counted(history: History, ending: EpisodeResult) -> History:
    """The counts with one more episode."""
    task = ending.proposal.task.instruction
    attempts, successes = history.get(task, TaskCount())
    success = ending.verdict.outcome == "success"
    return {**history, task: TaskCount(attempts + 1, successes + success)}


def _same_scene(station: Station) -> Query:
    """Whose attempts count in a station's proposals: those of every station in its scene."""
    return Query(scenes=(station.scene,), regimes=(station.regime,))
