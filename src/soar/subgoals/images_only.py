"""A subgoal generator that shows nothing but its images: `--subgoals python:soar.subgoals.images_only:compact`.

The packaged generator also has a keypoint predictor, which scripted corrections and its own fine-tuning read. Behind
this wrapper it offers no more than SuSIE or a third-party generator, so that methods can be tried without these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar.interfaces import SubgoalGenerator
from soar.registry import load_subgoals
from soar.types import Images, Observation, Task


class ImagesOnly:
    """A generator of images."""

    def __init__(self, generator: SubgoalGenerator) -> None:
        self.name = f"images of {generator.name}"
        self._generator = generator

    def generate(
        self, observations: Sequence[Observation], tasks: Sequence[Task], rng: np.random.Generator
    ) -> Images:
        """Return one image for each observation. Raises ModelUnavailable."""
        return self._generator.generate(observations, tasks, rng)


def compact(steps: int = 10) -> ImagesOnly:
    """Return the packaged generator behind the wrapper. `steps`: horizon of its subgoals in control steps."""
    return ImagesOnly(load_subgoals(f"compact@{steps}"))
