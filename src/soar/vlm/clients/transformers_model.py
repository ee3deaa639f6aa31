"""Image-text-to-text models of transformers, by folder or hub id, read off their next-token probabilities.

No text is generated. Where a model's architecture allows, the image and all text before the question go through it
once, and all questions share their keys and values in one batch. This fast path is compared with whole prompts when
the model is loaded, and given up where they differ: as for PaliGemma, whose prompt sees itself in both directions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from soar.errors import ConfigError
from soar.types import Answer, Image, Question
from soar.utils.hardware import choose_device
from soar.vlm.clients.replies import LEAST_MASS, check_mass
from soar.vlm.clients.transformers_prompts import encode, load_processor, make_prompt

_SHARED_BATCH = 64
"""Most questions of one batch that share a prefix."""
_WHOLE_BATCH = 8
"""Most whole prompts of one batch; they have the same number of tokens, so that none is padded."""
_WORDS = {True: ("Yes", "yes", "YES"), False: ("No", "no", "NO")}
_PROBES = ("Is the lemon on the plate?", "Is there a green block present?", "Is it open?")
"""Questions of the comparison at loading."""
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Greatest difference of P(yes) between the two paths by dtype."""
_HALF_TOLERANCE = 2e-2
"""The same for 16-bit floats, whose rounding alone makes such differences."""
_LOG = logging.getLogger(__name__)


class TransformersVLM:
    """A local model; P(yes) is the share of yes among yes and no in the first token of its reply."""

    def __init__(self, source: str, device: str = "auto", least_mass: float = LEAST_MASS) -> None:
        """Load the model.

        Args:
            source: folder or hub id.
            device: "auto", or a device of torch.
            least_mass: joint probability of yes and no below which an answer is unknown.

        Raises:
            ConfigError: transformers can't load the model, or a package that it needs is missing.
        """
        from transformers import AutoModelForImageTextToText

        check_mass(least_mass)
        try:
            self._processor = load_processor(source)
            model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype="auto")
        except ImportError as error:
            raise ConfigError(f"'{source}' needs a package: {error!s:.200}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no image-text-to-text model of transformers at '{source}'; valid: a folder or a hub id"
            ) from error
        self._model = model.to(choose_device(device)).eval()
        self._tokenizer = self._processor.tokenizer
        self._prompt = make_prompt(self._processor, model.config.model_type)
        self._least_mass = least_mass
        self._yes, self._no = (self._first_tokens(_WORDS[w]) for w in (True, False))
        if not self._yes or not self._no or set(self._yes) & set(self._no):
            raise ConfigError(
                f"the tokenizer of '{source}' has no tokens of their own for yes and no"
            )
        self.name = f"local {source}"
        self._shares_prefix = self._paths_agree()

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the answers to each image's questions, in order."""
        return [
            [
                self._read(q, p)
                for q, p in zip(asked, self._ask(image, [q.text for q in asked]), strict=True)
            ]
            for image, asked in zip(images, questions, strict=True)
        ]

    def _ask(self, image: Image, questions: Sequence[str]) -> Float32[Tensor, "n v"]:
        """Probabilities of the reply's first token, for each question."""
        if not questions:
            return torch.zeros(0, 0)
        if not self._shares_prefix:
            return self._ask_whole(image, questions)
        parts = range(0, len(questions), _SHARED_BATCH)
        return torch.cat([self._ask_shared(image, questions[i : i + _SHARED_BATCH]) for i in parts])

    @torch.inference_mode()
    def _ask_shared(self, image: Image, questions: Sequence[str]) -> Float32[Tensor, "n v"]:
        """The same, with the image and the text before the question computed once.

        The questions are padded on the right and attention is causal, so that no mask is needed; without one,
        every model counts its positions on from those that it gave to the prefix.
        """
        prefix = self._to_device(encode(self._processor, image, self._prompt.before))
        cache = self._model(**prefix, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(questions))
        texts = [q + self._prompt.after for q in questions]
        ids = [self._tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        longest = max(len(i) for i in ids)
        padded = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
        ids_on_device = padded.to(self._model.device)
        logits: Tensor = self._model(input_ids=ids_on_device, past_key_values=cache).logits
        last = torch.tensor([len(i) - 1 for i in ids], device=logits.device)
        return logits[torch.arange(len(ids)), last].float().softmax(-1).cpu()

    @torch.inference_mode()
    def _ask_whole(self, image: Image, questions: Sequence[str]) -> Float32[Tensor, "n v"]:
        """The same, with whole prompts; those of one length form a batch."""
        prompts = [encode(self._processor, image, self._prompt.whole(q)) for q in questions]
        by_length: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_length.setdefault(prompt["input_ids"].shape[1], []).append(index)
        found: dict[int, Tensor] = {}
        for same in by_length.values():
            for start in range(0, len(same), _WHOLE_BATCH):
                part = same[start : start + _WHOLE_BATCH]
                batch = {k: torch.cat([prompts[i][k] for i in part]) for k in prompts[0]}
                logits = self._model(**self._to_device(batch), use_cache=False).logits
                found |= zip(part, logits[:, -1].float().softmax(-1).cpu(), strict=True)
        return torch.stack([found[i] for i in range(len(questions))])

    def _paths_agree(self) -> bool:
        """Whether the shared prefix gives the probabilities of whole prompts; logs the reason if it doesn't."""
        image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        whole = self._ask_whole(image, _PROBES)
        try:
            shared = self._ask_shared(image, _PROBES)
        except Exception as error:  # noqa: BLE001 (each architecture fails in its own way)
            reason = f"{type(error).__name__}: {' '.join(str(error).split()):.120}"
        else:
            difference = self._difference(whole, shared)
            if difference <= _TOLERANCE.get(self._model.dtype, _HALF_TOLERANCE):
                return True
            reason = f"P(yes) would differ by up to {difference:.3g}"
        _LOG.warning(
            "%s: each question is asked with its whole prompt, which is slower (shared prefix: %s)",
            self.name,
            reason,
        )
        return False

    def _difference(self, whole: Float32[Tensor, "n v"], shared: Float32[Tensor, "n v"]) -> float:
        """Bound of the difference of P(yes) at any probability, or the difference of the mass of yes and no if larger.

        P(yes) is the logistic function of the log-odds, whose slope is at most 1/4; so a difference shows even where
        the model is sure of its answer to the probes.
        """
        masses = [[p[:, t].double().sum(1) for t in (self._yes, self._no)] for p in (whole, shared)]
        (yes, no), (other_yes, other_no) = masses
        odds = ((yes.log() - no.log()) - (other_yes.log() - other_no.log())).abs() / 4
        mass = (yes + no - other_yes - other_no).abs()
        greatest = float(torch.maximum(odds, mass).max())
        return greatest if math.isfinite(greatest) else 1.0

    def _read(self, question: Question, p: Float32[Tensor, "v"]) -> Answer:
        yes, no = float(p[self._yes].sum()), float(p[self._no].sum())
        first = self._tokenizer.decode([int(p.argmax())])
        raw = f"{first.strip()!r} first; P(yes) {yes:.3f}, P(no) {no:.3f}"
        known = np.isfinite(yes + no) and yes + no >= max(self._least_mass, 1e-9)
        return Answer(question, yes / (yes + no) if known else None, raw, "probability")

    def _to_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inputs on the model's device, pixels in its dtype."""
        model = self._model
        return {
            k: v.to(model.device, model.dtype if v.is_floating_point() else v.dtype)
            for k, v in inputs.items()
        }

    def _first_tokens(self, words: Iterable[str]) -> list[int]:
        """Ids of the tokens that are one of these words, with or without a space before it."""
        spellings = [s for w in words for s in (w, f" {w}")]
        ids = [self._tokenizer(s, add_special_tokens=False)["input_ids"] for s in spellings]
        return sorted({i[0] for i in ids if len(i) == 1 and i[0] != self._tokenizer.unk_token_id})
