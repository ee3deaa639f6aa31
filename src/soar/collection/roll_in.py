"""Roll-in (DAgger): the policy that is to learn begins an episode, and the system goes on from where it got to.

So the system's episodes hold the states in which the learner finds itself, its mistakes too, and what to do there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from soar.errors import BadOutput
from soar.interfaces import InstructedPolicy, Policy
from soar.policies.identity import check_goals
from soar.registry import load_policy
from soar.rollout.contracts import require_contracts
from soar.rollout.station import Station
from soar.rollout.takeover import TakenAction, Takeover
from soar.types import Action, Observation
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class RollInConfig:
    """A policy that begins each episode."""

    policy: str = ""
    """Policy that follows instructions, as `soar.registry` names it; "" for none."""
    steps: Annotated[int, Ge(1)] = 60
    """Control steps that it has at most; each episode draws a smaller number, maybe 0."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def make(self, station: Station, person: Takeover | None) -> Takeover | None:
        """Return who acts at an opened station in place of its policy: the learner, or a person, who goes first.

        Raises:
            CheckpointError: there is no such policy.
            ConfigError: it can't be loaded, or can't work with the station's robot.
        """
        if not self.policy:
            return person
        check_goals(self.policy, "none")
        learner = load_policy(self.policy)  # one for each station, as it may remember what it did
        require_contracts([(station.name, station.robot)], learner)
        return RollIn(learner, self.steps, np.random.default_rng(station.seed), person)


class RollIn:
    """A learner that has the arm for some steps, and a person, who may take it from either."""

    def __init__(
        self, learner: Policy, steps: int, rng: np.random.Generator, person: Takeover | None = None
    ) -> None:
        """See `RollInConfig`. `rng`: source of the number of steps and of the learner's noise."""
        self._learner, self._steps, self._rng, self._person = learner, steps, rng, person
        self._instruction, self._left = "", 0

    def start(self, instruction: str) -> None:
        """See `Takeover.start`."""
        if self._person:
            self._person.start(instruction)
        self._instruction, self._left = instruction, int(self._rng.integers(self._steps))
        self._learner.reset()
        if isinstance(self._learner, InstructedPolicy):
            self._learner.instruct([instruction])

    def act(self, index: int, observation: Observation, action: Action) -> TakenAction | None:
        """See `Takeover.act`. Raises BadOutput: the learner didn't return one action like the policy's."""
        taken = self._person.act(index, observation, action) if self._person else None
        if taken or index >= self._left:
            self._left = 0
            return taken
        chosen = self._learner.act([observation], [self._instruction], self._rng)
        if np.shape(chosen) != (1, *action.shape):
            raise BadOutput(
                f"{self._learner.name} gave actions of shape {np.shape(chosen)} for one robot with {len(action)} numbers"
            )
        return TakenAction(chosen[0], "learner")
