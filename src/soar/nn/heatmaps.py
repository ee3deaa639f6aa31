"""Heatmaps over square cells: attention maps, their expected positions, and their supervision.

A map is the log-probability of side x side cells, row by row; positions are x right and y down in [-1, 1].
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed


def grid_cells(side: int) -> Float[Tensor, "p 2"]:
    """Return x and y of the centers of side x side cells, row by row, in [-1, 1]."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    return torch.stack([line.repeat(side), line.repeat_interleave(side)], -1)


def local_softargmax(
    cell: Int64[Tensor, "*n"], log_p: Float[Tensor, "*n p"]
) -> Float[Tensor, "*n 2"]:
    """Return the expected position within a cell and its neighbors, in [-1, 1].

    Args:
        cell: index of a cell, such as the most probable one.
        log_p: log-probability of p square cells.
    """
    side = math.isqrt(log_p.shape[-1])
    centers = grid_cells(side).to(log_p)
    near = (centers[cell][..., None, :] - centers).abs().amax(-1) < 3 / side
    weights = log_p.exp() * near
    return weights @ centers / weights.sum(-1, keepdim=True)


def gaussian_heatmaps(
    points: Float[Tensor, "*n 2"], side: int, width: float = 1.0
) -> Float[Tensor, "*n p"]:
    """Return the logarithm of Gaussians over side x side cells, 1 at their peak; a NaN point counts as (0, 0).

    Args:
        points: x and y in [-1, 1].
        side: cells in a row and in a column.
        width: standard deviation [cells].
    """
    squared = (points.nan_to_num()[..., None, :] - grid_cells(side).to(points)).square().sum(-1)
    return -squared / (2 * (2 * width / side) ** 2)


def attention_loss(
    attention: Float[Tensor, "*n p"], points: Float[Tensor, "*n 2"], width: float = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy of attention maps against Gaussians around points, averaged over the points that are known.

    Of several processes that train together, the mean is theirs of all points.

    Args:
        attention: log-probability of p square cells.
        points: x and y in [-1, 1], or NaN where unknown.
        width: standard deviation of the Gaussians [cells].
    """
    known = ~points.isnan().any(-1)
    target = gaussian_heatmaps(points, math.isqrt(attention.shape[-1]), width).softmax(-1)
    count = _mean_over_processes(known.sum()).clamp(min=1e-6)
    return -((target * attention).sum(-1) * known).sum() / count


def _mean_over_processes(count: Int64[Tensor, ""]) -> Tensor:
    if not (distributed.is_available() and distributed.is_initialized()):
        return count
    total = count.float()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
