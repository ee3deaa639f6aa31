"""Units of a critic's actions: physical actions, linearly scaled to the box [-1, 1]^a."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from soar.contract.contract import Numbers
from soar.errors import ConfigError

MARGIN = 1e-5
"""Distance of clipped actions from the box's faces, where a tanh policy's density is not finite (V-GPS)."""


@dataclass(frozen=True)
class ActionBounds:
    """Physical actions at the faces of the box [-1, 1]^a. The defaults are the safety limits of the WidowX."""

    low: tuple[float, ...] = (-0.05, -0.05, -0.05, -0.35, -0.35, -0.35, 0.0)
    """Action at -1, in the units of the contract; the WidowX's: motion [m, rad] and gripper command."""
    high: tuple[float, ...] = (0.05, 0.05, 0.05, 0.35, 0.35, 0.35, 1.0)
    """Action at 1."""

    def __post_init__(self) -> None:
        pairs = zip(self.low, self.high, strict=False)
        if len(self.low) != len(self.high) or any(a >= b for a, b in pairs):
            raise ConfigError(
                f"action bounds are {self.low} .. {self.high}; valid: as many numbers each, low below high"
            )

    def to_box(self, actions: Float[Tensor, "*n a"]) -> Float[Tensor, "*n a"]:
        """Scale physical actions to the box, clipped to `1 - MARGIN`."""
        low, high = actions.new_tensor([self.low, self.high])
        scaled = 2 * (actions - low) / (high - low) - 1
        clipped: Tensor = scaled.clamp(MARGIN - 1, 1 - MARGIN)
        return clipped

    def to_physical(self, actions: Float[Tensor, "*n a"]) -> Float[Tensor, "*n a"]:
        """Scale actions of the box to the units of the bounds."""
        low, high = actions.new_tensor(self.low), actions.new_tensor(self.high)
        return low + (actions + 1) / 2 * (high - low)

    def clipped_share(self, actions: Float[Tensor, "*n a"]) -> Float[Tensor, ""]:
        """Share of the numbers in physical actions that lie outside the bounds."""
        low, high = actions.new_tensor(self.low), actions.new_tensor(self.high)
        return torch.logical_or(actions < low, actions > high).float().mean()


BRIDGE_BOUNDS = ActionBounds(
    (-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, 0.0), (0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 1.0)
)
"""Bounds of BridgeData V2 in PTR's and V-GPS's code."""


def bounds_of(actions: Float32[np.ndarray, "n a"], numbers: Numbers) -> ActionBounds:
    """Return the smallest and the largest of some actions (V-GPS's "bounds"); a gripper gets its whole range."""
    low, high = actions.min(0).astype(float), actions.max(0).astype(float)
    still = high - low < MARGIN
    low, high = np.where(still, low - 1, low), np.where(still, high + 1, high)
    if numbers.gripper is not None:
        low[-1], high[-1] = sorted((numbers.gripper.closed, numbers.gripper.open))
    return ActionBounds(tuple(low.tolist()), tuple(high.tolist()))
