"""Subgoals that are frames of a scripted expert: an upper bound on what the policy can reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soar.errors import ConfigError
from soar.evaluation.envs import EvalEnv, SimEvalEnv
from soar.registry import COMPACT_STEPS_AHEAD
from soar.sim.expert.expert import frame_ahead
from soar.types import Images, Observation, Task


@dataclass(frozen=True)
class ExpertFrames:
    """Selects an expert's frames as subgoals, in an `EvalSpec`."""

    steps_ahead: int = COMPACT_STEPS_AHEAD
    """Control steps from the current state to the frame."""


class ExpertSubgoals:
    """A subgoal generator with access to the simulated worlds: camera frames of an expert that acts in them.

    The expert starts from the robot's current state, so it also shows how to recover from a failed grasp.
    """

    name = "expert"

    def __init__(self, envs: Sequence[EvalEnv], steps_ahead: int = COMPACT_STEPS_AHEAD) -> None:
        """`envs`: simulated environments, in the order of the observations that `generate` gets."""
        self.steps_ahead = steps_ahead
        self._envs = [_simulated(e) for e in envs]

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return one frame for each environment, `steps_ahead` control steps later. The worlds are not changed."""
        # The start's own seed, so that the experts of one trial agree on where objects should go.
        return np.stack(
            [frame_ahead(e.world, e.goal, self.steps_ahead, e.seed) for e in self._envs]
        )


def _simulated(env: EvalEnv) -> SimEvalEnv:
    if not isinstance(env, SimEvalEnv):
        raise ConfigError("'expert' subgoals exist only in the simulated world")
    return env
