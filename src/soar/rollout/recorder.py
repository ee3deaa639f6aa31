"""Recorder: a callback that stores finished episodes in a background thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from soar.contract.contract import WIDOWX, Contract
from soar.errors import ContentError, RobotFault, StoreError
from soar.interfaces import EpisodeStore
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.contracts import robot_contract
from soar.rollout.station import Station
from soar.types import Episode, Proposal, Provenance, Query, Step, Subgoal

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class EpisodeBuffer:
    """Recorded part of a running episode."""

    provenance: Provenance
    contract: Contract = WIDOWX
    """Meaning of the robot's actions, states and images."""
    steps: list[Step] = field(default_factory=list)
    subgoals: list[Subgoal] = field(default_factory=list)
    done_before: bool | None = None
    """Whether the simulator found the task done before the first action."""
    truth: bool | None = None
    """Whether the simulator found the task undone before and done at the end."""


class Recorder(Callback):
    """Stores every complete episode. One whose append fails is kept until `settle` has stored it."""

    def __init__(
        self,
        store: EpisodeStore,
        length: int,
        provenance: Callable[[Station], Provenance],
        on_settled: Callable[[str, ContentError | None], None] = lambda station, refusal: None,
    ) -> None:
        """Start the thread.

        Args:
            store: where episodes are stored.
            length: control steps of an episode.
            provenance: returns the provenance of a station's next episode, as known at its start.
            on_settled: called for each episode with its station's name, and why the store refused it; None if it is
                stored.
        """
        self._store = store
        self._length = length
        self._provenance, self._on_settled = provenance, on_settled
        self._buffers: dict[str, EpisodeBuffer] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._pending: list[tuple[Episode, Future[str]]] = []

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Start a new buffer, in place of that of an episode that was broken off."""
        provenance = replace(self._provenance(station), proposal=proposal)
        buffer = EpisodeBuffer(provenance, robot_contract(station.robot))
        buffer.done_before = _truth(station, proposal)
        self._buffers[station.name] = buffer

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Record a subgoal."""
        self._buffers[station.name].subgoals.append(subgoal)

    def on_step(self, station: Station, step: Step) -> None:
        """Record a step; at the last one, before the arm goes home, also the simulator's truth."""
        buffer = self._buffers[station.name]
        buffer.steps.append(step)
        if step.index == self._length - 1 and buffer.provenance.proposal:
            done = _truth(station, buffer.provenance.proposal)
            known = done is not None and buffer.done_before is not None
            buffer.truth = bool(done and not buffer.done_before) if known else None

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Begin to store a complete episode; drop one that was broken off."""
        buffer = self._buffers.pop(station.name)
        if result.fault is not None:
            return
        episode = to_episode(buffer, result)
        self._pending.append((episode, self._thread.submit(self._store.append, episode)))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Call a function in the recorder's thread, after everything submitted before it."""
        return self._thread.submit(function)

    def settle(self, keep: int = 0) -> None:
        """Wait until at most `keep` episodes aren't stored yet. One that the store can't hold is dropped and logged.

        If attempts failed before, they are made again first, and all episodes are waited for.

        Raises:
            StoreError: an episode can't be stored; the next call tries again.
        """
        if self._try_again():
            keep = 0
        while len(self._pending) > keep or (self._pending and self._pending[0][1].done()):
            episode, future = self._pending[0]
            station, refusal = episode.provenance.station, None
            try:
                future.result()
            except ContentError as error:
                refusal = error
                log.error("an episode of %s is dropped: %s", station, error)
            self._pending.pop(0)
            self._on_settled(station, refusal)

    def _try_again(self) -> bool:
        """Submit again the episodes whose attempt failed. Returns whether there are any."""
        failed = [_may_succeed_later(future) for _, future in self._pending]
        self._pending = [
            (e, self._thread.submit(self._append_again, e) if again else f)
            for (e, f), again in zip(self._pending, failed, strict=True)
        ]
        return any(failed)

    def _append_again(self, episode: Episode) -> str:
        """Store an episode, unless the failed attempt did so after all: the disk may have gone after the commit."""
        started_s = episode.provenance.started_s
        end_s = float(np.nextafter(started_s, np.inf))
        stations = (episode.provenance.station,)
        found = self._store.query(Query(stations=stations, since_s=started_s, until_s=end_s))
        return next((summary.id for summary in found), None) or self._store.append(episode)

    @property
    def unstored(self) -> list[Episode]:
        """Finished episodes that aren't stored, without those that no store can hold."""
        return [e for e, f in self._pending if not f.done() or _may_succeed_later(f)]

    def close(self) -> None:
        """Store what is left and end the thread. Raises StoreError: some episodes stay unstored."""
        try:
            self.settle()
        finally:
            self._thread.shutdown()


def _may_succeed_later(future: Future[str]) -> bool:
    """Whether an attempt failed, and not because of the episode itself."""
    error = future.exception() if future.done() else None
    return isinstance(error, StoreError) and not isinstance(error, ContentError)


def _truth(station: Station, proposal: Proposal) -> bool | None:
    """Whether the simulator finds the task done.

    None without a simulator, for a task that isn't the station's, or if the simulator just failed (the loop notices).
    """
    instruction = proposal.task.instruction
    if station.simulation is None or instruction not in {t.instruction for t in station.tasks}:
        return None
    try:
        return station.simulation.truth(instruction)
    except RobotFault:
        return None


def to_episode(buffer: EpisodeBuffer, result: EpisodeResult) -> Episode:
    """Return a recorded episode: T steps between T + 1 observations."""
    steps = buffer.steps
    observations = [s.observation for s in steps] + [result.after.observation]
    actors = tuple(s.actor for s in steps)
    provenance = replace(
        buffer.provenance,
        answers_before=tuple(result.before.answers.values()),
        answers_after=tuple(result.after.answers.values()),
        truth=buffer.truth,
    )
    return Episode(
        instruction=result.proposal.task.instruction,
        actions=np.stack([s.executed for s in steps]),
        commanded=np.stack([s.commanded for s in steps]),
        images=np.stack([o.image for o in observations]),
        states=np.stack([o.state for o in observations]),
        times_s=np.array([o.time_s for o in observations]),
        subgoals=tuple(buffer.subgoals),
        verdict=result.verdict,
        provenance=provenance,
        contract=buffer.contract,
        other_images={
            name: np.stack([o.other_images[name] for o in observations])
            for name in buffer.contract.camera_names[1:]
        },
        actors=() if set(actors) == {"policy"} else actors,
    )
