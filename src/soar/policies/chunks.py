"""Action chunks: a policy that executes several actions of a chunk before the next one is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from soar.contract.compare import contract_of
from soar.contract.contract import WIDOWX
from soar.types import Actions, Images, Noise, Observation

_DECAY = 0.01
"""Decay of the weights of younger predictions in temporal ensembling (ACT)."""


@runtime_checkable
class ChunkPolicy(Protocol):
    """A policy that predicts the next h actions."""

    name: str

    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h a"]:
        """Return the next h actions of each robot; the arguments are those of `soar.interfaces.Policy.act`."""

    def commit(self, actions: Actions) -> None:
        """Note the actions that are executed."""

    def reset(self) -> None:
        """Clear the state of an episode. Called before each episode."""


class ChunkBroker:
    """A policy that executes the chunks of another one, for robots in lockstep. It is a policy itself.

    The next chunk is predicted when this one is used up, when a goal has changed, or for another number of robots.
    """

    def __init__(self, policy: ChunkPolicy, executed: int, *, ensemble: bool = False) -> None:
        """Wrap a policy.

        Args:
            policy: the policy that predicts chunks.
            executed: actions of a chunk that are executed; at most h.
            ensemble: predict in every step and execute the mean of all predictions for it, the gripper's rounded.
        """
        self.policy, self.executed, self.ensemble = policy, executed, ensemble
        self.name = policy.name
        self.checkpoint_id = str(getattr(policy, "checkpoint_id", ""))
        """Id of the policy's checkpoint, for episodes' provenance."""
        self._chunks: list[Float32[np.ndarray, "n h a"]] = []
        """Predictions for this step and later ones, the oldest first."""
        self._done = 0
        self._goals: Images | tuple[str, ...] = ()

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return the next action of each robot's chunk."""
        if not self._same(goals):
            self._chunks, self._done = [], 0
            self._goals = goals.copy() if isinstance(goals, np.ndarray) else tuple(goals)
        if self.ensemble or not self._chunks or self._done == self.executed:
            kept = self._chunks if self.ensemble else []
            new = self.policy.chunk(observations, goals, rng, noise=noise)
            self._chunks, self._done = [*kept, new], 0
        actions = self._mean([chunk[:, 0] for chunk in self._chunks])
        self._chunks = [chunk[:, 1:] for chunk in self._chunks if chunk.shape[1] > 1]
        self._done += 1
        self.policy.commit(actions)
        return actions

    def instruct(self, instructions: Sequence[str]) -> None:
        """Tell the policy the instructions, if it takes any."""
        instruct = getattr(self.policy, "instruct", None)
        if instruct is not None:
            instruct(instructions)

    def with_policy(self, policy: ChunkPolicy) -> ChunkBroker:
        """Return a broker with these settings for another policy, such as a steered one."""
        return ChunkBroker(policy, self.executed, ensemble=self.ensemble)

    def reset(self) -> None:
        """Forget the chunks, and clear the policy's state of an episode."""
        self._chunks, self._done, self._goals = [], 0, ()
        self.policy.reset()

    def _same(self, goals: Images | Sequence[str]) -> bool:
        if isinstance(goals, np.ndarray):
            return isinstance(self._goals, np.ndarray) and np.array_equal(goals, self._goals)
        return isinstance(self._goals, tuple) and tuple(goals) == self._goals

    def _mean(self, predictions: Sequence[Actions]) -> Actions:
        """Return the weighted mean of several predictions, the oldest with the largest weight."""
        if len(predictions) == 1:
            return predictions[0]
        weights = np.exp(-_DECAY * np.arange(len(predictions)))
        mean: Actions = np.average(predictions, 0, weights).astype(np.float32)
        if (contract_of(self.policy) or WIDOWX).action.gripper is not None:
            mean[:, -1] = mean[:, -1] > 0.5
        return mean
