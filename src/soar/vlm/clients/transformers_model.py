"""Image-text-to-text models of transformers, by folder or hub id, read off their next-token probabilities.

The image and all text before the question go through the model once; all questions then share their keys and values
in one batch. No text is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from soar.errors import ConfigError
from soar.types import Answer, Image, Question
from soar.utils.hardware import choose_device

_SUFFIX = " Answer yes or no only."
_SLOT = "THE-QUESTION-GOES-HERE"
_BATCH_SIZE = 64
"""Most questions of one batch."""
_WORDS = {True: ("Yes", "yes", "YES"), False: ("No", "no", "NO")}


class TransformersVLM:
    """A local model; P(yes) is the share of yes among yes and no in the first token of its reply."""

    def __init__(self, source: str, device: str = "auto", least: float = 0.1) -> None:
        """Load the model.

        Args:
            source: folder or hub id.
            device: "auto", or a device of torch.
            least: joint probability of yes and no below which an answer is unknown.

        Raises:
            ConfigError: transformers can't load the model.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            self._processor: Any = AutoProcessor.from_pretrained(source)  # type: ignore[no-untyped-call]
            model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype="auto")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no image-text-to-text model of transformers at '{source}'; valid: a folder or a hub id"
            ) from error
        self._model = model.to(choose_device(device)).eval()
        self._tokenizer = self._processor.tokenizer
        self._least = least
        self._yes, self._no = (self._first_tokens(_WORDS[w]) for w in (True, False))
        if not self._yes or not self._no or set(self._yes) & set(self._no):
            raise ConfigError(
                f"the tokenizer of '{source}' has no tokens of their own for yes and no"
            )
        self.name = f"local {source}"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the answers to each image's questions, in order."""
        return [
            [
                answer
                for start in range(0, len(asked), _BATCH_SIZE)
                for answer in self._ask(image, asked[start : start + _BATCH_SIZE])
            ]
            for image, asked in zip(images, questions, strict=True)
        ]

    @torch.inference_mode()
    def _ask(self, image: Image, questions: Sequence[Question]) -> list[Answer]:
        before, after = self._prompt()
        inputs = self._processor(images=[image], text=[before], return_tensors="pt").to(
            self._model.device, dtype=self._model.dtype
        )
        cache = self._model(**inputs, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(questions))
        ids, mask = self._padded([q.text + _SUFFIX + after for q in questions])
        length = inputs["input_ids"].shape[1]
        whole = torch.cat([mask.new_ones(len(mask), length), mask], 1)
        logits = self._model(input_ids=ids, attention_mask=whole, past_key_values=cache).logits
        last = logits[torch.arange(len(ids)), mask.sum(1) - 1].float().softmax(-1).cpu()
        return [self._read(q, p) for q, p in zip(questions, last, strict=True)]

    def _read(self, question: Question, p: Float[Tensor, "v"]) -> Answer:
        yes, no = float(p[self._yes].sum()), float(p[self._no].sum())
        first = self._tokenizer.decode([int(p.argmax())])
        raw = f"{first.strip()!r} first; P(yes) {yes:.3f}, P(no) {no:.3f}"
        known = np.isfinite(yes + no) and yes + no >= max(self._least, 1e-9)
        return Answer(question, yes / (yes + no) if known else None, raw)

    def _prompt(self) -> tuple[str, str]:
        """The text before the question, image included, and the text after it."""
        content = [{"type": "image"}, {"type": "text", "text": _SLOT}]
        if getattr(self._processor, "chat_template", None):
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        else:
            text = f"{self._processor.image_token}\nQuestion: {_SLOT} Answer:"
        before, _, after = text.partition(_SLOT)
        return before, after

    def _padded(self, texts: Sequence[str]) -> tuple[Int64[Tensor, "n t"], Int64[Tensor, "n t"]]:
        """Token ids padded on the right, and their mask."""
        ids = [self._tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        longest = max(len(i) for i in ids)
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids])
        padded = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
        return padded.to(self._model.device), mask.to(self._model.device)

    def _first_tokens(self, words: Iterable[str]) -> list[int]:
        """Ids of the tokens that are one of these words, with or without a space before it."""
        spellings = [s for w in words for s in (w, f" {w}")]
        ids = [self._tokenizer(s, add_special_tokens=False)["input_ids"] for s in spellings]
        return sorted({i[0] for i in ids if len(i) == 1 and i[0] != self._tokenizer.unk_token_id})
