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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path

from soar.board import Board
from soar.clock import Clock
from soar.collect import CollectConfig, Tally, collect
from soar.crew import Models
from soar.data.query import Query
from soar.data.store import open_store
from soar.errors import ConfigError, SoarError
from soar.models import load_policy, load_subgoals, load_vlm
from soar.processes import end_with_parent
from soar.run import RoundRecord, Run
from soar.stations import StationConfig, open_station, sim_stations
from soar.subscriber import Subscriber

log = logging.getLogger(__name__)

_RESTARTS = 3


@dataclass(frozen=True)
class ModelNames:
    """Which model plays which role, as `soar.models` names them. A YAML file has the same fields."""

    vlm: str = "compact"
    subgoals: str = "compact"
    """"none" with a policy that follows words; or a run's folder, as for the policy."""
    policy: str = "gcbc"
    """Or the folder of a run: then the policy that it promoted last, picked up between episodes."""
    threshold: float = 0.5
    """P(success) from which an episode is called success."""

    def load(self) -> Models:
        """The models themselves."""
        now = in_force(self)
        subgoals = None if now.subgoals == "none" else load_subgoals(now.subgoals)
        return Models(load_vlm(self.vlm), load_policy(now.policy), subgoals, self.threshold)


def read_models(path: str | Path) -> ModelNames:
    """The models in a YAML file. Raises ConfigError with what is wrong and what is valid."""
    import yaml

    valid = [f.name for f in fields(ModelNames)]
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"models file {path}: {error}") from error
    if not isinstance(raw, dict) or not set(raw) <= set(valid):
        raise ConfigError(f"models file {path}: valid keys are {', '.join(valid)}; got {raw!r:.80}")
    return ModelNames(**raw)


def in_force(names: ModelNames) -> ModelNames:
    """The same with what a run promoted last in the place of the run's folder, for policy and subgoals."""
    return replace(names, policy=_promoted(names.policy)[0], subgoals=_promoted(names.subgoals)[1])


def _promoted(source: str) -> tuple[str, str]:
    """Policy and subgoals that a run's folder stands for; any other source stands for itself."""
    if not (Path(source) / "run.json").exists():
        return source, source
    run = Run(Path(source))
    return run.in_force(run.record())


class Promoted:
    """Swaps policy and subgoals between two episodes when a run has promoted new ones."""

    def __init__(self, names: ModelNames) -> None:
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
class Job:
    """What a fleet is to do."""

    store: Path
    models: ModelNames
    config: CollectConfig = field(default_factory=CollectConfig)
    episodes: int | None = None
    """Stored ones, of all stations together."""
    hours: float | None = None


def run_fleet(
    stations: Sequence[StationConfig],
    job: Job,
    *,
    stop: threading.Event | None = None,
    subscribers: Sequence[Subscriber] = (),
) -> Tally:
    """Collect with these stations, in lockstep when all are simulated, else each in its own process.

    Args:
        stop: ends collection after the running episode.
        subscribers: see what stations in lockstep do.

    Raises:
        ConfigError, CheckpointError, StoreError: it can't begin, or the store stayed unusable.
    """
    open_store(job.store, create=True)
    if len(stations) == 1 or not any(s.paced for s in stations):
        return run_lockstep(stations, job, stop or threading.Event(), subscribers)
    return _run_apart(stations, job)


def run_lockstep(
    stations: Sequence[StationConfig],
    job: Job,
    stop: threading.Event,
    subscribers: Sequence[Subscriber] = (),
) -> Tally:
    """All stations in this process, one batch for each model call."""
    models = job.models.load()
    clock = Clock() if any(s.paced for s in stations) else None
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
            [Board(job.store, s.name, s.webhook) for s in stations],
            job.config,
            episodes=job.episodes,
            hours=job.hours,
            stop=stop,
            clock=clock,
            refresh=Promoted(job.models),
            subscribers=subscribers,
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


def collector(
    names: ModelNames,
    stations: int = 2,
    config: CollectConfig | None = None,
    episodes: int = 400,
    seed: int = 0,
    subscribers: Sequence[Subscriber] = (),
) -> Callable[[Run, RoundRecord, str, str, str], None]:
    """What `soar.improve` takes: fills a run's store for one round in one simulated scene.

    It goes on where the store says, until that round has its episodes in that scene.
    """

    def collect_round(
        run: Run, record: RoundRecord, scene: str, policy: str, subgoals: str
    ) -> None:
        store = open_store(run.store, create=True)
        configs = sim_stations(scene, stations, seed)
        query = Query(scenes=(configs[0].scene,), rounds=(record.index,))
        done = sum(c.attempts for c in store.history(query).values())
        if done >= episodes:
            return
        job = Job(
            run.store,
            replace(names, policy=policy, subgoals=subgoals),
            replace(config or CollectConfig(), round=record.index),
            episodes - done,
        )
        tally = run_fleet(configs, job, subscribers=subscribers)
        if tally.episodes < episodes - done:
            why = f"; broken: {', '.join(tally.broken)}" if tally.broken else ""
            raise SoarError(
                f"collection ended after {done + tally.episodes} of {episodes} episodes{why}"
            )

    return collect_round


def _run_apart(stations: Sequence[StationConfig], job: Job) -> Tally:
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
    tallies = [w.tally for w in watchers if w.tally]
    lost = tuple(w.name for w in watchers if w.tally is None)
    return Tally(
        sum(t.episodes for t in tallies),
        sum(t.dropped for t in tallies),
        sum(t.faults for t in tallies),
        tuple(name for t in tallies for name in t.broken) + lost,
    )


class _Watcher:
    """Keeps one station's process alive."""

    def __init__(self, context: SpawnContext, station: StationConfig, job: Job) -> None:
        self.name = station.name
        self.tally: Tally | None = None
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
                self.tally = ours.recv()
                return
            log.error("station %s ended with exit code %s", self.name, process.exitcode)


def _work(pipe: Connection, station: StationConfig, job: Job) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    end_with_parent(stop.set)
    pipe.send(run_lockstep([station], job, stop))
