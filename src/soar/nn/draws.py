"""Random numbers of a loss that don't depend on how a batch is split over processes and accumulation parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor


class PartGenerator(torch.Generator):
    """Random generator of one part of a batch.

    The functions below draw from it for the whole batch, and return the part's rows. From another one they draw for
    the rows alone.
    """

    part: int = 0
    """Number of this part."""
    parts: int = 1
    """Equal parts of the batch."""


def rand(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw from [0, 1)."""
    return _rows(torch.rand, shape, generator)


def randn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw from a standard normal distribution."""
    return _rows(torch.randn, shape, generator)


def randint(high: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw whole numbers from 0 to below `high`."""
    return _rows(partial(torch.randint, high), shape, generator)


def stratified(n: int, generator: torch.Generator) -> Tensor:
    """Draw from [0, 1), (n,): of the whole batch one number in each of equal intervals, in random order."""
    total = n * _split(generator)[1]
    at, order = rand((n,), generator), _rows(_order, (n,), generator)
    return (order + at) / total


def _order(shape: Sequence[int], **kwargs: Any) -> Tensor:
    return torch.randperm(shape[0], **kwargs)


def _rows(draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator) -> Tensor:
    n, (part, parts) = shape[0], _split(generator)
    drawn = draw((n * parts, *shape[1:]), generator=generator, device=generator.device)
    return drawn[part * n : (part + 1) * n]


def _split(generator: torch.Generator) -> tuple[int, int]:
    return (generator.part, generator.parts) if isinstance(generator, PartGenerator) else (0, 1)
