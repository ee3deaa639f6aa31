"""A trained critic, ready to value actions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.contract.contract import WIDOWX, Contract
from soar.critics.config import CriticConfig
from soar.critics.learning.learner import KIND, Actor
from soar.critics.network import CriticNetwork
from soar.data.transforms import Transform, transforms_from
from soar.errors import CheckpointError, ConfigError
from soar.nn.text import SentenceEncoder
from soar.types import Images, Observation


@runtime_checkable
class ActionCritic(Protocol):
    """Values the actions of a batch of robots."""

    name: str

    @property
    def takes_images(self) -> bool:
        """Whether its goals are images; else they are instructions."""

    def values(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        actions: Float32[np.ndarray, "n k a"],
    ) -> Float32[np.ndarray, "e n k"]:
        """Return the values of k physical actions of each of n robots, by each of e Q functions."""


class Critic(nn.Module):
    """A critic's network with its transforms and units. Implements `ActionCritic`."""

    def __init__(
        self,
        config: CriticConfig,
        transforms: Sequence[Transform],
        contract: Contract = WIDOWX,
    ) -> None:
        super().__init__()
        self.config, self.contract = config, contract
        if len(config.bounds.low) != contract.action.dim:
            raise ConfigError(
                f"action bounds have {len(config.bounds.low)} numbers, the actions {contract.action.dim}"
            )
        self.network = CriticNetwork(config, contract)
        self.actor = Actor(config, contract) if config.actor != "none" else None
        self.transforms = tuple(transforms)
        self.name = f"{config.algorithm} critic"
        self.checkpoint_id = ""
        """Id of the checkpoint that it was loaded from."""
        self._words: SentenceEncoder | None = None

    @property
    def resolution(self) -> int:
        """Height and width of the images it values [px]."""
        return self.config.resolution

    @property
    def takes_images(self) -> bool:
        """Whether its goals are images; else they are instructions."""
        return self.config.condition == "goal"

    @property
    def takes_state(self) -> bool:
        """Whether it takes the state besides images."""
        return self.config.state_dim > 0

    @torch.inference_mode()
    def encode(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> Float[Tensor, "n d"]:
        """Return the features of states, on the critic's device; they serve any number of actions.

        Raises:
            ConfigError: goals are images for a critic with instructions, or the reverse, or not one per observation.
        """
        return self.network.encode(self.prepare(observations, goals))

    @torch.inference_mode()
    def q(
        self, features: Float[Tensor, "n d"], actions: Float32[np.ndarray, "n k a"]
    ) -> Float32[np.ndarray, "e n k"]:
        """Return the values of physical actions, clipped to the critic's bounds."""
        scaled = self.config.bounds.to_box(torch.from_numpy(actions).to(features.device))
        values: Float32[np.ndarray, "e n k"] = (
            self.network.q(features, scaled).float().cpu().numpy()
        )
        return values

    def values(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        actions: Float32[np.ndarray, "n k a"],
    ) -> Float32[np.ndarray, "e n k"]:
        """Return the values of k physical actions of each of n robots, by each of e Q functions."""
        return self.q(self.encode(observations, goals), actions)

    @torch.inference_mode()
    def v(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> Float32[np.ndarray, " n"]:
        """Return the values of states: V of IQL; for a critic without V, that of its actor's action."""
        batch = self.prepare(observations, goals)
        features = self.network.encode(batch)
        if self.network.v_head is not None:
            found = self.network.v(features)
        elif self.actor is not None:
            actions = self.actor.head.mode(self.actor.features(features, batch))
            found = self.network.q(features, actions[:, None])[..., 0].amin(0)
        else:
            raise ConfigError(f"{self.name} has neither V nor an actor, and can't value states")
        values: Float32[np.ndarray, " n"] = found.float().cpu().numpy()
        return values

    def prepare(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> dict[str, Tensor]:
        """Return a batch of one row for each observation, transformed, on the critic's device."""
        if len(goals) != len(observations):
            raise ConfigError(f"{len(goals)} goals for {len(observations)} observations")
        batch = {
            "image": torch.from_numpy(np.stack([o.image for o in observations])),
            "state": torch.from_numpy(np.stack([o.state for o in observations])),
            **self._goals(goals),
        }
        for transform in self.transforms:
            batch = transform.serve(batch)
        device = next(self.parameters()).device
        return {k: v.to(device) for k, v in batch.items()}

    def _goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        condition = self.config.condition
        if isinstance(goals, np.ndarray) != (condition == "goal"):
            valid = "goal images" if condition == "goal" else "instructions"
            raise ConfigError(f"wrong goals for {self.name}; valid: {valid}")
        if isinstance(goals, np.ndarray):
            return {"goal": torch.from_numpy(goals)}
        if self.network.known is not None:
            return {"words": self.network.known(goals)}
        if condition == "text":
            self._words = self._words or SentenceEncoder(self.config.words)
            return {"words": self._words(goals)}
        for text in goals:
            if text not in self.config.tasks:
                valid = ", ".join(self.config.tasks)
                raise ConfigError(f"'{text}' has no task id in {self.name}; valid: {valid}")
        return {"task": torch.tensor([self.config.tasks.index(text) for text in goals])}


def load_critic(folder: str | Path, device: str = "auto") -> Critic:
    """Load the critic of a checkpoint's folder.

    Raises:
        CheckpointError: the folder holds no critic, or one that this version can't build.
    """
    from soar.utils.hardware import choose_device

    return critic_from(checkpoints.load(folder, KIND)).to(choose_device(device)).eval()


def critic_from(checkpoint: Checkpoint) -> Critic:
    """Build the critic that a checkpoint describes, with its weights, on the CPU."""
    if checkpoint.kind != KIND:
        raise CheckpointError(f"a '{checkpoint.kind}' checkpoint is no critic")
    config = checkpoint.model_config(CriticConfig)
    critic = Critic(config, transforms_from(checkpoint.transforms), checkpoint.contract)
    checkpoints.load_weights(critic, checkpoint)
    critic.checkpoint_id = checkpoint.id
    critic.name = f"{config.algorithm} critic {checkpoint.id}".strip()
    return critic
