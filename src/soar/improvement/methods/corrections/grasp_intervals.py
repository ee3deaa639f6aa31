"""Intervals of an episode in which the gripper was closed, from commands and measured openings alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from soar.improvement.methods.corrections.config import CorrectionsConfig


class GraspInterval(NamedTuple):
    """Frames start : end of an episode in which the gripper was commanded to be closed."""

    start: int
    end: int
    """Number of frames of the episode if the gripper was still closed at its end."""
    held: bool
    """Whether the fingers stayed apart, so that an object was between them."""


def grasp_intervals(
    states: Float[np.ndarray, "t 7"],
    commands: Float[np.ndarray, " t"],
    config: CorrectionsConfig,
) -> list[GraspInterval]:
    """Return the grasps of an episode. `commands`: gripper command of each frame, below 0.5 to close."""
    closed = np.concatenate([[False], np.asarray(commands) < 0.5, [False]])
    edges = np.flatnonzero(closed[1:] != closed[:-1])
    found = []
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start >= config.min_grasp_steps:
            opening = np.median(states[start + config.closing_steps : end, 6])
            found.append(GraspInterval(start, end, bool(opening > config.empty_opening)))
    return found
