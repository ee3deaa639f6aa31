"""Takeovers: a person acts in the policy's place for a while, in the middle of an episode, and gives the arm back."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from soar.types import Action, Actor, Observation


class TakenAction(NamedTuple):
    """An action in place of the policy's, and who chose it."""

    action: Action
    actor: Actor


@runtime_checkable
class Takeover(Protocol):
    """A person at a station, or whoever stands for one."""

    def start(self, instruction: str) -> None:
        """Begin an episode: the policy has the arm."""

    def act(self, index: int, observation: Observation, action: Action) -> TakenAction | None:
        """Return the action of a control step in place of the policy's; None to let the policy act.

        Args:
            index: control step of the episode, from 0.
            observation: current observation.
            action: the policy's action.
        """
