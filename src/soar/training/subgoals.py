"""How subgoal generators are made: corpus, training, checkpoint, each one call that can be cut short."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.subgoals.clips import ClipCorpus
from soar.subgoals.compact.generator import to_checkpoint
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.subgoals.susie import InstructPix2Pix
from soar.training.fit import FitConfig, FitResult, fit
from soar.training.keypoint_samples import KeypointBatches, KeypointSamples
from soar.training.subgoal_losses import (
    ClipAndKeypointBatches,
    CompactSubgoalLearner,
    Dropout,
    SubgoalBatches,
    SusieLearner,
)


@dataclass(frozen=True)
class SubgoalTrainConfig:
    """How the compact subgoal network is trained."""

    net: CompactSubgoalConfig = field(default_factory=lambda: CompactSubgoalConfig(foresee=True))
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=8000, batch_size=32, learning_rate=6e-4, warmup_steps=300, betas=(0.9, 0.98),
            weight_decay=1e-2, ema_decay=0.998, log_every=50, save_every=500,
        )
    )  # fmt: skip
    ahead: tuple[int, int] = (8, 24)
    """Fewest and most control steps from observation to subgoal; the network is told how many."""
    dropout: Dropout = field(default_factory=Dropout)
    gaze: float = 0.1
    """Weight of the loss that says where the named things are."""
    other_cameras: bool = True
    """Foresight learns from images as other cameras in other light might have them, too."""
    held_out: float = 0.03
    """Share of the corpus's episodes, its last ones, kept for validation."""


@dataclass(frozen=True)
class SusieConfig:
    """How an InstructPix2Pix model is fine-tuned. The defaults are SuSIE's (method.md, section 2)."""

    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=40_000, batch_size=128, learning_rate=1e-4, warmup_steps=800, betas=(0.9, 0.999),
            weight_decay=1e-2, ema_decay=0.999,
        )
    )  # fmt: skip
    ahead: tuple[int, int] = (11, 20)
    dropout: Dropout = field(default_factory=Dropout)
    held_out: float = 0.03


def train_compact_subgoals(
    folder: str | Path,
    out: str | Path,
    config: SubgoalTrainConfig | None = None,
    start: Checkpoint | None = None,
    moments: KeypointSamples | None = None,
) -> FitResult:
    """Train the compact network on a corpus (or any `Frames` with instructions) and write its checkpoint.

    Goes on where a run in `out` stopped. `start`: weights to begin from, of the same size of network.
    `moments`: what most of foresight's samples are taken from.
    Raises ConfigError when the corpus has another resolution.
    """
    config, corpus = config or SubgoalTrainConfig(), ClipCorpus.load(folder)
    _check(corpus, config.net.sight)
    torch.manual_seed(config.fit.seed)
    learner = CompactSubgoalLearner(config.net, config.dropout, config.gaze, config.other_cameras)
    if start is not None:
        checkpoints.load_weights(learner.net, start)
    ours, held_out = _split(corpus, config.ahead, config.held_out, config.fit.seed)
    made = {"episodes": len(corpus.frames.episodes), "frames": len(corpus.frames)}
    started = start.id if start else None
    about = {"corpus": made, "ahead": list(config.ahead), "started_from": started}
    if moments:
        made["moments"] = len(moments.images)
    return fit(
        learner,
        ClipAndKeypointBatches(ours, KeypointBatches(moments, config.fit.seed))
        if moments
        else ours,
        config.fit,
        out,
        export=lambda: to_checkpoint(learner.net, about),
        validation=held_out,
    )


def fine_tune_susie(
    source: str | Path, folder: str | Path, out: str | Path, config: SusieConfig | None = None
) -> FitResult:
    """Fine-tune an InstructPix2Pix model on a corpus, and write `out/model` in diffusers format.

    Goes on where a run in `out` stopped. `source` is a diffusers folder or a hub id.
    """
    config, corpus = config or SusieConfig(), ClipCorpus.load(folder)
    model = InstructPix2Pix.load(source)
    _check(corpus, corpus.frames.resolution // 8 * 8)
    learner = SusieLearner(model, corpus.instructions, config.dropout)
    ours, held_out = _split(corpus, config.ahead, config.held_out, config.fit.seed)

    def export() -> Checkpoint:
        return Checkpoint(
            "instruct-pix2pix", dict(model.unet.state_dict()), {"source": str(source)}
        )

    result = fit(learner, ours, config.fit, out, export=export, validation=held_out)
    model.unet.load_state_dict(dict(checkpoints.load(out, "instruct-pix2pix").weights))
    model.pipeline.save_pretrained(str(Path(out) / "model"))
    return result


def _split(
    corpus: ClipCorpus, ahead: tuple[int, int], held_out: float, seed: int
) -> tuple[SubgoalBatches, SubgoalBatches]:
    """Batches of the first episodes, and of the last ones."""
    count = len(corpus.frames.episodes)
    cut = min(count - 1, round(count * (1 - held_out)))
    return (
        SubgoalBatches(corpus, slice(0, cut), ahead, seed),
        SubgoalBatches(corpus, slice(cut, None), ahead, seed),
    )


def _check(corpus: ClipCorpus, resolution: int) -> None:
    if corpus.frames.resolution != resolution:
        raise ConfigError(
            f"the corpus has images of {corpus.frames.resolution} pixels; valid: {resolution}"
        )
