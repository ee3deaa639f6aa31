"""Callbacks of the control loop, and the result of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soar.errors import SoarError
from soar.rollout.assessment import SceneAssessment
from soar.rollout.station import Station
from soar.types import History, Proposal, Step, Subgoal, TaskCount, Verdict


@dataclass(frozen=True, eq=False)
class EpisodeResult:
    """Outcome of an episode, without its steps, which the callbacks get one by one."""

    proposal: Proposal
    before: SceneAssessment
    after: SceneAssessment
    """Assessment of the last frame, which also proposes the next task."""
    verdict: Verdict
    noise: float
    """Scale of the policy's standard deviation."""
    fault: SoarError | None = None
    """Fault that broke off the episode, which then isn't stored."""
    homing_fault: SoarError | None = None
    """Fault on the way home, after a complete episode."""

    def counted_in(self, history: History) -> History:
        """Return the counts with this episode."""
        task = self.proposal.task.instruction
        attempts, successes = history.get(task, TaskCount())
        success = self.verdict.outcome == "success"
        return {**history, task: TaskCount(attempts + 1, successes + success)}


class Callback:
    """Observer of episodes, which doesn't change them. Subclasses override some of the methods."""

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Handle the choice of a task, before the arm moves."""

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Handle a new goal of the policy."""

    def on_step(self, station: Station, step: Step) -> None:
        """Handle an executed action."""

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Handle the end of an episode, judged or broken off."""


class CallbackList(Callback):
    """Several callbacks, called in order."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._callbacks = tuple(callbacks)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """See `Callback.on_start`."""
        for callback in self._callbacks:
            callback.on_start(station, proposal)

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """See `Callback.on_subgoal`."""
        for callback in self._callbacks:
            callback.on_subgoal(station, subgoal)

    def on_step(self, station: Station, step: Step) -> None:
        """See `Callback.on_step`."""
        for callback in self._callbacks:
            callback.on_step(station, step)

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """See `Callback.on_episode`."""
        for callback in self._callbacks:
            callback.on_episode(station, result)


NO_CALLBACK = CallbackList()
