"""A subgoal generator of another package: `--subgoals still` asks the policy to stay where it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar import Images, Observation, Task


class StillSubgoals:
    """Returns what it sees: a baseline that a real generator must beat."""

    name = "still"

    def generate(
        self, observations: Sequence[Observation], tasks: Sequence[Task], rng: np.random.Generator
    ) -> Images:
        """Return one image for each observation."""
        return np.stack([o.image for o in observations])
