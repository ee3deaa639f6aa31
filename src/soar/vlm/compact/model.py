"""The compact eyes: a small network that ships with the package and answers on two CPU cores.

Made by `soar pretrain vlm` from the *broad* regime of the simulated world, with answers calibrated by
one temperature. Serving takes a checkpoint folder and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.nn.layers import local_softargmax
from soar.nn.text import MINILM, SentenceEncoder
from soar.tasks.grammar import task_from_instruction
from soar.tasks.questions import parse_question
from soar.types import Answer, Image, Images
from soar.utils.files import Json
from soar.utils.media import resize
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet

KIND = "vlm"
"""Of its checkpoints."""
TEXTS = 3
"""What the network is told of a question: its frame, its thing, its container."""


class CompactVLM:
    """P(yes) for any question about any image; the raw reply is the probability in words."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        """Raises CheckpointError when the weights don't fit their config."""
        config = dict(checkpoint.config)
        self.temperature = float(config.pop("temperature"))
        self.encoder = SentenceEncoder(config.pop("words"))
        self.net = CompactVLMNet(CompactVLMConfig(**config)).to(device)
        checkpoints.load_weights(self.net, checkpoint)
        self.net.eval()
        self.name = f"compact {checkpoint.id}".strip()

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> CompactVLM:
        """From a checkpoint folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND), device)

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[str]]
    ) -> list[list[Answer]]:
        """Answers to each image's questions, all in one batch."""
        most = max((len(asked) for asked in questions), default=0)
        if most == 0:
            return [[] for _ in images]
        padded = [[*asked, *[""] * (most - len(asked))] for asked in questions]
        p_yes = self.probabilities(images, padded).tolist()
        return [
            [Answer(q, p, f"P(yes) = {p:.3f}") for q, p in zip(asked, row, strict=False)]
            for asked, row in zip(questions, p_yes, strict=True)
        ]

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[Image], questions: Sequence[Sequence[str]]
    ) -> Float[Tensor, "b q"]:
        """P(yes), for as many questions about each image."""
        words = embed(self.encoder, [q for asked in questions for q in asked])
        words = words.reshape(len(images), -1, TEXTS, words.shape[-1])
        logits = self.net(self._pixels(images), words.to(self.net.places.device)).logits
        return torch.sigmoid(logits.float() / self.temperature).cpu()

    @torch.inference_mode()
    def point(
        self, images: Sequence[Image] | Images, instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """x and y in [-1, 1] of the thing and of the container that each image's instruction names.

        NaN where it names none, or where its words have none of the usual forms.
        """
        questions = [_question(text) for text in instructions]
        words = embed(self.encoder, questions)[:, None].to(self.net.places.device)
        gaze = self.net(self._pixels(images), words).gaze[:, 0]
        places = local_softargmax(gaze.argmax(-1), gaze)
        named = torch.tensor([[bool(x) for x in _named(q)] for q in questions])
        result: Float32[np.ndarray, "n 2 2"] = (
            places.cpu().where(named[..., None], torch.nan).numpy()
        )
        return result

    def _pixels(self, images: Sequence[Image] | Images) -> UInt8[Tensor, "b h w 3"]:
        size = self.net.config.resolution
        small = torch.from_numpy(np.stack([resize(image, size) for image in images]))
        return small.to(self.net.places.device)


def _question(instruction: str) -> str:
    """What tells whether the instruction is done; "" for an instruction of no usual form."""
    try:
        return task_from_instruction(instruction).question
    except ConfigError:
        return ""


def _named(question: str) -> tuple[str, str]:
    """The thing and the container in a question, "" for none."""
    parts = parse_question(question)
    return parts.thing, parts.container


def texts_of(question: str, whole: bool = False) -> tuple[str, str, str]:
    """What is embedded of a question: frame, thing, container, "" for none.

    A question that can't be taken apart, or shall be taken `whole`, is all three.
    """
    parts = parse_question(question)
    if whole or parts.kind == "other":
        return question, question, question
    return parts.frame, parts.thing, parts.container


def embed(encoder: SentenceEncoder, questions: Iterable[str]) -> Float[Tensor, "n 3 e"]:
    """The three sentence vectors of each question; zeros for a part it doesn't have."""
    texts = [text for q in questions for text in texts_of(q)]
    named = torch.tensor([bool(text) for text in texts])
    vectors: Tensor = encoder(texts) * named[:, None]
    return vectors.reshape(-1, TEXTS, encoder.dim)


def to_checkpoint(
    net: CompactVLMNet, temperature: float, provenance: Mapping[str, Json]
) -> Checkpoint:
    """The network as it is now, ready to be saved and served."""
    config = {**asdict(net.config), "temperature": temperature, "words": MINILM}
    return Checkpoint(KIND, net.state_dict(), config, provenance=provenance)
