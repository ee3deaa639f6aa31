"""Training of a compact subgoal generator's keypoint predictor alone, the rest of the generator frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.subgoals.compact.generator import to_checkpoint
from soar.subgoals.compact.network import CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig, PredictorSize
from soar.training.fit import FitConfig, FitResult, fit
from soar.training.keypoint_samples import KeypointBatches, KeypointSamples
from soar.training.subgoal_losses import RECOLORED, CompactSubgoalLearner


class KeypointLearner(nn.Module):
    """The compact subgoal network with all but its keypoint predictor frozen."""

    def __init__(
        self, config: CompactSubgoalConfig, attention_weight: float, recolor_tables: bool = False
    ) -> None:
        super().__init__()
        learner = CompactSubgoalLearner(config, attention_weight=attention_weight)
        if recolor_tables:
            learner.augmentation = RECOLORED
        for name, weight in learner.net.named_parameters():
            weight.requires_grad_(name.startswith("keypoint_predictor."))
        self.whole = learner

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `CompactSubgoalLearner.keypoint_loss`."""
        return self.whole.keypoint_loss(batch, generator)


class MixedKeypointBatches:
    """Batches with a fixed share of one kind of samples, which come first in every slice of a batch."""

    def __init__(
        self, first: KeypointSamples, others: KeypointSamples, share: float, seed: int
    ) -> None:
        self._first, self._others = KeypointBatches(first, seed), KeypointBatches(others, seed)
        self._share = share

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return a slice of a step's batch."""
        count = round(len(range(*part.indices(size))) * self._share)
        first, others = self._first(step, size, part), self._others(step, size, part)
        return {k: np.concatenate([first[k][:count], others[k][count:]]) for k in first}


def train_keypoint_predictor(
    start: Checkpoint,
    batches: KeypointBatches | MixedKeypointBatches,
    out: str | Path,
    config: FitConfig,
    attention_weight: float,
    provenance: Mapping[str, Any],
    recolor_tables: bool = False,
) -> FitResult:
    """Train the keypoint predictor of a subgoal generator and write the whole generator; resumes a run in `out`.

    Args:
        start: the generator.
        batches: keypoint samples.
        out: folder of the new generator.
        config: optimization.
        attention_weight: weight of the loss on the attention to the named objects.
        provenance: of the new checkpoint.
        recolor_tables: whether the table gets another color in half of the samples.

    Raises:
        ConfigError: the generator has no keypoint predictor.
        CheckpointError: `out` holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    learner = KeypointLearner(predicting(start), attention_weight, recolor_tables)
    checkpoints.load_weights(learner.whole.net, start)
    return fit(
        learner,
        batches,
        config,
        out,
        export=lambda: to_checkpoint(learner.whole.net, provenance),
    )


def resized(start: Checkpoint, size: PredictorSize, seed: int) -> Checkpoint:
    """Return a subgoal generator whose keypoint predictor has another size, to be trained.

    What `size` leaves open stays. So do the weights whose shapes don't change; the rest begins anew.

    Raises:
        ConfigError: the generator has no keypoint predictor, or can't have one of this size.
    """
    torch.manual_seed(seed)
    before = predicting(start)
    given = {name: value for name, value in vars(size).items() if value is not None}
    net = CompactSubgoalNet(replace(before, predictor=replace(before.predictor, **given)))
    weights = net.state_dict()
    for name, weight in start.weights.items():
        key = checkpoints.present_key(net, name)
        if key in weights and weights[key].shape == weight.shape:
            weights[key] = weight
    net.load_state_dict(weights)
    return to_checkpoint(net, start.provenance)


def net_config(checkpoint: Checkpoint) -> CompactSubgoalConfig:
    """Return the network's configuration in a checkpoint of the compact subgoal generator."""
    return checkpoint.model_config(CompactSubgoalConfig, checkpoint.config["net"])


def predicting(start: Checkpoint) -> CompactSubgoalConfig:
    """Return the network's configuration. Raises ConfigError: the generator has no keypoint predictor."""
    net = net_config(start)
    if not net.predict_keypoints:
        raise ConfigError(f"checkpoint {start.id} has no keypoint predictor to fine-tune")
    return net
