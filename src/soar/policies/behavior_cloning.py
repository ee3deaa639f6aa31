"""Behaviour cloning: what the image-conditioned and the language-conditioned policy have in common.

A condition turns observation and goal into network input; the encoder, the head, the loss, serving and
checkpoints are the same for both, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.checkpoint import Checkpoint
from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.data.transforms import Batch, Transform, describe
from soar.errors import ConfigError
from soar.nn.layers import attention_loss, mlp
from soar.policies.encoders import Compact, Encoding, ResNet
from soar.types import Actions, Images, Noise, Observation

OPEN, CLOSE = 0.6, 0.5
"""The gripper opens above, closes below, and in between stays as it was. A hand that closes late hovers (docs/log.md)."""
POSE_DIM = 15
"""Hand position and yaw, and gripper opening: now, at the goal, and where the gripper turns next."""
PLACES = 3
"""Gazes that can be taught: at the hand now, at the goal, and where the gripper turns next."""
_FELT_NOISE = 0.1
"""In training, of `soar.nn.layers.felt`'s units."""
_POSE_UNITS = (0.1, 0.1, 0.1, 0.5, 0.5) * 3
"""Metres, radians and openings that count as one in the loss."""


@runtime_checkable
class Condition(Protocol):
    """What a policy is told to do, as network input. Also a torch module."""

    kind: str
    """Of the checkpoints: "gcbc", "lcbc"."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The encoder's image (n, c, h, w), and its context (n, k) if it has one."""

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """A caller's goals as entries of a batch. Raises ConfigError: they are of the wrong sort."""


class BehaviorCloning(nn.Module):
    """A policy, and the learner that fits it: encoder, MLP 3 x 256, mean of a Gaussian (paper, B.2.1)."""

    RENAMED: ClassVar = {"feel": "proprioception"}

    def __init__(
        self,
        condition: Condition,
        encoder: ResNet | Compact,
        transforms: Sequence[Transform],
        config: Mapping[str, Any],
        *,
        hidden: Sequence[int] = (256, 256, 256),
        std: float = 1.0,
        pose_weight: float = 0.0,
        attention_weight: float = 0.0,
        proprioception_dim: int = 0,
    ) -> None:
        """`config`: what builds this policy again. `std`: fixed, of z-scored actions.

        `pose_weight`: of an auxiliary loss that asks the encoder's features where the hand is, where it
        is at the hindsight goal, and where it will grasp or let go before. Serving doesn't need it.
        `attention_weight`: of another, for data whose camera is known, that asks for these places in the
        images; the encoder needs three gazes for it. `proprioception_dim`: features made of what the arm feels, beside
        the encoder's; 0: none, as in the paper.
        """
        super().__init__()
        self.condition, self.encoder = condition, encoder
        self.proprioception = (
            mlp([len(PROPRIOCEPTION), proprioception_dim]) if proprioception_dim else None
        )
        self.head = nn.Sequential(
            mlp([encoder.dim + proprioception_dim, *hidden]), nn.Linear(hidden[-1], 7)
        )
        self.pose = nn.Linear(encoder.dim, POSE_DIM) if pose_weight else None
        self.pose_weight, self.attention_weight = pose_weight, attention_weight
        self.transforms = tuple(transforms)
        self.config = dict(config)
        self.std = std
        self.name = condition.kind
        self.checkpoint_id = ""
        """Of the checkpoint it was loaded from; goes into episodes' provenance."""
        self._opened: Bool[np.ndarray, " n"] | None = None

    def forward(self, batch: Batch) -> Float[Tensor, "n 7"]:
        """Mean of the z-scored actions, of a transformed batch."""
        return self._decide(self.see(batch).features, batch)

    def see(self, batch: Batch) -> Encoding:
        """What the encoder sees in a transformed batch."""
        image, context = self.condition(batch)
        seen: Encoding = self.encoder(image, context)
        return seen

    def loss(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Negative log-likelihood of the actions, less its constant; and the mean squared errors."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for transform in self.transforms:
                batch = transform.train(batch)
        features, gaze = self.see(batch)
        means = self._decide(features, batch, generator)
        error = (means.float() - batch["action"]).square()
        loss = error.sum(1).mean() / (2 * self.std**2)
        told = {"motion_error": error[:, :6].mean(), "gripper_error": error[:, 6].mean()}
        if self.pose is not None:
            target = batch["pose"] / torch.tensor(_POSE_UNITS, device=features.device)
            missed = (self.pose(features).float() - target.nan_to_num(0.0)).square()
            missed = (missed * ~target.isnan()).sum(1).mean()  # an imagined goal has no pose
            loss = loss + self.pose_weight * missed / 2
            told["pose_error"] = missed
        if gaze is not None and self.attention_weight:
            strayed = attention_loss(gaze[:, :PLACES], batch["points"])
            loss = loss + self.attention_weight * strayed
            told["gaze_error"] = strayed
        return loss, {k: v.detach() for k, v in told.items()}

    @torch.inference_mode()
    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Actions for a batch of robots.

        `noise` scales the Gaussian's standard deviation, for all or for each; 0 is its mean.

        Raises:
            ConfigError: goals are not of this policy's sort, or not one for each observation.
        """
        if len(goals) != len(observations):
            raise ConfigError(f"{len(goals)} goals for {len(observations)} observations")
        means = self._means(observations, goals)
        if np.any(noise):
            shake = np.reshape(noise, (-1, 1)) * rng.standard_normal(means.shape)
            means = means + self.std * torch.from_numpy(shake.astype(np.float32))
        actions = means
        for transform in reversed(self.transforms):
            actions = transform.undo(actions)
        result: Actions = actions.numpy().astype(np.float32)
        result[:, 6] = self._latch(result[:, 6])
        return result

    def reset(self) -> None:
        """Forget the grippers' last commands."""
        self._opened = None

    def checkpoint(self, provenance: Mapping[str, Any]) -> Checkpoint:
        """Everything that is needed to serve this policy elsewhere."""
        weights = {k: v.detach() for k, v in self.state_dict().items()}
        return Checkpoint(
            self.name, weights, self.config, describe(self.transforms), dict(provenance)
        )

    def _means(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> Float[Tensor, "n 7"]:
        images = torch.from_numpy(np.stack([o.image for o in observations]))
        states = torch.from_numpy(np.stack([o.state for o in observations]))
        batch = {"image": images, "state": states, **self.condition.goals(goals)}
        for transform in self.transforms:
            batch = transform.serve(batch)
        device = next(self.parameters()).device
        means: Tensor = self({k: v.to(device) for k, v in batch.items()})
        return means.float().cpu()

    def _decide(
        self,
        features: Float[Tensor, "n d"],
        batch: Batch,
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "n 7"]:
        if self.proprioception is not None:
            told = proprioception(batch["state"])
            if noise is not None:
                shake = torch.randn(told.shape, generator=noise, device=told.device)
                told = told + _FELT_NOISE * shake
            features = torch.cat([features, self.proprioception(told)], 1)
        means: Tensor = self.head(features)
        return means

    def _latch(self, wish: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """0 or 1 for each slot of the batch, with hysteresis so that a doubtful policy doesn't chatter."""
        if self._opened is None or len(self._opened) != len(wish):
            self._opened = wish > 0.5
        self._opened = np.where(self._opened, wish > CLOSE, wish > OPEN)
        return self._opened.astype(np.float32)
