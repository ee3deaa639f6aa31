"""Subgoals of a scripted expert: an upper bound on what the policy can reach, and on what a generator can render.

With the expert's camera frames only the policy can fail. With the expert's keypoints, rendered by a compact generator,
so can the rendering. The gap from there to the whole system is what the generator predicts wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from soar.errors import ConfigError
from soar.evaluation.envs import EvalEnv, SimEvalEnv
from soar.registry import COMPACT_STEPS_AHEAD
from soar.sim.expert.expert import read_ahead
from soar.types import Images, Observation, Task

if TYPE_CHECKING:
    from soar.subgoals.compact.generator import CompactSubgoalGenerator

T = TypeVar("T")


@dataclass(frozen=True)
class ExpertFrames:
    """Selects an expert's subgoals in an `EvalSpec`."""

    steps_ahead: int = COMPACT_STEPS_AHEAD
    """Control steps from the current state to the subgoal."""
    renderer: str = ""
    """Name of the compact generator that renders the expert's keypoints; empty for the camera's frames."""


def renderer_of(source: object) -> CompactSubgoalGenerator | None:
    """Return the generator that renders an expert's keypoints; None for any other source of subgoals.

    Raises:
        ConfigError: there is no such compact generator, or it has no keypoints.
    """
    if not isinstance(source, ExpertFrames) or not source.renderer:
        return None
    from soar.subgoals.compact.generator import load_compact

    renderer = load_compact(source.renderer)
    if renderer.net.keypoint_predictor is None:
        raise ConfigError(f"'expert:{source.renderer}' needs a generator with keypoints")
    return renderer


class ExpertSubgoals:
    """A subgoal generator with access to the simulated worlds: what an expert that acts in them would bring about.

    The expert starts from the robot's current state, so it also shows how to recover from a failed grasp.
    """

    name = "expert"

    def __init__(
        self,
        envs: Sequence[EvalEnv],
        steps_ahead: int = COMPACT_STEPS_AHEAD,
        renderer: CompactSubgoalGenerator | None = None,
    ) -> None:
        """Take the worlds.

        Args:
            envs: simulated environments, in the order of the observations that `generate` gets.
            steps_ahead: control steps from the current state to the subgoal.
            renderer: renders the expert's keypoints; None for the camera's frames.
        """
        self.steps_ahead, self.renderer = steps_ahead, renderer
        self._envs = [_simulated(e) for e in envs]

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return one image for each environment, `steps_ahead` control steps later. The worlds are not changed."""
        if self.renderer is None:
            return np.stack(self._ahead(lambda env: env.world.render()))
        from soar.pretraining.clips import goal_keypoints
        from soar.subgoals.compact.keypoint_predictor import PREDICTED_POINTS

        instructions = [t.instruction for t in tasks]
        later = np.stack(self._ahead(lambda env: goal_keypoints(env.world, env.goal)))
        now = self.renderer.read_keypoints(observations, instructions)
        # What is out of sight later stays where it is read now.
        keypoints = np.where(np.isnan(later[:, PREDICTED_POINTS]), now, later[:, PREDICTED_POINTS])
        return self.renderer.render(observations, instructions, keypoints, rng)

    def _ahead(self, read: Callable[[SimEvalEnv], T]) -> list[T]:
        """Return what `read` finds in each environment after the expert has acted for `steps_ahead` steps."""
        # The start's own seed, so that the experts of one trial agree on where objects should go.
        return [
            read_ahead(e.world, e.goal, self.steps_ahead, e.seed, partial(read, e))
            for e in self._envs
        ]


def _simulated(env: EvalEnv) -> SimEvalEnv:
    if not isinstance(env, SimEvalEnv):
        raise ConfigError("'expert' subgoals exist only in the simulated world")
    return env
