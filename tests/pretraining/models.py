"""Stand-ins for a policy and a subgoal generator."""

from __future__ import annotations

import numpy as np


class Down:
    """A policy that moves its open gripper down."""

    name = checkpoint_id = "down"

    def __init__(self) -> None:
        self.states: list[np.ndarray] = []

    def act(self, observations, goals, rng, *, noise=0.0):
        self.states += [o.state for o in observations]
        return np.array([[0, 0, -0.01, 0, 0, 0, 1]] * len(observations), np.float32)

    def reset(self) -> None:
        pass


class Copies:
    """A generator that returns the present image."""

    name = "copies"

    def generate(self, observations, tasks, rng):
        return np.stack([o.image for o in observations])
