"""The compact VLM: a small network, shipped with the package, that answers in milliseconds on two CPU cores.

`soar pretrain vlm` makes it from the *broad* regime of the simulated world; one temperature calibrates its answers.
Serving needs a checkpoint folder and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.nn.heatmaps import local_softargmax
from soar.nn.text import MINILM, SentenceEncoder
from soar.types import Answer, Image, Images, Question, Task
from soar.utils.files import Json
from soar.utils.media import resize
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet

KIND = "vlm"
"""Kind of its checkpoints."""
TEXTS = 3
"""Texts of a question: its frame, its object, its container."""


class CompactVLM:
    """Estimates P(yes) of any question about any image; the raw reply is the probability in words."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        """Raises CheckpointError when the weights don't fit their config."""
        config = dict(checkpoint.config)
        with checkpoints.building(checkpoint):
            self.temperature = float(config.pop("temperature"))
            self.encoder = SentenceEncoder(config.pop("words"))
            self.net = CompactVLMNet(checkpoint.model_config(CompactVLMConfig, config)).to(device)
        checkpoints.load_weights(self.net, checkpoint)
        self.net.eval()
        self.name = f"compact {checkpoint.id}".strip()

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> CompactVLM:
        """Load a checkpoint folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND), device)

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the answers to each image's questions, computed in one batch."""
        most = max((len(asked) for asked in questions), default=0)
        if most == 0:
            return [[] for _ in images]
        padded = [[*asked, *[Question("")] * (most - len(asked))] for asked in questions]
        p_yes = self.probabilities(images, padded).tolist()
        return [
            [
                Answer(q, p, f"P(yes) = {p:.3f}", "probability")
                for q, p in zip(asked, row, strict=False)
            ]
            for asked, row in zip(questions, p_yes, strict=True)
        ]

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> Float[Tensor, "b q"]:
        """Return P(yes) for the same number of questions about each image."""
        words = embed(self.encoder, [q for asked in questions for q in asked])
        words = words.reshape(len(images), -1, TEXTS, words.shape[-1])
        logits = self.net(self._pixels(images), words.to(self.net.cells.device)).logits
        return torch.sigmoid(logits.float() / self.temperature).cpu()

    @torch.inference_mode()
    def point(
        self, images: Sequence[Image] | Images, tasks: Sequence[Task]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """Return the image positions of the object and the container that each image's task names.

        x right and y down, in [-1, 1]; NaN for an object that the task's question doesn't name.
        """
        questions = [task.question for task in tasks]
        words = embed(self.encoder, questions)[:, None].to(self.net.cells.device)
        locations = self.net(self._pixels(images), words).locations[:, 0]
        positions = local_softargmax(locations.argmax(-1), locations)
        named = torch.tensor([[bool(q.object), bool(q.container)] for q in questions])
        result: Float32[np.ndarray, "n 2 2"] = (
            positions.cpu().where(named[..., None], torch.nan).numpy()
        )
        return result

    def _pixels(self, images: Sequence[Image] | Images) -> UInt8[Tensor, "b h w 3"]:
        size = self.net.config.resolution
        small = torch.from_numpy(np.stack([resize(image, size) for image in images]))
        return small.to(self.net.cells.device)


def texts_of(question: Question, whole: bool = False) -> tuple[str, str, str]:
    """Return what is embedded of a question: frame, object, container, "" for a missing one.

    A question without parts is embedded three times as a whole, and with `whole` so is any other.
    """
    if whole or question.kind == "other":
        return question.text, question.text, question.text
    return question.frame, question.object, question.container


def embed(
    encoder: SentenceEncoder, questions: Iterable[Question], whole: Iterable[bool] = repeat(False)
) -> Float[Tensor, "n 3 e"]:
    """Return the three sentence vectors of each question; zeros for a missing part."""
    texts = [text for q, w in zip(questions, whole, strict=False) for text in texts_of(q, w)]
    named = torch.tensor([bool(text) for text in texts])
    vectors: Tensor = encoder(texts) * named[:, None]
    return vectors.reshape(-1, TEXTS, encoder.dim)


def to_checkpoint(
    net: CompactVLMNet, temperature: float, provenance: Mapping[str, Json]
) -> Checkpoint:
    """Return the network in its present state as a checkpoint that can be saved and served."""
    config = {**asdict(net.config), "temperature": temperature, "words": MINILM}
    return Checkpoint(KIND, net.state_dict(), config, provenance=provenance)
