"""Training of subgoal generators: from a corpus to a checkpoint, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.subgoals.clips import ClipCorpus, Part
from soar.subgoals.compact.generator import to_checkpoint
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.subgoals.susie import InstructPix2Pix
from soar.training.fit import FitConfig, FitResult, fit
from soar.training.keypoint_samples import KeypointBatches, KeypointSamples
from soar.training.subgoal_losses import (
    ClipAndKeypointBatches,
    CompactSubgoalLearner,
    Dropout,
    MixedBatches,
    SubgoalBatches,
    SusieLearner,
)


@dataclass(frozen=True)
class SubgoalTrainConfig:
    """Training of the compact subgoal network."""

    net: CompactSubgoalConfig = field(
        default_factory=lambda: CompactSubgoalConfig(predict_keypoints=True)
    )
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=8000, batch_size=32, learning_rate=6e-4, warmup_steps=300, betas=(0.9, 0.98),
            weight_decay=1e-2, ema_decay=0.998, log_every=50, save_every=500,
        )
    )  # fmt: skip
    steps_ahead: tuple[int, int] = (8, 24)
    """Fewest and most control steps from observation to subgoal; the network is conditioned on the number."""
    dropout: Dropout = field(default_factory=Dropout)
    attention_weight: Annotated[float, Ge(0)] = 0.1
    """Weight of the loss on the attention maps of named object, container and gripper."""
    augment: bool = True
    """Whether the keypoint predictor learns from images with varied camera pose and lighting."""
    held_out: Annotated[float, Ge(0), Le(1)] = 0.03
    """Share of the corpus's episodes, its last ones, kept for validation."""


@dataclass(frozen=True)
class SusieTrainConfig:
    """Fine-tuning of an InstructPix2Pix model. The defaults are SuSIE's (method.md, section 2)."""

    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=40_000, batch_size=128, learning_rate=1e-4, warmup_steps=800, betas=(0.9, 0.999),
            weight_decay=1e-2, ema_decay=0.999,
        )
    )  # fmt: skip
    steps_ahead: tuple[int, int] = (11, 20)
    """Fewest and most control steps from observation to subgoal."""
    dropout: Dropout = field(default_factory=Dropout)
    held_out: Annotated[float, Ge(0), Le(1)] = 0.03
    """Share of the corpus's episodes, its last ones, kept for validation."""


def train_compact_subgoals(
    folder: str | Path | Sequence[Part],
    out: str | Path,
    config: SubgoalTrainConfig | None = None,
    start: Checkpoint | None = None,
    keypoint_samples: KeypointSamples | None = None,
) -> FitResult:
    """Train the compact network and write its checkpoint; resumes a run that stopped in `out`.

    Args:
        folder: a `ClipCorpus`, or any `Frames` with instructions; or several corpora and their weights.
        out: folder of the checkpoint.
        config: network and training settings.
        start: initial weights, of a network of the same size.
        keypoint_samples: source of most of the keypoint predictor's samples.

    Raises:
        ConfigError: the corpus has another resolution.
    """
    config, parts = config or SubgoalTrainConfig(), _parts(folder)
    for corpus, _ in parts:
        _check_resolution(corpus, config.net.input_resolution)
    torch.manual_seed(config.fit.seed)
    learner = CompactSubgoalLearner(
        config.net, config.dropout, config.attention_weight, config.augment
    )
    if start is not None:
        checkpoints.load_weights(learner.net, start)
    ours, held_out = _split(parts, config.steps_ahead, config.held_out, config.fit.seed)
    counts = {
        "episodes": sum(len(c.frames.episodes) for c, _ in parts), "frames": sum(len(c.frames) for c, _ in parts)
    }  # fmt: skip
    started_from = start.id if start else None
    provenance = {
        "corpus": counts, "ahead": list(config.steps_ahead), "started_from": started_from
    }  # fmt: skip
    if keypoint_samples:
        counts["moments"] = len(keypoint_samples.images)
    return fit(
        learner,
        ClipAndKeypointBatches(ours, KeypointBatches(keypoint_samples, config.fit.seed))
        if keypoint_samples
        else ours,
        config.fit,
        out,
        export=lambda: to_checkpoint(learner.net, provenance),
        validation=held_out,
    )


def fine_tune_susie(
    source: str | Path,
    folder: str | Path | Sequence[Part],
    out: str | Path,
    config: SusieTrainConfig | None = None,
) -> FitResult:
    """Fine-tune an InstructPix2Pix model on a corpus, and write `out/model` in diffusers format.

    Resumes a run that stopped in `out`. `source` is a diffusers folder or a hub id, `folder` as for
    `train_compact_subgoals`.
    """
    config, parts = config or SusieTrainConfig(), _parts(folder)
    model = InstructPix2Pix.load(source)
    for corpus, _ in parts:
        _check_resolution(corpus, parts[0].corpus.frames.resolution // 8 * 8)
    instructions = [text for corpus, _ in parts for text in corpus.instructions]
    learner = SusieLearner(model, instructions, config.dropout)
    ours, held_out = _split(parts, config.steps_ahead, config.held_out, config.fit.seed)

    def export() -> Checkpoint:
        return Checkpoint(
            "instruct-pix2pix", dict(model.unet.state_dict()), {"source": str(source)}
        )

    result = fit(learner, ours, config.fit, out, export=export, validation=held_out)
    model.unet.load_state_dict(dict(checkpoints.load(out, "instruct-pix2pix").weights))
    model.pipeline.save_pretrained(str(Path(out) / "model"))
    return result


def _parts(folder: str | Path | Sequence[Part]) -> Sequence[Part]:
    return [Part(ClipCorpus.load(folder))] if isinstance(folder, str | Path) else folder


def _split(
    parts: Sequence[Part], steps_ahead: tuple[int, int], held_out: float, seed: int
) -> tuple[SubgoalBatches | MixedBatches, SubgoalBatches | MixedBatches]:
    """Return batches of each corpus's first episodes for training and of the last ones for validation."""
    ours, kept = [], []
    for corpus, _ in parts:
        count = len(corpus.frames.episodes)
        cut = min(count - 1, round(count * (1 - held_out)))
        ours.append(SubgoalBatches(corpus, slice(0, cut), steps_ahead, seed))
        kept.append(SubgoalBatches(corpus, slice(cut, None), steps_ahead, seed))
    if len(parts) == 1:
        return ours[0], kept[0]
    weights = [part.weight for part in parts]
    return MixedBatches(ours, weights), MixedBatches(kept, weights)


def _check_resolution(corpus: ClipCorpus, resolution: int) -> None:
    if corpus.frames.resolution != resolution:
        raise ConfigError(
            f"the corpus has images of {corpus.frames.resolution} pixels; valid: {resolution}"
        )
