"""Geometry of scripted gripper motions: speed limits, and the approach to a pose from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float64

from soar.utils.config import check_ranges

Vector3 = Float64[np.ndarray, "3"]
"""A position in the robot's base frame [m]."""


@dataclass(frozen=True)
class MotionConfig:
    """Speed limits and noise of a scripted gripper."""

    step_m: Annotated[float, Gt(0)] = 0.028
    """Longest translation in one control step [m]."""
    turn_rad: Annotated[float, Gt(0)] = 0.22
    """Largest rotation in one control step [rad]."""
    gain_m: Annotated[float, Gt(0)] = 0.012
    """Largest increase of the translation from one control step to the next [m], for a gentle start."""
    noise_m: Annotated[float, Ge(0)] = 0.005
    """Standard deviation of the smooth noise on each translation [m], far from the goal."""
    noise_rad: Annotated[float, Ge(0)] = 0.03
    """Standard deviation of the smooth noise on each rotation [rad], far from the goal."""
    noise_correlation: Annotated[float, Ge(0), Lt(1)] = 0.7
    """Correlation of the noise between consecutive control steps, in [0, 1)."""

    def __post_init__(self) -> None:
        check_ranges(self)


def approach_waypoint(position: Vector3, goal: Vector3, turn_rad: float, clear_z: float) -> Vector3:
    """Return the next waypoint of an approach to a goal from above.

    The gripper moves above `clear_z` while it is far to the side of the goal, and descends when it is above it, as
    along the wall of a funnel.

    Args:
        position: current position [m].
        goal: goal position [m].
        turn_rad: remaining rotation about the vertical axis [rad]; delays the descent.
        clear_z: height that clears all objects [m].
    """
    offset = goal[:2] - position[:2]
    aside = float(np.linalg.norm(offset)) + 0.06 * max(0.0, turn_rad - 0.15)
    height = float(np.clip(goal[2] + 2.5 * (aside - 0.015), goal[2], max(clear_z, goal[2])))
    too_low = height - position[2] - 0.01
    if too_low > 0 and aside > 0.02:
        share = np.clip((0.03 - too_low) / aside, 0.0, 1.0)
        return np.array([*(position[:2] + offset * share), height])
    return np.array([*goal[:2], height])
