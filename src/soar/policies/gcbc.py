"""Goal-conditioned behavior cloning: a policy that reaches a goal image (paper, 4 and B.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from soar.data.transforms import Batch
from soar.errors import ConfigError
from soar.policies.behavior_cloning import BehaviorCloningConfig
from soar.types import Images


@dataclass(frozen=True)
class GCBCConfig(BehaviorCloningConfig):
    """Size and losses of a goal-conditioned policy."""

    kind: ClassVar[str] = "gcbc"


class GoalImage(nn.Module):
    """The goal image, stacked on the observation's channels."""

    def forward(self, batch: Batch) -> tuple[Tensor, None]:
        """Return six channels, and no context."""
        return torch.cat([batch[k].permute(0, 3, 1, 2) for k in ("image", "goal")], 1), None

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Convert goal images of any size."""
        if not isinstance(goals, np.ndarray):
            raise ConfigError("a gcbc policy takes goal images, not instructions")
        return {"goal": torch.from_numpy(goals)}
