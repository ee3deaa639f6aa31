"""Offline, then online reinforcement learning: Cal-QL's or RoboFuME's own actor as the policy.

The first round trains a critic and its actor on the demonstrations alone; from then on each round goes on with batches
that are half demonstrations and half own episodes, with the detector's verdicts as rewards. An actor with instructions
(RoboFuME) needs no subgoals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from soar.checkpoint import Checkpoint
from soar.checkpoint import load as load_checkpoint
from soar.critics.config import ALGORITHMS
from soar.critics.learning.labels import CriticSource
from soar.critics.learning.learner import KIND
from soar.data.mixture import Source
from soar.errors import ConfigError
from soar.improvement.methods.method import NothingToLearnError, OwnEpisodes
from soar.registry import policy_spec
from soar.training.critic import CriticTrainConfig, critic_source, train_critic
from soar.training.fit import FitConfig
from soar.types import Outcome
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class OfflineActorConfig:
    """Training of an actor with its critic."""

    offline_steps: Annotated[int, Ge(1)] = 10_000
    """Gradient steps on demonstrations, before the first round's."""
    steps: Annotated[int, Ge(1)] = 2000
    """Gradient steps of each round."""
    own_share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Share of own episodes among the samples of a round."""
    resolution: Annotated[int, Ge(16)] = 96
    """Height and width of the images [px]."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            batch_size=128, warmup_steps=200, betas=(0.9, 0.999), weight_decay=0.0, clip_norm=10.0,
            save_every=100,
        )
    )  # fmt: skip
    """Optimization; the number of steps is set by the two above."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def recipe(self, algorithm: Literal["robofume", "calql"], steps: int) -> CriticTrainConfig:
        """Return the training of an algorithm, of some steps."""
        critic = replace(ALGORITHMS[algorithm](), resolution=self.resolution)
        return CriticTrainConfig(critic, fit=replace(self.fit, steps=steps))


@dataclass(frozen=True)
class OfflineActorTraining:
    """The stage that trains actor and critic together."""

    config: OfflineActorConfig
    algorithm: Literal["robofume", "calql"]
    demonstrations: Source | None
    """Demonstrations, which count as successes; needed unless the policy in force is an actor already."""
    outcomes: ClassVar[tuple[Outcome, ...]] = ()
    shared: ClassVar[bool] = True
    """All processes of a launcher take part."""

    def __call__(self, own: OwnEpisodes, incumbent: str, out: Path) -> Mapping[str, float]:
        """Train into `out`; resumes.

        Args:
            own: own episodes, successes and failures.
            incumbent: the policy in force; training goes on from it if it is such an actor.
            out: the new actor's folder, a critic's checkpoint.

        Raises:
            NothingToLearnError: there are neither demonstrations nor an actor, or no own episode has a verdict.
        """
        start = self._start(own, incumbent)
        recipe = self.config.recipe(self.algorithm, self.config.steps)
        share = self.config.own_share if self.demonstrations else 1.0
        try:
            mine = critic_source(
                own.open_store(), "own", own.query, recipe.critic, own.run.frames, share
            )
            sources = [mine, *self._given(1 - share)]
            train_critic(recipe, sources, out, start=start)
        except ConfigError as error:
            raise NothingToLearnError(str(error)) from error
        return {s.name: s.weight for s in sources}

    def _start(self, own: OwnEpisodes, incumbent: str) -> Checkpoint:
        """Return the actor to go on from: the one in force, or one trained offline."""
        spec = policy_spec(incumbent)
        if spec.is_compact:
            found = load_checkpoint(spec.folder)
            if found.kind == KIND and found.config["algorithm"] == self.algorithm:
                return found
        if self.demonstrations is None:
            raise NothingToLearnError(
                f"--method {self.algorithm} begins offline and needs demonstrations: --demonstrations STORE or a number"
            )
        offline = own.run.folder / "critics" / "offline"
        recipe = self.config.recipe(self.algorithm, self.config.offline_steps)
        train_critic(recipe, self._given(1.0), offline)
        return load_checkpoint(offline, KIND)

    def _given(self, share: float) -> list[CriticSource]:
        given = self.demonstrations
        if given is None or not share:
            return []
        return [CriticSource("demonstrations", given.frames, share, episodes=given.episodes)]
