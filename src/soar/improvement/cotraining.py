"""Co-training of the policy on demonstrations and own episodes (paper, section 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from soar.checkpoint import Checkpoint, present_key
from soar.checkpoint import load as load_checkpoint
from soar.checkpoint import save as save_checkpoint
from soar.data.mixture import Source
from soar.data.transforms import image_transforms, transforms_from
from soar.errors import ConfigError
from soar.improvement.methods.method import (
    AUTONOMOUS_SHARE,
    FinishingMethod,
    LearningMethod,
    NothingToLearnError,
    OwnEpisodes,
)
from soar.improvement.run import RunRecord
from soar.policies.loading import config_from, policy_from
from soar.promotion import base_policy
from soar.registry import policy_spec
from soar.training.fit import FitConfig
from soar.training.policy import PolicyTrainConfig, train_policy, with_fit
from soar.types import Outcome
from soar.utils.config import check_ranges
from soar.utils.hardware import is_main_process


@dataclass(frozen=True)
class CoTrainConfig:
    """Co-training of the policy in each round."""

    steps: Annotated[int, Ge(0)] = 800
    """Gradient steps; 0 leaves the policy as it is."""
    minutes: Annotated[float, Ge(0)] = 0.0
    """Duration of a round in simulation, both evaluations included [min]: where the other stages leave too
    little time for `steps`, the policy is trained for what they leave, at least `save_every` steps; 0 for no limit.
    Not on real stations, nor in several processes."""
    batch_size: Annotated[int, Ge(1)] = 128
    """Samples of a gradient step."""
    learning_rate: Annotated[float, Gt(0)] = 2e-4
    """Learning rate after warmup."""
    save_every: Annotated[int, Ge(1)] = 100
    """Gradient steps between two saved states."""
    autonomous_share: Annotated[float, Gt(0), Lt(1)] = AUTONOMOUS_SHARE
    """Share of own episodes among the samples; the rest are demonstrations (paper: 10x up-sampled, or 20 %)."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the order of samples and of their augmentation."""
    from_scratch: bool = False
    """Train fresh weights, as the paper does, instead of going on from the policy in force."""
    kept_share: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the initial weights in the average that becomes the new policy (WiSE-FT, Wortsman et al. 2022): a larger
    one forgets less, and learns less. 0 takes the trained weights (paper)."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.from_scratch and self.kept_share:
            raise ConfigError("kept_share needs weights to begin with; from_scratch has none")

    def recipe(self, start: Checkpoint) -> PolicyTrainConfig:
        """Return the training configuration of a policy like `start`, with its augmentation."""
        return PolicyTrainConfig(
            config_from(start),
            image_transforms(transforms_from(start.transforms)),
            fit=FitConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
                warmup_steps=min(100, self.steps // 10),
                save_every=self.save_every,
                log_every=math.gcd(self.save_every, 50),
            ),
        )


@dataclass(frozen=True)
class CoTraining:
    """The stage that trains a round's policy."""

    config: CoTrainConfig
    recipe: PolicyTrainConfig
    method: LearningMethod
    demonstrations: Source | None = None
    """Demonstrations that keep the policy general; None trains on own episodes alone."""
    shared: ClassVar[bool] = True
    """All processes of a launcher take part."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Verdicts of the episodes that the policy learns from; empty for all."""
        return self.method.outcomes

    def __call__(self, own: OwnEpisodes, incumbent: str, out: Path) -> Mapping[str, float]:
        """Train a policy into `out`; resumes.

        Args:
            own: own episodes.
            incumbent: the policy in force, as `soar.registry` names it: a checkpoint's folder, steered or not.
            out: the new policy's folder.

        Returns:
            The share of each source.

        Raises:
            NothingToLearnError: nothing can be learned from the episodes.
        """
        began = time.monotonic()
        share = self.config.autonomous_share if self.demonstrations else 1.0
        try:
            sources = self.method.sources(own, share)
        except ConfigError as error:
            raise NothingToLearnError(str(error)) from error
        if self.demonstrations:
            sources = [replace(self.demonstrations, weight=1 - share), *sources]
        recipe = self.recipe
        if self.config.minutes:
            left = time_left_s(own.run.record(), own.round, self.config.minutes)
            left = max(1.0, left - (time.monotonic() - began))
            recipe = with_fit(recipe, hours=left / 3600)
        start = load_checkpoint(policy_spec(base_policy(incumbent)).folder)
        train_from(start, self.config, recipe, sources, out)
        if isinstance(self.method, FinishingMethod):
            self.method.finish(own, out)
        return {s.name: s.weight for s in sources}


def train_from(
    start: Checkpoint,
    config: CoTrainConfig,
    recipe: PolicyTrainConfig,
    sources: Sequence[Source],
    out: Path,
) -> None:
    """Train a policy into `out`, from a checkpoint's weights or from fresh ones as configured; resumes.

    Args:
        start: the policy before.
        config: says whether its weights are trained further, and what share of them is kept.
        recipe: training configuration.
        sources: training data.
        out: the new policy's folder.
    """
    train_policy(recipe, sources, out, start=None if config.from_scratch else start)
    if config.kept_share and is_main_process():
        average_weights(out, start, config.kept_share)


def no_minutes(config: CoTrainConfig) -> None:
    """Raise ConfigError if a training without a run around it has a limit of time."""
    if config.minutes:
        raise ConfigError("minutes is for a run in simulation; valid here: steps")


def time_left_s(record: RunRecord, round: int, minutes: float) -> float:
    """Return what a round's other stages leave of its duration for training [s]; negative if it is exceeded.

    The evaluation after it is expected to take as long as the last one before it.

    Args:
        record: record of the run.
        round: number of the round, whose earlier stages are done.
        minutes: duration of the round, both evaluations included [min].
    """
    rounds = {r.index: r.seconds for r in record.rounds if r.index <= round}
    evaluations = [record.seconds, *(rounds[i] for i in sorted(rounds))]
    before = [s["evaluate"] for s in evaluations if "evaluate" in s]
    spent = sum(rounds.get(round, {}).values())
    if round == 1:
        spent += record.seconds.get("prepare", 0.0)
    return 60 * minutes - spent - 2 * (before[-1] if before else 0.0)


def average_weights(folder: Path, start: Checkpoint, kept_share: float) -> None:
    """Replace a trained policy with the average of its weights and those that its training began with.

    Called again, it changes nothing. Weights that only the trained policy has stay as they are.

    Args:
        folder: the trained policy's folder.
        start: what its training began with.
        kept_share: share of its weights in the average.
    """
    trained = load_checkpoint(folder)
    if "averaged_with" in trained.provenance:
        return
    module = policy_from(trained)
    before = {present_key(module, name): value for name, value in start.weights.items()}

    def average(name: str, value: Tensor) -> Tensor:
        old = before.get(name)
        if old is None or old.shape != value.shape or not value.is_floating_point():
            return value
        return torch.lerp(value.float(), old.float(), kept_share).to(value.dtype)

    origin = {**trained.provenance, "averaged_with": start.id, "kept_share": kept_share}
    weights = {name: average(name, value) for name, value in module.state_dict().items()}
    save_checkpoint(folder, replace(trained, weights=weights, provenance=origin))
