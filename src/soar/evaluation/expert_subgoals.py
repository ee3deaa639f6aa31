"""The policy's own ceiling: subgoals that are frames of a scripted expert, not of an imagination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soar.errors import ConfigError
from soar.evaluation.envs import EvalEnv, SimEvalEnv
from soar.registry import COMPACT_STEPS_AHEAD
from soar.sim.expert.expert import frame_ahead
from soar.types import Images, Observation


@dataclass(frozen=True)
class ExpertFrames:
    """The wish for an expert's frames as subgoals."""

    steps_ahead: int = COMPACT_STEPS_AHEAD
    """Control steps from the state the policy is in to the frame."""


class ExpertSubgoals:
    """A subgoal generator that knows the envs' worlds: what their cameras would see, were an expert acting.

    The expert starts from the very state the policy is in, so it also shows the way out of a failed grasp.
    """

    name = "expert"

    def __init__(self, envs: Sequence[EvalEnv], steps_ahead: int = COMPACT_STEPS_AHEAD) -> None:
        """`envs`: simulated ones, in the order in which `generate` gets their observations."""
        self.steps_ahead = steps_ahead
        self._envs = [_simulated(b) for b in envs]

    def generate(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """One frame for each env, `steps_ahead` control steps on. The worlds are left exactly as they were."""
        # The start's own seed, so that one trial's experts agree on where things should go.
        return np.stack(
            [frame_ahead(b.world, b.goal, self.steps_ahead, b.seed) for b in self._envs]
        )


def _simulated(env: EvalEnv) -> SimEvalEnv:
    if not isinstance(env, SimEvalEnv):
        raise ConfigError("'expert' subgoals exist only in the simulated world")
    return env
