"""Recording: a callback of the control loop that turns steps into stored episodes, behind the arm's back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from soar.errors import RobotFault, StoreError
from soar.interfaces import EpisodeStore
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Simulator, Station
from soar.types import Answer, Episode, Proposal, Provenance, Step, Subgoal

T = TypeVar("T")


@dataclass
class EpisodeBuffer:
    """What is known of a running episode."""

    provenance: Provenance
    steps: list[Step] = field(default_factory=list)
    subgoals: list[Subgoal] = field(default_factory=list)
    done_before: bool | None = None
    """A simulation's word on the task before the first action."""
    truth: bool | None = None
    """Its word on whether the task was done in this episode: undone before, done at the end."""


class Recorder(Callback):
    """Stores every episode that came to its end, from a thread of its own.

    An episode whose append fails stays here until `settle` has stored it.
    """

    def __init__(
        self,
        store: EpisodeStore,
        length: int,
        provenance: Callable[[Station], Provenance],
    ) -> None:
        """A recorder for episodes of `length` steps.

        `provenance` says where a station's next episode comes from, as far as is known at its start.
        """
        self._store = store
        self._length = length
        self._provenance = provenance
        self._tapes: dict[str, EpisodeBuffer] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._pending: list[tuple[Episode, Future[str]]] = []

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """A new tape; what was on it from a broken-off episode is gone."""
        tape = EpisodeBuffer(replace(self._provenance(station), proposal=proposal))
        tape.done_before = _done(station.simulation, proposal)
        self._tapes[station.name] = tape

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Keep it."""
        self._tapes[station.name].subgoals.append(subgoal)

    def on_step(self, station: Station, step: Step) -> None:
        """Keep it; at the last one a simulation's truth is noted, before the arm goes home."""
        tape = self._tapes[station.name]
        tape.steps.append(step)
        if step.index == self._length - 1 and tape.provenance.proposal:
            done = _done(station.simulation, tape.provenance.proposal)
            known = done is not None and tape.done_before is not None
            tape.truth = bool(done and not tape.done_before) if known else None

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Begin to store the episode; one that was broken off is dropped."""
        tape = self._tapes.pop(station.name)
        if result.fault is not None:
            return
        episode = to_episode(tape, result)
        self._pending.append((episode, self._thread.submit(self._store.append, episode)))

    def later(self, function: Callable[[], T]) -> Future[T]:
        """Call something in the recorder's thread, after all that was submitted before it."""
        return self._thread.submit(function)

    def settle(self, keep: int = 0) -> None:
        """Wait until at most `keep` episodes aren't stored yet, and forget those that are.

        Raises:
            StoreError: something can't be stored; try again later.
        """
        while len(self._pending) > keep or (self._pending and self._pending[0][1].done()):
            episode, future = self._pending[0]
            try:
                future.result()
            except StoreError:
                self._pending[0] = (episode, self._thread.submit(self._store.append, episode))
                raise
            self._pending.pop(0)

    def close(self) -> None:
        """Store what is left, and end the thread. Raises StoreError."""
        try:
            self.settle()
        finally:
            self._thread.shutdown()


def _done(simulation: Simulator | None, proposal: Proposal) -> bool | None:
    """Unknown without a simulation, or where it has just broken; the episode will find out by itself."""
    if simulation is None:
        return None
    try:
        return simulation.truth(proposal.task.instruction)
    except RobotFault:
        return None


def to_episode(tape: EpisodeBuffer, result: EpisodeResult) -> Episode:
    """The episode on a tape: T steps between T + 1 observations."""
    steps = tape.steps
    observations = [s.observation for s in steps] + [result.after.observation]
    provenance = replace(
        tape.provenance,
        answers_before=_answers(result.before),
        answers_after=_answers(result.after),
        truth=tape.truth,
    )
    return Episode(
        instruction=result.proposal.task.instruction,
        actions=np.stack([s.executed for s in steps]),
        commanded=np.stack([s.commanded for s in steps]),
        images=np.stack([o.image for o in observations]),
        states=np.stack([o.state for o in observations]),
        times_s=np.array([o.time_s for o in observations]),
        subgoals=tuple(tape.subgoals),
        verdict=result.verdict,
        provenance=provenance,
    )


def _answers(look: SceneAssessment) -> tuple[Answer, ...]:
    return tuple(look.answers.values())
