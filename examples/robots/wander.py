"""A policy that wanders around, for arms of any contract: to try a new robot before there is a policy for it.

soar collect --store s --station metaworld.yaml --episodes 20 --subgoals none --policy python:wander:make
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar.types import Actions, Observation


class Wanderer:
    """Small changes of position that turn slowly, with an open gripper, for an arm that is driven by deltas."""

    name = "wander"

    def __init__(self) -> None:
        self._push = np.zeros(6)

    def act(
        self,
        observations: Sequence[Observation],
        goals: object,
        rng: np.random.Generator,
        *,
        noise: object = 0.0,
    ) -> Actions:
        """Return one action for each observation."""
        self._push = 0.8 * self._push + 0.2 * rng.normal(0, (0.06, 0.06, 0.06, 0, 0, 0))
        return np.tile(np.append(self._push, 1.0).astype(np.float32), (len(observations), 1))

    def reset(self) -> None:
        """Begin a new way."""
        self._push = np.zeros(6)


class JointWanderer(Wanderer):
    """Positions near those of the joints, in degrees, for an arm that is driven by absolute joints."""

    def act(
        self,
        observations: Sequence[Observation],
        goals: object,
        rng: np.random.Generator,
        *,
        noise: object = 0.0,
    ) -> Actions:
        """Return one action for each observation."""
        states = np.stack([o.state for o in observations]).astype(np.float64)
        states[:, :-1] += rng.normal(0, 3.0, states[:, :-1].shape) - 0.05 * states[:, :-1]
        return states.astype(np.float32)


def make() -> Wanderer:
    """What `python:wander:make` names."""
    return Wanderer()


def make_joints() -> JointWanderer:
    """What `python:wander:make_joints` names."""
    return JointWanderer()
