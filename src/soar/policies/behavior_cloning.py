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
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from soar.checkpoint import Checkpoint
from soar.contract.contract import WIDOWX, Contract
from soar.data.mixture import pose_dims
from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.data.transforms import Batch, Transform, describe
from soar.errors import ConfigError
from soar.nn import draws
from soar.nn.heatmaps import attention_loss
from soar.nn.layers import mlp
from soar.policies.encoders import Encoder, EncoderConfig, Encoding
from soar.policies.heads.build import build_head
from soar.policies.heads.head import HeadConfig, Scale
from soar.types import Actions, Images, Noise, Observation

OPEN_ABOVE, CLOSE_BELOW = 0.6, 0.5
"""Thresholds of the gripper's hysteresis; in between it stays as it was. One that closes late hovers (docs/log.md)."""
KEYPOINTS = 3
"""Attention maps that can be supervised: the gripper now, at the goal, and where it switches next."""
LARGE, SMALL = 1, 2
"""Labels of an action whose advantage is large or small; 0 means not told."""
_UNTOLD = 0.3
"""Share of samples in training that aren't told the advantage (RECAP)."""
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
    head: HeadConfig = field(default_factory=HeadConfig)
    """Distribution over actions."""
    pose_weight: float = 0.0
    """Weight of an auxiliary loss, unused in serving: the encoder's features must tell the gripper's pose now, at the
    hindsight goal, and where it will grasp or release before that. Not in the paper."""
    attention_weight: float = 0.0
    """Weight of an auxiliary loss for data with a known camera: three of the encoder's attention maps must show these
    places in the images. Not in the paper."""
    proprioception_dim: int = 0
    """Features of proprioception besides the encoder's; 0 is none. Not in the paper."""
    cameras: tuple[str, ...] = ()
    """Further cameras that it sees, each through an encoder of its own. Not in the paper."""
    advantage: bool = False
    """Whether it is told in training whether an action's advantage is large, and acts as if it were (RECAP). Not in the
    paper."""


@runtime_checkable
class Condition(Protocol):
    """A torch module that turns observation and goal into network input."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the encoder's image (n, c, h, w), and its context (n, k) if it has one."""

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Convert goals to entries of a batch. Raises ConfigError: they are images for words, or words for images."""


class BehaviorCloning(nn.Module):
    """A policy and the learner that trains it: encoder, MLP 3 x 256, Gaussian mean (paper, B.2.1), or another head.

    With a head that predicts chunks, `act` executes the first action of each; `soar.policies.chunks` executes more.
    """

    RENAMED: ClassVar = {"feel": "proprioception"}

    def __init__(
        self,
        condition: Condition,
        encoder: Encoder,
        transforms: Sequence[Transform],
        config: BehaviorCloningConfig,
        contract: Contract = WIDOWX,
        cameras: Mapping[str, Encoder] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            condition: turns observation and goal into the encoder's input.
            encoder: of the primary camera.
            transforms: of training and serving.
            config: sizes and losses.
            contract: meaning of what it learns from.
            cameras: encoders of the further cameras, by name.
        """
        super().__init__()
        extra = config.proprioception_dim
        self.contract = contract
        self._usual = contract.state == WIDOWX.state
        """Whether states are the WidowX's, whose scales are fixed."""
        self.condition, self.encoder = condition, encoder
        measured = len(PROPRIOCEPTION) if self._usual else contract.state.dim
        self.proprioception = mlp([measured, extra]) if extra else None
        self.cameras = nn.ModuleDict(cameras) if cameras else None
        dim = encoder.dim + extra + sum(e.dim for e in (cameras or {}).values())
        self.head = build_head(config.head, dim, config.hidden, config.std, contract.action)
        self.pose = (
            nn.Linear(encoder.dim, 3 * len(pose_dims(contract))) if config.pose_weight else None
        )
        # Initialized to zeros, so that this draws no random number and changes nothing at first.
        self.advantage = (
            nn.Embedding(3, dim, _weight=torch.zeros(3, dim)) if config.advantage else None
        )
        self.transforms = tuple(transforms)
        self.config = config
        self.name = config.kind
        self.checkpoint_id = ""
        """Id of the checkpoint that it was loaded from, for episodes' provenance."""
        self._opened: Bool[np.ndarray, " n"] | None = None

    @property
    def resolution(self) -> int:
        """Height and width of its images [px]."""
        return self.config.resolution

    @property
    def takes_state(self) -> bool:
        """Whether it takes the state besides images."""
        return self.proprioception is not None

    def forward(self, batch: Batch) -> Float[Tensor, "n a"]:
        """Return the head's own answers, z-scored actions, for a transformed batch."""
        features = self._features(self._encode(batch).features, batch)
        scale = np.zeros((len(features), 1))
        return self.head.sample(features, scale, np.random.default_rng(0))[:, 0, 0]

    def loss(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the head's loss plus auxiliary losses, and metrics."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for transform in self.transforms:
                batch = transform.train(batch)
        features, attention = self._encode(batch)
        inputs = self._features(features, batch, generator)
        actions = batch["action"].view(len(inputs), -1, self.contract.action.dim)
        loss, metrics = self.head.loss(inputs, actions, batch.get("inside"), generator)
        if self.pose is not None:
            scale = _POSE_SCALE if self._usual else (1.0,) * batch["pose"].shape[1]
            target = batch["pose"] / torch.tensor(scale, device=features.device)
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
        scale = np.broadcast_to(noise, (len(observations),)).reshape(-1, 1)
        actions = self._sample(observations, goals, rng, scale)[:, 0, 0]
        self.commit(actions)
        return actions

    @torch.inference_mode()
    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h a"]:
        """Return the next h actions of each robot; the arguments are those of `act`."""
        scale = np.broadcast_to(noise, (len(observations),)).reshape(-1, 1)
        return self._sample(observations, goals, rng, scale)[:, 0]

    @torch.inference_mode()
    def sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        count: int,
        *,
        noise: float = 1.0,
    ) -> Float32[np.ndarray, "n count h a"]:
        """Return the head's own answer and `count` - 1 samples for each robot; each image is encoded once.

        `noise`: scale of the samples' noise.
        """
        scale = np.full((len(observations), count), noise)
        scale[:, 0] = 0
        return self._sample(observations, goals, rng, scale)

    @torch.inference_mode()
    def features(self, images: Images, goals: Images | Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Return the encoder's features of images and their goals."""
        states = torch.zeros(len(images), self.contract.state.dim)
        batch = {"image": torch.from_numpy(images), "state": states, **self.condition.goals(goals)}
        for transform in self.transforms:
            batch = transform.serve(batch)
        device = next(self.parameters()).device
        encoding = self._encode({k: v.to(device) for k, v in batch.items()})
        found: Float32[np.ndarray, "n d"] = encoding.features.float().cpu().numpy()
        return found

    def commit(self, actions: Actions) -> None:
        """Note the executed actions: the gripper's hysteresis starts from them."""
        if self.contract.action.gripper is not None:
            self._opened = actions[:, -1] > 0.5

    def reset(self) -> None:
        """Forget the grippers' last commands."""
        self._opened = None

    def checkpoint(self, provenance: Mapping[str, Any]) -> Checkpoint:
        """Return everything that is needed to serve this policy elsewhere."""
        weights = {k: v.detach() for k, v in self.state_dict().items()}
        config, transforms = asdict(self.config), describe(self.transforms)
        return Checkpoint(
            self.name, weights, config, transforms, dict(provenance), contract=self.contract
        )

    def _encode(self, batch: Batch) -> Encoding:
        image, context = self.condition(batch)
        encoding: Encoding = self.encoder(image, context)
        return encoding

    def _features(
        self,
        features: Float[Tensor, "n d"],
        batch: Batch,
        noise: torch.Generator | None = None,
    ) -> Float[Tensor, "n d2"]:
        """Append the features of further cameras and of proprioception, noisy in training; add the advantage's."""
        for name, encoder in self.cameras.items() if self.cameras is not None else ():
            image = batch[f"image_{name}"].permute(0, 3, 1, 2)
            features = torch.cat([features, encoder(image, None).features], 1)
        if self.proprioception is not None:
            measured = proprioception(batch["state"]) if self._usual else batch["state"]
            if noise is not None:
                measured = measured + _PROPRIOCEPTION_NOISE * draws.randn(measured.shape, noise)
            features = torch.cat([features, self.proprioception(measured)], 1)
        if self.advantage is None:
            return features
        told = batch.get("advantage", torch.full((len(features),), LARGE, device=features.device))
        if noise is not None:
            told = told * (draws.rand(told.shape, noise) >= _UNTOLD)
        added: Tensor = self.advantage(told)
        return features + added

    def _sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        scale: Scale,
    ) -> Float32[np.ndarray, "n k h a"]:
        """Return physical actions with latched gripper commands. `scale`: of the noise of each sample."""
        if len(goals) != len(observations):
            raise ConfigError(f"{len(goals)} goals for {len(observations)} observations")
        images = torch.from_numpy(np.stack([o.image for o in observations]))
        states = torch.from_numpy(np.stack([o.state for o in observations]))
        batch = {"image": images, "state": states, **self.condition.goals(goals)}
        for name in self.config.cameras:
            views = np.stack([o.other_images[name] for o in observations])
            batch[f"image_{name}"] = torch.from_numpy(views)
        for transform in self.transforms:
            batch = transform.serve(batch)
        device = next(self.parameters()).device
        batch = {k: v.to(device) for k, v in batch.items()}
        features = self._features(self._encode(batch).features, batch)
        chunks = self.head.sample(features, scale, rng).float().cpu()
        actions = chunks.reshape(-1, self.contract.action.dim)
        for transform in reversed(self.transforms):
            actions = transform.undo(actions)
        result = actions.numpy().astype(np.float32).reshape(chunks.shape)
        if self.contract.action.gripper is not None:
            result[..., -1] = self._latch(result[..., -1])
        return result

    def _latch(self, commands: Float[np.ndarray, "n k h"]) -> Float32[np.ndarray, "n k h"]:
        """Binarize gripper commands with hysteresis, so that the gripper of an uncertain policy doesn't chatter."""
        if self._opened is None or len(self._opened) != len(commands):
            opened = commands[..., 0] > 0.5
        else:
            opened = np.broadcast_to(self._opened[:, None], commands.shape[:2])
        latched = np.empty(commands.shape, np.float32)
        for t in range(commands.shape[2]):
            opened = np.where(opened, commands[..., t] > CLOSE_BELOW, commands[..., t] > OPEN_ABOVE)
            latched[..., t] = opened
        return latched
