"""Where the policy's goals come from in an evaluation: an expert, a generator, or the words themselves.

Subgoals of a scripted expert, started from the very state the policy is in, give the policy's own
ceiling; a generator's give the whole system's success.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from soar.errors import ConfigError
from soar.evaluate.bench import Bench, SimBench
from soar.interfaces import SubgoalGenerator
from soar.sim.expert import Expert
from soar.types import Image, Images, Observation


@runtime_checkable
class Goals(Protocol):
    """Makes one goal for each bench, for the next control steps."""

    name: str

    def make(
        self,
        benches: Sequence[Bench],
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images | Sequence[str]:
        """Goals in the order of the benches: images, or words."""


class Words:
    """The instruction is the goal, for a policy that follows words."""

    name = "none"

    def make(
        self,
        benches: Sequence[Bench],
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Sequence[str]:
        """The instructions."""
        return instructions


class Imagined:
    """Subgoals from a generator, as in collection."""

    def __init__(self, generator: SubgoalGenerator) -> None:
        self.generator = generator
        self.name = generator.name

    def make(
        self,
        benches: Sequence[Bench],
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """One imagined image for each observation."""
        images = np.stack([o.image for o in observations])
        return self.generator.generate(images, instructions, rng)


class ExpertGoals:
    """Frames of a scripted expert some steps ahead of the present state. Simulated benches only."""

    name = "expert"

    def __init__(self, steps_ahead: int = 20) -> None:
        self.steps_ahead = steps_ahead

    def make(
        self,
        benches: Sequence[Bench],
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """What each camera would see; the worlds are left exactly as they were."""
        return np.stack([self._frame(bench) for bench in benches])

    def _frame(self, bench: Bench) -> Image:
        if not isinstance(bench, SimBench):
            raise ConfigError("'expert' subgoals exist only in the simulated world")
        now = bench.world.snapshot()
        # The start's own seed, so that one trial's experts agree on where things should go.
        expert = Expert(bench.world, bench.goal, np.random.default_rng(bench.seed), noise=0.0)
        for _ in range(self.steps_ahead):
            if expert.done:
                break
            bench.world.step(expert.act())
        frame = bench.world.render()
        bench.world.restore(now)
        return frame
