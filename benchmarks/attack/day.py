"""24 simulated hours of a fleet with faults of robots, models and store: no growth, no leftovers, no made-up label."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.store_writers import leftovers

from soar.collection.collector import collect
from soar.collection.config import CollectionConfig
from soar.collection.retry import Backoff
from soar.collection.status import StatusFolder
from soar.collection.supervisor import FaultLimits
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import sweep, verify
from soar.errors import ModelUnavailable, StoreError
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Actions, Answer, Episode, Image, Images, Noise, Observation, Question

_STATIONS = 2
_RATES = FaultRates(motor=2e-4, frozen=1e-4, gone=1e-4, recovery=0.7)
"""About one fault in 25 episodes of 100 steps."""
_HOMING_S = 1.5
_HOUR_S = 3600.0
"""Simulated time of a step in seconds."""
_OUTAGE = 0.004
"""Probability that a model's call begins an outage, or raises anything else."""


class FakeTime(threading.Event):
    """An event whose waits take no real time, and are counted as simulated seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Count the time, and return at once."""
        self.waited_s += timeout or 0.0
        return self.is_set()


class TimedToy(ToyRobot):
    """The toy robot, whose homing takes time too."""

    def home(self) -> None:
        """Return to the home position."""
        super().home()
        self._time_s += _HOMING_S

    @property
    def time_s(self) -> float:
        """Simulated time so far in seconds."""
        return self._time_s


class FailingVLM(ToyVLM):
    """The toy's VLM, which is unavailable for a while, raises anything, or answers nothing it is sure of."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._left = rng, 0

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return answers, or fail."""
        if not self._left and self._rng.random() < _OUTAGE:
            self._left = int(self._rng.integers(1, 12))
        if self._left:
            self._left -= 1
            if self._left % 3 == 0:
                raise ConnectionResetError("lost (injected)")
            raise ModelUnavailable("the VLM is down (injected)")
        answers = super().answer(images, questions)
        unsure = self._rng.random() < _OUTAGE
        return [[a._replace(p_yes=None) for a in row] for row in answers] if unsure else answers


class FailingSubgoals(ToySubgoals):
    """The toy's subgoal generator, which fails now and then."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def generate(
        self, observations: Sequence[Observation], tasks: Any, rng: np.random.Generator
    ) -> Images:
        """Return images, or fail."""
        if self._rng.random() < _OUTAGE / 5:
            raise RuntimeError("CUDA out of memory (injected)")
        return super().generate(observations, tasks, rng)


class FailingPolicy(ToyPolicy):
    """The toy's policy, which gives actions that aren't finite now and then."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def act(
        self, observations: Any, goals: Any, rng: np.random.Generator, *, noise: Noise = 0.0
    ) -> Actions:
        """Return actions, or NaN."""
        actions = super().act(observations, goals, rng, noise=noise)
        if self._rng.random() < _OUTAGE / 20:
            actions[0, 0] = np.nan
        return actions


class FailingStore(LanceStore):
    """A store that can't be written now and then."""

    rng: np.random.Generator
    refused = 0

    def append(self, episode: Episode) -> str:
        """Store an episode, or fail as a full disk does."""
        if self.rng.random() < _OUTAGE:
            self.refused += 1
            raise StoreError("the disk is full (injected)")
        return super().append(episode)


class LongRun(Attack):
    """One simulated hour of the fleet in each step; it is started again where a station needs a person."""

    title = f"24 simulated hours of {_STATIONS} stations with faults"
    tries = 24
    in_process = True

    def step(self, index: int) -> Outcome:
        """Collect for an hour, and compare what is in the store with what happened."""
        logging.disable(logging.CRITICAL)  # thousands of injected faults
        rng = np.random.default_rng([24, index])
        path = self.folder / "store"
        opened = open_store(path, create=True)
        store = FailingStore(opened.path, opened.identity, False, "jpeg")
        store.rng = rng
        known = {e.id for e in store.query()}
        robots = [TimedToy(int(rng.integers(2**31))) for _ in range(_STATIONS)]
        stored, time = 0, FakeTime()
        while min(r.time_s for r in robots) + time.waited_s < _HOUR_S:
            left = _HOUR_S - min(r.time_s for r in robots) - time.waited_s
            stored += self._collect(
                robots, store, rng, time, max(1, round(_STATIONS * left / 21.5))
            )
        new = [e for e in store.query() if e.id not in known]
        harm = []
        if len(new) != stored:
            harm.append(f"{len(new)} new episodes in the store, {stored} were counted")
        keys = [(e.provenance.station, e.provenance.seed) for e in store.query()]
        if len(set(keys)) < len(keys):
            harm.append("two episodes of a station have one seed")
        for episode in new:
            outcome, truth = episode.verdict.outcome, episode.provenance.truth
            if outcome != "unknown" and truth is not None and (outcome == "success") != truth:
                harm.append(f"episode {episode.id} is labeled {outcome}, which is wrong")
        return Outcome(tuple(harm))

    def close(self) -> None:
        """Log again."""
        logging.disable(logging.NOTSET)

    def finish(self) -> Outcome:
        """Sweep and verify the store, and count what belongs to nothing."""
        store = open_store(self.folder / "store")
        sweep(store, older_than_s=0)
        harm = tuple(f"{f.part}: {f.problem}" for f in verify(store, 2) if f.problem)
        known = {"status.json", "events.jsonl", "lease.lock"}
        others = [p for p in store.path.glob("stations/*/*") if p.name not in known]
        return Outcome(harm, leftovers(store) + len(others))

    def _collect(
        self,
        robots: Sequence[TimedToy],
        store: LanceStore,
        rng: np.random.Generator,
        time: FakeTime,
        episodes: int,
    ) -> int:
        """Collect until the number of episodes, or until all stations need a person; return what was stored."""
        tasks = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
        stations = []
        for number, robot in enumerate(robots):
            faulty = SafeRobot(FaultyRobot(robot, _RATES, int(rng.integers(2**31))))
            proposer = UncertaintyProposer(tasks)
            stations.append(Station(f"arm{number}", faulty, tasks, proposer, "toy", "dev", number, robot))  # fmt: skip
        vlm = FailingVLM(rng)
        models = Models(vlm, FailingPolicy(rng), FailingSubgoals(rng), VLMSuccessDetector(vlm))
        config = CollectionConfig(
            EpisodeConfig(),
            fault_limits=FaultLimits(max_recoveries=5),
            backoff=Backoff(max_outage_s=1e9),
        )
        folders = [StatusFolder(store.path, s.name) for s in stations]
        done = collect(stations, models, store, folders, config, episodes=episodes, stop=time)
        return done.episodes
