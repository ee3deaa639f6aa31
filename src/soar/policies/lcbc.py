"""Language-conditioned behaviour cloning: follow the words (paper, B.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from soar.data.transforms import Batch
from soar.errors import ConfigError
from soar.nn.layers import mlp
from soar.nn.text import MINILM, SentenceEncoder
from soar.policies.encoders import EncoderConfig
from soar.types import Images


@dataclass(frozen=True)
class LCBCConfig:
    """The policy's size. The defaults are the paper's, with MiniLM in MUSE's place."""

    resolution: int = 256
    """Height and width of its images [px]."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    words: str = MINILM
    """Frozen sentence encoder: "minilm", a folder, or a hub id."""
    word_dim: int = 384
    """Length of its vectors."""
    context_dim: int = 256
    """Width of the two layers between the words and the FiLM layers."""
    hidden: tuple[int, ...] = (256, 256, 256)
    std: float = 1.0
    """Fixed standard deviation of the action Gaussian, in z-scored units."""
    pose_weight: float = 0.0
    """Of the auxiliary loss that asks where the hand is; not in the paper."""
    attention_weight: float = 0.0
    """Of the auxiliary loss that asks where the hand is seen; not in the paper."""
    proprioception_dim: int = 0
    """Features made of the hand's height, angles and opening; not in the paper."""


class Instruction(nn.Module):
    """The instruction's sentence vector, through two layers, as context of every block."""

    kind = "lcbc"

    def __init__(self, config: LCBCConfig) -> None:
        super().__init__()
        self.project = mlp([config.word_dim, config.context_dim, config.context_dim])
        self._source = config.words
        self._embed: SentenceEncoder | None = None

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Three channels, and the context."""
        return batch["image"].permute(0, 3, 1, 2), self.project(batch["words"])

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Instructions, encoded; each only once."""
        if isinstance(goals, np.ndarray):
            raise ConfigError("an lcbc policy takes instructions, not goal images")
        if self._embed is None:
            self._embed = SentenceEncoder(self._source)
        return {"words": self._embed(goals)}
