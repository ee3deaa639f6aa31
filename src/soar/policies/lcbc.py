"""Language-conditioned behavior cloning: a policy that follows an instruction (paper, B.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from torch import Tensor, nn

from soar.data.transforms import Batch
from soar.errors import ConfigError
from soar.nn.layers import mlp
from soar.nn.text import MINILM, KnownSentences, SentenceEncoder
from soar.policies.behavior_cloning import BehaviorCloningConfig
from soar.types import Images


@dataclass(frozen=True)
class LCBCConfig(BehaviorCloningConfig):
    """Size and losses of a language-conditioned policy; the paper's, with MiniLM in place of MUSE."""

    kind: ClassVar[str] = "lcbc"

    words: str = MINILM
    """Frozen sentence encoder: "minilm", a folder, a hub id, or in training a file of embeddings (`soar.nn.sentences`),
    which become part of the weights."""
    word_dim: Annotated[int, Ge(1)] = 384
    """Length of its embeddings."""
    context_dim: Annotated[int, Ge(0)] = 256
    """Width of the two layers between the embedding and the FiLM layers; 0 is none, as in the released policies."""
    sentences: tuple[str, ...] = ()
    """The only instructions that it follows, if their embeddings are part of its weights."""


class Instruction(nn.Module):
    """The instruction's sentence embedding, through two layers, as the context of every block."""

    def __init__(self, config: LCBCConfig) -> None:
        super().__init__()
        widths = [config.word_dim, config.context_dim, config.context_dim]
        self.project = mlp(widths if config.context_dim else widths[:1])
        self.known = KnownSentences(config.sentences, config.word_dim) if config.sentences else None
        self._source = config.words
        self._embed: SentenceEncoder | None = None

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return three channels, and the context."""
        return batch["image"].permute(0, 3, 1, 2), self.project(batch["words"])

    def goals(self, goals: Images | Sequence[str]) -> dict[str, Tensor]:
        """Embed instructions, each only once."""
        if isinstance(goals, np.ndarray):
            raise ConfigError("an lcbc policy takes instructions, not goal images")
        if self.known is not None:
            return {"words": self.known(goals)}
        if self._embed is None:
            self._embed = SentenceEncoder(self._source)
        return {"words": self._embed(goals)}
