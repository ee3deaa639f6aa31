"""What all served policies have in common: conversions, chunks, samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from soar.policies.remote.actions import Meaning
from soar.policies.remote.options import RemoteOptions
from soar.types import Actions, Images, Noise, Observation, State


class RemotePolicy(ABC):
    """A policy whose answers come from a server."""

    checkpoint_id = ""
    """Id of the served checkpoint, where the server gives it, for episodes' provenance."""

    def __init__(self, name: str, options: RemoteOptions, meaning: Meaning) -> None:
        self.name, self.options = name, options
        self.contract = meaning.present
        """Meaning of the robot's states and actions."""
        self._meaning = meaning
        self._instructions: Sequence[str] = ()
        self._last: Actions | None = None

    @abstractmethod
    def ask(
        self,
        observations: Sequence[Observation],
        states: Sequence[State],
        goals: Images | Sequence[str],
        scales: Float[np.ndarray, " n"],
        rng: np.random.Generator,
    ) -> object:
        """Return a chunk (h, d) of the server's actions for each observation.

        Args:
            observations: current observations.
            states: their states as the server takes them.
            goals: goal images, or instructions.
            scales: of the noise.
            rng: random number generator.

        Raises:
            ModelUnavailable: the server doesn't answer.
            ConfigError: it doesn't take such goals.
        """

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return the first action of each chunk. Raises ModelUnavailable, BadOutput, ConfigError."""
        return self.chunk(observations, goals, rng, noise=noise)[:, 0]

    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h _action"]:
        """Return the next actions of each robot. Raises ModelUnavailable, BadOutput, ConfigError."""
        scales = np.broadcast_to(np.asarray(noise, np.float64), (len(observations),))
        own = [o.state for o in observations]
        answers = self.ask(observations, self._meaning.states(own), goals, scales, rng)
        chunks = self._meaning.actions(answers, own, self.name)
        if self.options.noise_std and scales.any():
            std = np.array(self.options.noise_std)
            spread = rng.standard_normal((len(chunks), 1, len(std))) * std
            chunks[..., : len(std)] += scales[:, None, None] * spread
        return chunks

    def sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        count: int,
        *,
        noise: float = 1.0,
    ) -> Float32[np.ndarray, "n _count h _action"]:
        """Return a chunk without noise and `count` - 1 with a scale of it for each robot, from one batch."""
        repeated = [o for o in observations for _ in range(count)]
        many: Images | Sequence[str] = (
            np.repeat(goals, count, 0)
            if isinstance(goals, np.ndarray)
            else [goal for goal in goals for _ in range(count)]
        )
        scales = np.tile(np.r_[0.0, np.full(count - 1, noise)], len(observations))
        chunks = self.chunk(repeated, many, rng, noise=scales)
        return chunks.reshape(len(observations), count, *chunks.shape[1:])

    def instruct(self, instructions: Sequence[str]) -> None:
        """Send these instructions along with goal images."""
        self._instructions = tuple(instructions)

    def commit(self, actions: Actions) -> None:
        """Note the executed actions."""
        self._last = actions

    def reset(self) -> None:
        """Begin an episode."""
        self._instructions, self._last = (), None

    def instruction(self, index: int, count: int) -> str:
        """Return the instruction of one of `count` observations, where several may be of one robot; "" if unknown."""
        given = self._instructions
        return given[index * len(given) // count] if given else ""
