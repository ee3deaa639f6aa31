"""Steering over subgoals: of several generated images, the one whose state a critic values most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from soar.critics.critic import load_critic
from soar.critics.steering import SteeringConfig, choose
from soar.errors import ConfigError
from soar.interfaces import SubgoalGenerator
from soar.types import Images, Observation, Task
from soar.utils.config import from_plain


@runtime_checkable
class StateCritic(Protocol):
    """Values states with their goals."""

    name: str

    @property
    def takes_images(self) -> bool:
        """Whether its goals are images; else they are instructions."""

    def v(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> Float32[np.ndarray, " n"]:
        """Return the value of each state if its goal is pursued."""


class ChosenSubgoals:
    """A subgoal generator that returns the best of several images. It is a generator itself.

    The critic must be one with goal images that learned from verdicts: with hindsight labels a value is larger
    the less there is left to do, so such a critic prefers subgoals that change nothing.
    """

    def __init__(
        self,
        base: SubgoalGenerator,
        critic: StateCritic,
        config: SteeringConfig = SteeringConfig(count=4),  # noqa: B008 - frozen
    ) -> None:
        """Wrap a generator; `count`, `temperature` and `select` apply. Raises ConfigError: a critic with words."""
        if not critic.takes_images:
            raise ConfigError(
                f"{critic.name} takes instructions; valid to choose among subgoals: a critic with goal images"
            )
        self.base, self.critic, self.config = base, critic, config
        self.name = f"{base.name} chosen by {critic.name}"
        self._varies = config.count == 1

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return one image for each observation, from one batched call of the generator and one of the critic.

        Raises:
            ConfigError: the generator's images are all the same.
            ModelUnavailable: no reply within the time limit.
        """
        n, count = len(observations), self.config.count
        repeated = [o for o in observations for _ in range(count)]
        images = self.base.generate(repeated, [t for t in tasks for _ in range(count)], rng)
        if count == 1 or not n:
            return images
        grouped = images.reshape(n, count, *images.shape[1:])
        self._check(grouped)
        values = self.critic.v(repeated, images).reshape(1, n, count)
        chosen: Images = grouped[np.arange(n), choose(values, self.config, rng)]
        return chosen

    def _check(self, images: UInt8[np.ndarray, "n k h w 3"]) -> None:
        if self._varies:
            return
        if (images == images[:, :1]).all():
            raise ConfigError(
                f"subgoal generator '{self.base.name}' gave {images.shape[1]} identical images: a critic can "
                "only choose "
                "among images that vary"
            )
        self._varies = True


def load_chosen(
    generator: SubgoalGenerator, critic: str, options: Mapping[str, Any]
) -> ChosenSubgoals:
    """Choose among a generator's images by the critic of a checkpoint's folder.

    Args:
        generator: the subgoal generator.
        critic: the critic's folder.
        options: fields of `SteeringConfig`; `count` is 4 by default.

    Raises:
        ConfigError: an option isn't valid, or the critic doesn't take goal images.
        CheckpointError: the folder holds no critic.
    """
    config = from_plain(SteeringConfig, {"count": 4, **options}, "chosen")
    return ChosenSubgoals(generator, load_critic(critic), config)
