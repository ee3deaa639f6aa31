"""Behavior cloning: what the goal-conditioned and the language-conditioned policy have in common.

A condition turns observation and goal into network input; encoder, head, loss, serving and checkpoints are the same
for both, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.checkpoint import Checkpoint
from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.data.transforms import Batch, Transform, describe
from soar.errors import ConfigError
from soar.nn.heatmaps import attention_loss
from soar.nn.layers import mlp
from soar.policies.encoders import CompactEncoder, EncoderConfig, Encoding, ResNet
from soar.types import Actions, Images, Noise, Observation

OPEN_ABOVE, CLOSE_BELOW = 0.6, 0.5
"""Thresholds of the gripper's hysteresis; in between it stays as it was. One that closes late hovers (docs/log.md)."""
POSE_DIM = 15
"""Position, yaw and gripper opening: now, at the goal, and where the gripper switches next."""
KEYPOINTS = 3
"""Attention maps that can be supervised: the gripper now, at the goal, and where it switches next."""
_PROPRIOCEPTION_NOISE = 0.1
"""Standard deviation of the noise on proprioception in training, in its normalized units."""
_POSE_SCALE = (0.1, 0.1, 0.1, 0.5, 0.5) * 3
"""Errors of a pose [m, rad, opening] that count as 1 in the loss."""


@dataclass(frozen=True)
class BehaviorCloningConfig:
    """Size of a policy's network and weights of its losses. The defaults are the paper's."""

    kind: ClassVar[str]
    """Kind of the policy's checkpoints: "gcbc" or "lcbc"."""

    resolution: int = 256
    """Height and width of its images [px]."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the head's hidden layers."""
    std: float = 1.0
    """Fixed standard deviation of the action Gaussian, in z-scored units."""
    pose_weight: float = 0.0
    """Weight of an auxiliary loss, unused in serving: the encoder's features must tell the gripper's pose now, at the
    hindsight goal, and where it will grasp or release before. Not in the paper."""
    attention_weight: float = 0.0
    """Weight of an auxiliary loss for data with a known camera: three of the encoder's attention maps must show these
    places in the images. Not in the paper."""
    proprioception_dim: int = 0
    """Features of proprioception beside the encoder's; 0 is none. Not in the paper."""


@runtime_checkable
class Condition(Protocol):
    """A torch module that turns observation and goal into network input."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the encoder's image (n, c, h, w), and its context (n, k) if it has one."""

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Convert goals to entries of a batch. Raises ConfigError: they are images for words, or words for images."""


class BehaviorCloning(nn.Module):
    """A policy and the learner that trains it: encoder, MLP 3 x 256, mean of a Gaussian (paper, B.2.1)."""

    RENAMED: ClassVar = {"feel": "proprioception"}

    def __init__(
        self,
        condition: Condition,
        encoder: ResNet | CompactEncoder,
        transforms: Sequence[Transform],
        config: BehaviorCloningConfig,
    ) -> None:
        super().__init__()
        extra = config.proprioception_dim
        self.condition, self.encoder = condition, encoder
        self.proprioception = mlp([len(PROPRIOCEPTION), extra]) if extra else None
        self.head = nn.Sequential(
            mlp([encoder.dim + extra, *config.hidden]), nn.Linear(config.hidden[-1], 7)
        )
        self.pose = nn.Linear(encoder.dim, POSE_DIM) if config.pose_weight else None
        self.transforms = tuple(transforms)
        self.config = config
        self.name = config.kind
        self.checkpoint_id = ""
        """Id of the checkpoint that it was loaded from, for episodes' provenance."""
        self._opened: Bool[np.ndarray, " n"] | None = None

    def forward(self, batch: Batch) -> Float[Tensor, "n 7"]:
        """Return the means of the z-scored actions for a transformed batch."""
        return self._means(self._encode(batch).features, batch)

    def loss(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the actions' negative log-likelihood without its constant, plus auxiliary losses; and the errors."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for transform in self.transforms:
                batch = transform.train(batch)
        features, attention = self._encode(batch)
        means = self._means(features, batch, generator)
        error = (means.float() - batch["action"]).square()
        loss = error.sum(1).mean() / (2 * self.config.std**2)
        metrics = {"motion_error": error[:, :6].mean(), "gripper_error": error[:, 6].mean()}
        if self.pose is not None:
            target = batch["pose"] / torch.tensor(_POSE_SCALE, device=features.device)
            pose_error = (self.pose(features).float() - target.nan_to_num(0.0)).square()
            known = ~target.isnan()  # a generated goal has no pose
            metrics["pose_error"] = (pose_error * known).sum(1).mean()
            loss = loss + self.config.pose_weight * metrics["pose_error"] / 2
        if attention is not None and self.config.attention_weight:
            metrics["attention_error"] = attention_loss(attention[:, :KEYPOINTS], batch["points"])
            loss = loss + self.config.attention_weight * metrics["attention_error"]
        return loss, {k: v.detach() for k, v in metrics.items()}

    @torch.inference_mode()
    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return an action for each robot of a batch.

        Args:
            observations: one for each robot.
            goals: images or instructions, one for each robot.
            rng: source of the noise.
            noise: scale of the Gaussian's standard deviation, for all robots or for each; 0 gives its mean.

        Raises:
            ConfigError: goals are images for words, or words for images, or not one for each observation.
        """
        if len(goals) != len(observations):
            raise ConfigError(f"{len(goals)} goals for {len(observations)} observations")
        actions = self._served_means(observations, goals)
        if np.any(noise):
            offset = np.reshape(noise, (-1, 1)) * rng.standard_normal(actions.shape)
            actions = actions + self.config.std * torch.from_numpy(offset.astype(np.float32))
        for transform in reversed(self.transforms):
            actions = transform.undo(actions)
        result: Actions = actions.numpy().astype(np.float32)
        result[:, 6] = self._latch(result[:, 6])
        return result

    def reset(self) -> None:
        """Forget the grippers' last commands."""
        self._opened = None

    def checkpoint(self, provenance: Mapping[str, Any]) -> Checkpoint:
        """Return everything that is needed to serve this policy elsewhere."""
        weights = {k: v.detach() for k, v in self.state_dict().items()}
        config, transforms = asdict(self.config), describe(self.transforms)
        return Checkpoint(self.name, weights, config, transforms, dict(provenance))

    def _encode(self, batch: Batch) -> Encoding:
        image, context = self.condition(batch)
        encoding: Encoding = self.encoder(image, context)
        return encoding

    def _means(
        self,
        features: Float[Tensor, "n d"],
        batch: Batch,
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "n 7"]:
        if self.proprioception is not None:
            measured = proprioception(batch["state"])
            if noise is not None:
                offset = torch.randn(measured.shape, generator=noise, device=measured.device)
                measured = measured + _PROPRIOCEPTION_NOISE * offset
            features = torch.cat([features, self.proprioception(measured)], 1)
        means: Tensor = self.head(features)
        return means

    def _served_means(
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

    def _latch(self, commands: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Binarize gripper commands with hysteresis, so that the gripper of an uncertain policy doesn't chatter."""
        if self._opened is None or len(self._opened) != len(commands):
            self._opened = commands > 0.5
        self._opened = np.where(self._opened, commands > CLOSE_BELOW, commands > OPEN_ABOVE)
        return self._opened.astype(np.float32)
