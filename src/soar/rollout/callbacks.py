"""What the control loop tells whoever wants to know, and how an episode ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soar.errors import SoarError
from soar.rollout.assessment import SceneAssessment
from soar.rollout.station import Station
from soar.types import Proposal, Step, Subgoal, Verdict


@dataclass(frozen=True, eq=False)
class EpisodeResult:
    """How an episode ended, and all that led to it but the steps, which went to the callbacks."""

    proposal: Proposal
    before: SceneAssessment
    after: SceneAssessment
    """The last frame, with the answers about it: they judge this episode and propose the next."""
    verdict: Verdict
    noise: float
    fault: SoarError | None = None
    """What stopped the episode before its end; it is no episode then."""
    homing_fault: SoarError | None = None
    """What went wrong on the way home, when the episode was already whole."""


class Callback:
    """Sees what happens, and never changes it. Override what you care about."""

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """A task was chosen; the arm is about to move."""

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """A new picture to reach."""

    def on_step(self, station: Station, step: Step) -> None:
        """One action was executed."""

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """The episode is over, judged or broken off."""


class CallbackList(Callback):
    """Many callbacks as one."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._callbacks = tuple(callbacks)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Tell everyone."""
        for callback in self._callbacks:
            callback.on_start(station, proposal)

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Tell everyone."""
        for callback in self._callbacks:
            callback.on_subgoal(station, subgoal)

    def on_step(self, station: Station, step: Step) -> None:
        """Tell everyone."""
        for callback in self._callbacks:
            callback.on_step(station, step)

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Tell everyone."""
        for callback in self._callbacks:
            callback.on_episode(station, result)


NO_CALLBACK = CallbackList()
