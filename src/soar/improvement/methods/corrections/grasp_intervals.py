"""When an arm's fingers were told to close, whether something was between them, and when they let go: felt, not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

EMPTY = 0.06
"""Opening of the gripper, of its whole, at which nothing is between the fingers."""
_CLOSING, _SHORTEST = 3, 4
"""Control steps that closing takes, and fewest that count as a grip."""


class GraspInterval(NamedTuple):
    """Frames start : end of an episode, in which the gripper was told to be closed."""

    start: int
    end: int
    """The number of frames where it was still closed at the end."""
    held: bool
    """The fingers stayed apart: something was between them."""


def grasp_intervals(
    states: Float[np.ndarray, "t 7"], orders: Float[np.ndarray, " t"]
) -> list[GraspInterval]:
    """The grips of an episode. `orders`: what the gripper was told at each frame, below 0.5 to close."""
    closed = np.concatenate([[False], np.asarray(orders) < 0.5, [False]])
    edges = np.flatnonzero(closed[1:] != closed[:-1])
    found = []
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start >= _SHORTEST:
            opening = np.median(states[start + _CLOSING : end, 6])
            found.append(GraspInterval(start, end, bool(opening > EMPTY)))
    return found
