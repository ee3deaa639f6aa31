"""Units of a critic's actions: physical actions, linearly scaled to the box [-1, 1]^7."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from soar.errors import ConfigError
from soar.types import ACTION_DIM

MARGIN = 1e-5
"""Distance of clipped actions from the box's faces, where a tanh policy's density is not finite (V-GPS)."""


@dataclass(frozen=True)
class ActionBounds:
    """Physical actions at the faces of the box [-1, 1]^7. The defaults are the safety limits of a station."""

    low: tuple[float, ...] = (-0.05, -0.05, -0.05, -0.35, -0.35, -0.35, 0.0)
    """Motion [m, rad] and gripper command at -1."""
    high: tuple[float, ...] = (0.05, 0.05, 0.05, 0.35, 0.35, 0.35, 1.0)
    """Motion [m, rad] and gripper command at 1."""

    def __post_init__(self) -> None:
        pairs = list(zip(self.low, self.high, strict=False))
        if {len(self.low), len(self.high)} != {ACTION_DIM} or any(a >= b for a, b in pairs):
            raise ConfigError(
                f"action bounds are {self.low} .. {self.high}; valid: {ACTION_DIM} numbers each, low below high"
            )

    def to_box(self, actions: Float[Tensor, "*n 7"]) -> Float[Tensor, "*n 7"]:
        """Scale physical actions to the box, clipped to `1 - MARGIN`."""
        low, high = actions.new_tensor([self.low, self.high])
        scaled = 2 * (actions - low) / (high - low) - 1
        clipped: Tensor = scaled.clamp(MARGIN - 1, 1 - MARGIN)
        return clipped

    def to_physical(self, actions: Float[Tensor, "*n 7"]) -> Float[Tensor, "*n 7"]:
        """Scale actions of the box to meters, radians and gripper command."""
        low, high = actions.new_tensor(self.low), actions.new_tensor(self.high)
        return low + (actions + 1) / 2 * (high - low)

    def clipped_share(self, actions: Float[Tensor, "*n 7"]) -> Float[Tensor, ""]:
        """Share of the numbers in physical actions that lie outside the bounds."""
        low, high = actions.new_tensor(self.low), actions.new_tensor(self.high)
        return torch.logical_or(actions < low, actions > high).float().mean()


BRIDGE_BOUNDS = ActionBounds(
    (-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, 0.0), (0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 1.0)
)
"""Bounds of BridgeData V2 in PTR's and V-GPS's code."""
