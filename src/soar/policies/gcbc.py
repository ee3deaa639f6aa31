"""Goal-conditioned behaviour cloning: reach the image (paper, 4 and B.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from soar.data.transforms import Batch
from soar.errors import ConfigError
from soar.policies.encoders import EncoderConfig
from soar.types import Images


@dataclass(frozen=True)
class GCBCConfig:
    """The policy's size. The defaults are the paper's."""

    resolution: int = 256
    """Height and width of its images [px]."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    hidden: tuple[int, ...] = (256, 256, 256)
    std: float = 1.0
    """Fixed standard deviation of the action Gaussian, in z-scored units."""
    pose_weight: float = 0.0
    """Of the auxiliary loss that asks where the hand is; not in the paper."""
    attention_weight: float = 0.0
    """Of the auxiliary loss that asks where the hand is seen; not in the paper."""
    proprioception_dim: int = 0
    """Features made of the hand's height, angles and opening; not in the paper."""


class StackedGoal(nn.Module):
    """The goal image, stacked on the observation's channels."""

    kind = "gcbc"

    def forward(self, batch: Batch) -> tuple[Tensor, None]:
        """Six channels, and no context."""
        return torch.cat([batch[k].permute(0, 3, 1, 2) for k in ("image", "goal")], 1), None

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Goal images of any size."""
        if not isinstance(goals, np.ndarray):
            raise ConfigError("a gcbc policy takes goal images, not instructions")
        return {"goal": torch.from_numpy(goals)}
