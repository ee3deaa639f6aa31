"""A policy drives until an expert takes over and shows the way from there (HG-DAgger, Kelly et al. 2019).

Demonstrations that begin so start in the states that the policy itself gets into, in scenes of the
regime it is pretrained on. `soar.sim.demos` calls a pilot where it otherwise makes an attempt go wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from soar import models
from soar.crew import Plan
from soar.errors import ConfigError
from soar.interfaces import Policy, SubgoalGenerator
from soar.sim.expert import frame_ahead
from soar.sim.spec import SceneTask
from soar.sim.world import World
from soar.types import STEPS_AHEAD, Observation


@dataclass(frozen=True)
class Pilot:
    """Drives with a checkpoint's policy as the loop does, and hands over at a random step."""

    policy: Path
    """A checkpoint's folder."""
    imagined: float = 0.5
    """Share of the drives whose subgoals the packaged imagination makes; the others' are an expert's frames."""
    steps: tuple[int, int] = (5, 80)
    """Fewest and most control steps before the expert takes over."""
    noise: float = 0.5
    """Most exploration noise, in the policy's own standard deviations."""

    def __post_init__(self) -> None:
        if not (0 <= self.imagined <= 1 and 0 < self.steps[0] <= self.steps[1]):
            raise ConfigError("imagined is a share in [0, 1], and steps a range of at least 1")

    def __call__(self, world: World, task: SceneTask, rng: np.random.Generator) -> None:
        """Drive towards the task from the world as it is."""
        policy = _policy(str(self.policy))
        imagination = _imagination() if rng.random() < self.imagined else None
        noise, seed = float(rng.uniform(0, self.noise)), int(rng.integers(2**31))
        policy.reset()
        for step in range(int(rng.integers(self.steps[0], self.steps[1] + 1))):
            image = world.render()
            if step % Plan().steps == 0:
                if imagination is None:
                    goal = frame_ahead(world, task.goal, STEPS_AHEAD, seed)
                else:
                    goal = imagination.generate(image[None], [task.instruction], rng)[0]
            seen = Observation(image, world.state(), world.data.time)
            world.step(policy.act([seen], goal[None], rng, noise=noise)[0])


@lru_cache(maxsize=1)
def _policy(folder: str) -> Policy:
    return models.load_policy(folder)


@lru_cache(maxsize=1)
def _imagination() -> SubgoalGenerator:
    return models.load_subgoals()
