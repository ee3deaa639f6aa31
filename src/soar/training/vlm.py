"""Training of the compact VLM, from a corpus to a calibrated checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Float32, Int32, UInt8
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.prefetch import Batches, step_rng
from soar.errors import ConfigError
from soar.nn.heatmaps import attention_loss
from soar.nn.text import SentenceEncoder
from soar.tasks.questions import parse_question
from soar.training.fit import FitConfig, fit
from soar.training.vlm_corpus import VLMCorpus
from soar.vlm.compact.model import texts_of, to_checkpoint
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet


@dataclass(frozen=True)
class VLMTrainConfig:
    """Recipe of the compact VLM."""

    net: CompactVLMConfig = field(default_factory=lambda: CompactVLMConfig(pointing_dim=32))
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=4000, batch_size=32, learning_rate=1e-3, warmup_steps=200, weight_decay=0.02,
            betas=(0.9, 0.98), ema_decay=0.998, log_every=50, save_every=500,
        )
    )  # fmt: skip
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.05
    """Share of the corpus's scenes that is held out for calibration."""
    whole: Annotated[float, Ge(0), Le(1)] = 0.15
    """Share of questions that are embedded whole instead of by their parts, so that the network can answer any."""
    attention_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss of the attention maps; with 0.1 the maps stay blurred (docs/log.md, 2026-11-26)."""
    spot_cells: Annotated[float, Ge(0)] = 0.7
    """Standard deviation of the target spot around an object, in cells of the map that is taught."""
    tint: Annotated[float, Ge(0)] = 0.08
    """Largest relative change of brightness, contrast and color balance."""


def train_compact_vlm(
    corpus: str | Path,
    out: str | Path,
    config: VLMTrainConfig | None = None,
    start: Checkpoint | None = None,
    batches: Batches | None = None,
) -> dict[str, float]:
    """Fit the compact VLM, calibrate it on held-out scenes, and write its checkpoint; resumes an interrupted fit.

    Args:
        corpus: folder of the corpus; with `batches`, all of it is held out.
        out: folder of the checkpoint.
        config: recipe.
        start: checkpoint to take the initial weights from; None for random ones.
        batches: training data in place of the corpus, with sentence vectors as `words`.

    Returns:
        Measurements on the held-out scenes, which the checkpoint's provenance contains too.

    Raises:
        ConfigError: the corpus has another resolution than the network.
    """
    config, data = config or VLMTrainConfig(), VLMCorpus.load(corpus)
    if data.images.shape[1] != config.net.resolution:
        raise ConfigError(
            f"the corpus has images of {data.images.shape[1]} pixels, the network takes {config.net.resolution}"
        )
    torch.manual_seed(config.fit.seed)
    texts = Texts.of(data)
    learner = CompactVLMLearner(config, texts.vectors)
    own, held_out = data.split(config.held_out if batches is None else 1.0)
    if start:
        checkpoints.load_weights(learner.net, start)
    made = {"corpus": data.about, "started_from": start.id if start else None}
    fit(
        learner,
        batches or CorpusBatches(data, texts, own, config),
        config.fit,
        Path(out) / "fit",
        export=lambda: to_checkpoint(learner.net, 1.0, made),
        validation=CorpusBatches(data, texts, held_out, replace(config, tint=0.0, whole=0.0)),
    )
    fitted = checkpoints.load(Path(out) / "fit")
    checkpoints.load_weights(learner.net, fitted)
    logits, answers = held_out_logits(learner, data, texts, held_out)
    temperature = best_temperature(logits, answers)
    measured = measures(logits / temperature, answers)
    provenance = {**fitted.provenance, "held_out": measured}
    checkpoints.save(out, to_checkpoint(learner.net, temperature, provenance))
    return measured


_WHOLE_QUESTIONS = 4000
"""Most questions of a corpus that are embedded whole, each of which costs as much as ten noun phrases."""


def _encoded(texts: Sequence[str], batch_size: int = 256) -> Float[Tensor, "t e"]:
    """Sentence vectors of many texts, in batches of similar length."""
    encoder = SentenceEncoder()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = torch.zeros(len(texts), encoder.dim)
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        vectors[some] = encoder([texts[i] for i in some])
    return vectors


@dataclass(frozen=True, eq=False)
class Texts:
    """Vectors of all texts of a corpus, and the three that stand for each question."""

    vectors: Float[Tensor, "t e"]
    """Row 0 is zero, for the missing parts of questions."""
    parts: Int32[np.ndarray, "w 3"]
    """Rows of the parts of each question."""
    whole: Int32[np.ndarray, "w 3"]
    """Rows of each question embedded whole."""

    @classmethod
    def of(cls, corpus: VLMCorpus) -> Texts:
        """Embed the texts of a corpus; if there are very many questions, only some are embedded whole."""
        questions = [parse_question(text) for text in corpus.words]
        rows: dict[str, int] = {"": 0}
        every = -(-len(corpus.words) // _WHOLE_QUESTIONS)
        parts, whole = (
            np.array(
                [
                    [rows.setdefault(t, len(rows)) for t in texts_of(q, whole and i % every == 0)]
                    for i, q in enumerate(questions)
                ],
                np.int32,
            )
            for whole in (False, True)
        )
        vectors = _encoded(list(rows))
        vectors[0] = 0
        return cls(vectors, parts, whole)


class CorpusBatches:
    """Batches of images with all their questions; a step's batch depends on the step alone."""

    def __init__(
        self, corpus: VLMCorpus, texts: Texts, rows: Int32[np.ndarray, "n"], config: VLMTrainConfig
    ) -> None:
        self.corpus, self.texts, self.rows, self.config = corpus, texts, rows, config

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return `images`, `texts` (rows of the text vectors), `answers` and `points`."""
        rng = step_rng(self.config.fit.seed, step)
        chosen = np.sort(rng.choice(self.rows, size, replace=len(self.rows) < size))
        rng.shuffle(chosen)
        gains = 1 + self.config.tint * rng.uniform(-1, 1, (size, 1, 1, 4)).astype(np.float32)
        questions = self.corpus.questions[chosen]
        whole = rng.random((*questions.shape, 1)) < self.config.whole
        texts = np.where(whole, self.texts.whole[questions], self.texts.parts[questions])
        chosen = chosen[part]
        return {
            "images": tinted(self.corpus.images[chosen], gains[part]),
            "texts": texts[part].astype(np.int64),
            "answers": self.corpus.answers[chosen].astype(np.float32),
            "points": self.corpus.points[chosen],
        }


class CompactVLMLearner(nn.Module):
    """The network with its losses."""

    def __init__(self, config: VLMTrainConfig, texts: Float[Tensor, "t e"]) -> None:
        super().__init__()
        self.net = CompactVLMNet(config.net)
        self.config = config
        self.register_buffer("texts", texts, persistent=False)
        self.texts: Tensor

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the answers plus the weighted one of the attention maps."""
        words = batch["words"] if "words" in batch else self.texts[batch["texts"]]
        predicted = self.net(batch["images"], words)
        answers = batch["answers"]
        answer = nn.functional.binary_cross_entropy_with_logits(predicted.logits, answers)
        attention = attention_loss(predicted.attention, batch["points"], self.config.spot_cells)
        accuracy = ((predicted.logits > 0) == (answers > 0.5)).float().mean()
        metrics = {"answer": answer, "attention": attention, "accuracy": accuracy}
        if self.config.net.pointing_dim:
            located = attention_loss(predicted.locations, batch["points"], self.config.spot_cells)
            metrics["location"] = located
            attention = attention + located
        return answer + self.config.attention_weight * attention, metrics


def tinted(
    images: UInt8[np.ndarray, "b h w 3"], gains: Float32[np.ndarray, "b 1 1 4"]
) -> UInt8[np.ndarray, "b h w 3"]:
    """Multiply each channel's brightness, and the contrast of all channels around mid-gray."""
    bright = images.astype(np.float32) * gains[..., :3]
    contrast = (bright - 128) * gains[..., 3:] + 128
    return np.asarray(contrast.clip(0, 255), np.uint8)


@torch.inference_mode()
def held_out_logits(
    learner: CompactVLMLearner, corpus: VLMCorpus, texts: Texts, rows: Int32[np.ndarray, "n"]
) -> tuple[Float[Tensor, "n q"], Bool[Tensor, "n q"]]:
    """Return the network's log-odds and the true answers for some rows of a corpus."""
    device = learner.texts.device
    learner.eval()
    logits = []
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        images = torch.from_numpy(corpus.images[some]).to(device)
        questions = torch.from_numpy(texts.parts[corpus.questions[some]].astype(np.int64)).to(
            device
        )
        logits.append(learner.net(images, learner.texts[questions]).logits.float().cpu())
    return torch.cat(logits), torch.from_numpy(np.array(corpus.answers[rows]))


def best_temperature(logits: Float[Tensor, "n q"], answers: Bool[Tensor, "n q"]) -> float:
    """Return the divisor of the log-odds that minimizes the log-loss."""
    temperatures = torch.logspace(-1, 1, 201).tolist()
    losses = [
        float(nn.functional.binary_cross_entropy_with_logits(logits / t, answers.float()))
        for t in temperatures
    ]
    return float(temperatures[int(np.argmin(losses))])


def measures(logits: Float[Tensor, "n q"], answers: Bool[Tensor, "n q"]) -> dict[str, float]:
    """Return accuracy, precision and recall of "yes", log-loss, and the number of questions."""
    predicted = logits > 0
    hits = float((predicted & answers).sum())
    return {
        "accuracy": float((predicted == answers).float().mean()),
        "precision": hits / max(1.0, float(predicted.sum())),
        "recall": hits / max(1.0, float(answers.sum())),
        "log_loss": float(nn.functional.binary_cross_entropy_with_logits(logits, answers.float())),
        "questions": float(answers.numel()),
    }
