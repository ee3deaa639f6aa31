"""Co-training of the policy on demonstrations and own episodes (paper, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from soar.checkpoint import Checkpoint
from soar.checkpoint import load as load_checkpoint
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
from soar.policies.loading import config_from
from soar.promotion import base_policy
from soar.registry import policy_spec
from soar.training.fit import FitConfig
from soar.training.policy import PolicyTrainConfig, train_policy
from soar.types import Outcome
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class CoTrainConfig:
    """Co-training of the policy in each round."""

    steps: Annotated[int, Ge(0)] = 800
    """Gradient steps; 0 leaves the policy as it is."""
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

    def __post_init__(self) -> None:
        check_ranges(self)

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
                log_every=min(50, self.save_every),
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
        share = self.config.autonomous_share if self.demonstrations else 1.0
        try:
            sources = self.method.sources(own, share)
        except ConfigError as error:
            raise NothingToLearnError(str(error)) from error
        if self.demonstrations:
            sources = [replace(self.demonstrations, weight=1 - share), *sources]
        start = (
            None
            if self.config.from_scratch
            else load_checkpoint(policy_spec(base_policy(incumbent)).folder)
        )
        train_policy(self.recipe, sources, out, start=start)
        if isinstance(self.method, FinishingMethod):
            self.method.finish(own, out)
        return {s.name: s.weight for s in sources}
