"""Foresight taught by a robot's own moments, beside those of many other scenes, so that it forgets nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.frame_cache import build_frames
from soar.data.store.lance import LanceStore
from soar.errors import ConfigError
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.planner import from_each_scene
from soar.registry import subgoals_spec
from soar.subgoals.compact.generator import KIND, TAUGHT, load_compact, to_checkpoint
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.training.fit import FitConfig, FitResult, fit
from soar.training.keypoint_samples import KeypointBatches, KeypointSamples
from soar.training.subgoal_losses import CompactSubgoalLearner
from soar.types import Query

OtherSamples: TypeAlias = Callable[[int, int], KeypointSamples]
"""(scenes, workers) to keypoint samples of that many other scenes."""
GAZE = 0.1
"""Weight of the loss that says where things are, as in pretraining."""


@dataclass(frozen=True)
class FinetuneSubgoalsConfig:
    """How an imagination learns from practice."""

    steps: int = 400
    """0: it doesn't (paper: SuSIE stays as it is)."""
    batch_size: int = 64
    learning_rate: float = 4e-4
    own_share: float = 0.4
    """Of the samples, the robot's own moments; the others are of other scenes."""
    other_scenes: int = 150
    """Of the *broad* regime, whose moments those are; made once, then shared by all runs."""
    passes: int = 2
    """In each, what was taught before reads anew where things were, and the same is taught from the start."""

    def __post_init__(self) -> None:
        if not 0 < self.own_share < 1:
            raise ConfigError(
                f"the share of own moments is {self.own_share}; valid: between 0 and 1"
            )
        if self.steps < 0 or min(self.other_scenes, self.passes) < 1:
            raise ConfigError(
                "teaching takes steps of at least 0, and other_scenes and passes of at least 1"
            )

    @property
    def fit(self) -> FitConfig:
        """How foresight is optimised."""
        every = min(100, self.steps)
        return FitConfig(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate,
            warmup_steps=min(100, self.steps // 4), betas=(0.9, 0.98), weight_decay=1e-2,
            ema_decay=0.998, log_every=every, save_every=every,
        )  # fmt: skip


def finetune_subgoals(
    store: LanceStore,
    queries: Sequence[Query],
    subgoals: str,
    out: Path,
    config: FinetuneSubgoalsConfig,
    others: OtherSamples,
    workers: int = 2,
) -> FitResult:
    """Teach an imagination with all episodes of some scenes; goes on where a call for `out` stopped.

    Args:
        queries: for each scene, its episodes, failures too.
        subgoals: the imagination that is taught, as `soar.registry` names it.
        others: makes keypoint samples of so many other scenes, in so many processes.
        out: the new one's folder; passes before the last are kept beside it, and the decoded frames.

    Raises:
        ConfigError: it has no foresight, or in no scene is anything known of where things were.
    """
    start = checkpoints.load(subgoals_spec(subgoals).folder, KIND)
    net = _taught_net(start)
    cache = out.parent / "frames"
    episodes = [build_frames(store, q, net.sight, cache, workers) for q in queries]
    elsewhere = others(config.other_scenes, workers)
    folders = [out.with_name(f"{out.name}-pass-{i}") for i in range(1, config.passes)]
    for folder in [*folders, out]:
        reader = load_compact(subgoals)
        own = from_each_scene(partial(keypoint_labels, reader=reader), episodes)
        result = teach(start, KeypointSamples.joined(own), elsewhere, folder, config)
        subgoals = str(folder)
    return result


def teach(
    start: Checkpoint,
    own: KeypointSamples,
    others: KeypointSamples,
    out: str | Path,
    config: FinetuneSubgoalsConfig,
) -> FitResult:
    """Train the foresight of a compact imagination and write the whole of it; goes on where a run in `out` stopped.

    The painter stays as it is: what the arm looks like at a place hasn't changed.

    Raises:
        ConfigError: the checkpoint has no foresight.
        CheckpointError: `out` holds a run with other settings.
    """
    torch.manual_seed(config.fit.seed)
    learner = KeypointLearner(_taught_net(start))
    checkpoints.load_weights(learner.whole.net, start)
    about = {TAUGHT: start.id, "moments": len(own.images), "own_share": config.own_share}
    return fit(
        learner,
        _Both(own, others, config.own_share, config.fit.seed),
        config.fit,
        out,
        export=lambda: to_checkpoint(learner.whole.net, about),
    )


def _taught_net(start: Checkpoint) -> CompactSubgoalConfig:
    net = CompactSubgoalConfig(**start.config["net"])
    if not net.foresee:
        raise ConfigError(f"checkpoint {start.id} has no foresight that could be taught")
    return net


class KeypointLearner(nn.Module):
    """The compact network, of which foresight alone learns."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        learner = CompactSubgoalLearner(config, gaze=GAZE)
        for name, weight in learner.net.named_parameters():
            weight.requires_grad_(name.startswith("foresight."))
        self.whole = learner

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `CompactSubgoalLearner.foresee`."""
        return self.whole.foresee(batch, generator)


class _Both:
    """Batches of which a share are own moments."""

    def __init__(
        self, own: KeypointSamples, others: KeypointSamples, share: float, seed: int
    ) -> None:
        self._parts = (KeypointBatches(own, seed), KeypointBatches(others, seed))
        self._share = share

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Own moments first; any slice of a batch has the same share of them, to a sample."""
        whole = len(range(*part.indices(size)))
        count = round(whole * self._share)
        own, others = (b(step, size, part) for b in self._parts)
        return {k: np.concatenate([own[k][:count], others[k][count:]]) for k in own}
