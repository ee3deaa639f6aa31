"""Normalized proprioception: the part of the arm's state that networks take as input besides the image."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

PROPRIOCEPTION = (2, 3, 4, 5, 6)
"""State dimensions used: height, roll, pitch, yaw, gripper opening. One camera shows these worst, and they mean
the same wherever it stands."""
_MEAN, _STD = (0.09, 0.0, 0.0, 0.0, 0.5), (0.04, 0.1, 0.1, 0.5, 0.4)
"""Typical center and spread in tabletop tasks [m, rad, rad, rad, opening]; trained weights depend on them."""


def proprioception(states: Float[Tensor, "n 7"]) -> Float[Tensor, "n 5"]:
    """Return the z-scored `PROPRIOCEPTION` dimensions of states; NaN where a state is unknown."""
    mean, std = (states.new_tensor(t) for t in (_MEAN, _STD))
    return (states[:, list(PROPRIOCEPTION)] - mean) / std
