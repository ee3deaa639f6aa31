"""Heads by their configuration."""

from __future__ import annotations

from soar.contract.contract import WIDOWX, ActionNumbers
from soar.policies.heads.denoising import DiffusionHead, FlowHead
from soar.policies.heads.gaussian import GaussianHead, MixtureHead
from soar.policies.heads.head import HeadConfig


def build_head(
    config: HeadConfig,
    dim: int,
    hidden: tuple[int, ...],
    std: float,
    action: ActionNumbers = WIDOWX.action,
) -> GaussianHead | MixtureHead | FlowHead | DiffusionHead:
    """Build a head with random weights.

    Args:
        config: the head.
        dim: number of features.
        hidden: widths of the layers between the features and the distribution.
        std: fixed standard deviation of a Gaussian.
        action: meaning of an action.
    """
    if config.kind == "gaussian":
        return GaussianHead(dim, hidden, config.chunk, std, action)
    if config.kind == "mixture":
        return MixtureHead(dim, hidden, config, action)
    if config.kind == "flow":
        return FlowHead(dim, hidden, config, action)
    return DiffusionHead(dim, hidden, config, action)
