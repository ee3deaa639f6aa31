"""The actor of a trained critic as a policy: Cal-QL's, RoboFuME's or PTR's own way to act."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32

from soar.critics.critic import Critic, load_critic
from soar.errors import ConfigError
from soar.types import Actions, Images, Noise, Observation


class ActorPolicy:
    """A policy that takes the mode of the actor's tanh-squashed Gaussian, or a sample of it."""

    def __init__(self, critic: Critic) -> None:
        """Wrap a critic. Raises ConfigError: it has no actor."""
        if critic.actor is None:
            raise ConfigError(
                f"{critic.name} has no actor; valid as a policy: Cal-QL, RoboFuME, PTR"
            )
        self.critic, self.name = critic, f"actor of {critic.name}"
        self.contract = critic.contract
        """Meaning of its actions, and of what it sees."""
        self.checkpoint_id = critic.checkpoint_id
        """Id of the critic's checkpoint, for episodes' provenance."""
        self.resolution = critic.resolution
        self._instructions: tuple[str, ...] = ()

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return the actor's mode where `noise` is 0, else a sample.

        Raises:
            ConfigError: the actor takes instructions, but got goal images and no instructions; or the reverse.
        """
        noisy = np.broadcast_to(noise, len(observations)) > 0
        return self._actions(observations, goals, rng, noisy[:, None])[:, 0]

    def sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        count: int,
        *,
        noise: float = 1.0,
    ) -> Float32[np.ndarray, "n count 1 a"]:
        """Return the mode and `count` - 1 samples for each robot; any `noise` above 0 gives the actor's own spread."""
        noisy = np.full((len(observations), count), noise > 0)
        noisy[:, 0] = False
        return self._actions(observations, goals, rng, noisy)[:, :, None]

    def instruct(self, instructions: Sequence[str]) -> None:
        """Take over the instructions, for an actor that follows them where subgoals are images."""
        self._instructions = tuple(instructions)

    def commit(self, actions: Actions) -> None:
        """Do nothing: the actor has no state."""

    def reset(self) -> None:
        """Forget the instructions."""
        self._instructions = ()

    @torch.inference_mode()
    def _actions(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        noisy: Bool[np.ndarray, "n k"],
    ) -> Float32[np.ndarray, "n k a"]:
        if not self.critic.takes_images and isinstance(goals, np.ndarray) and self._instructions:
            goals = self._instructions
        assert self.critic.actor is not None
        batch = self.critic.prepare(observations, goals)
        shared = self.critic.network.encode(batch)
        features = self.critic.actor.features(shared, batch)
        actions = self.critic.actor.head.mode(features)[:, None].expand(-1, noisy.shape[1], -1)
        if noisy.any():
            generator = torch.Generator(features.device).manual_seed(int(rng.integers(2**63)))
            drawn = self.critic.actor.head.sample(features, noisy.shape[1], generator).actions
            actions = torch.where(
                torch.from_numpy(noisy)[..., None].to(drawn.device), drawn, actions
            )
        physical = self.critic.config.bounds.to_physical(actions).float().cpu().numpy()
        result: Float32[np.ndarray, "n k a"] = physical.copy()
        if self.contract.action.gripper is not None:
            result[..., -1] = result[..., -1] > 0.5
        return result


def load_actor(folder: str | Path, device: str = "auto") -> ActorPolicy:
    """Load the actor of a critic's checkpoint. Raises CheckpointError, ConfigError."""
    return ActorPolicy(load_critic(folder, device))
