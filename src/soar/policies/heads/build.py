"""Heads by their configuration."""

from __future__ import annotations

from soar.policies.heads.denoising import DiffusionHead, FlowHead
from soar.policies.heads.gaussian import GaussianHead, MixtureHead
from soar.policies.heads.head import HeadConfig


def build_head(
    config: HeadConfig, dim: int, hidden: tuple[int, ...], std: float
) -> GaussianHead | MixtureHead | FlowHead | DiffusionHead:
    """Build a head with random weights.

    Args:
        config: the head.
        dim: number of features.
        hidden: widths of the layers between the features and the distribution.
        std: fixed standard deviation of a Gaussian.
    """
    if config.kind == "gaussian":
        return GaussianHead(dim, hidden, config.chunk, std)
    if config.kind == "mixture":
        return MixtureHead(dim, hidden, config)
    if config.kind == "flow":
        return FlowHead(dim, hidden, config)
    return DiffusionHead(dim, hidden, config)
