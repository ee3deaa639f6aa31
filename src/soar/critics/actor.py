"""The policy that CQL trains along with its critic: a tanh-squashed Gaussian over actions in [-1, 1]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soar.critics.actions import MARGIN
from soar.nn import draws

LOG_STD = (-5.0, 2.0)
"""Range of the log standard deviation before squashing (PTR)."""
_HEAD_SCALE = 1e-2
"""Range of the heads' initial weights (PTR)."""


class Sampled(NamedTuple):
    """k actions for each of n states, with their log-densities."""

    actions: Float[Tensor, "n k a"]
    log_prob: Float[Tensor, "n k"]


class GaussianActor(nn.Module):
    """Mean and standard deviation of a Gaussian, whose samples are squashed by tanh."""

    def __init__(
        self, feature_dim: int, action_dim: int, hidden: Sequence[int], activation: str = "relu"
    ) -> None:
        super().__init__()
        widths = [feature_dim, *hidden]
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise(widths):
            layers += [nn.Linear(i, o), nn.SiLU() if activation == "silu" else nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.mean = nn.Linear(widths[-1], action_dim)
        self.log_std = nn.Linear(widths[-1], action_dim)
        for head in (self.mean, self.log_std):
            nn.init.uniform_(head.weight, -_HEAD_SCALE, _HEAD_SCALE)
            nn.init.zeros_(head.bias)

    def sample(
        self, features: Float[Tensor, "n d"], count: int, generator: torch.Generator | None = None
    ) -> Sampled:
        """Sample `count` actions for each state, differentiable in the parameters."""
        mean, log_std = self._distribution(features)
        shape = (len(features), count, mean.shape[1])
        noise = (
            torch.randn(shape, device=mean.device)
            if generator is None
            else draws.randn(shape, generator)
        )
        before = mean[:, None] + log_std.exp()[:, None] * noise
        return Sampled(before.tanh(), _log_density(before, mean[:, None], log_std[:, None]))

    def log_prob(
        self, features: Float[Tensor, "n d"], actions: Float[Tensor, "n k a"]
    ) -> Float[Tensor, "n k"]:
        """Return the log-densities of actions, clipped to within `MARGIN` of the box's faces."""
        mean, log_std = self._distribution(features)
        before = actions.clamp(MARGIN - 1, 1 - MARGIN).atanh()
        return _log_density(before, mean[:, None], log_std[:, None])

    def mode(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n a"]:
        """Return the squashed means."""
        return self._distribution(features)[0].tanh()

    def _distribution(
        self, features: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n a"], Float[Tensor, "n a"]]:
        x = self.body(features)
        return self.mean(x).float(), self.log_std(x).float().clamp(*LOG_STD)


def _log_density(
    before: Float[Tensor, "n k a"], mean: Float[Tensor, "n 1 a"], log_std: Float[Tensor, "n 1 a"]
) -> Float[Tensor, "n k"]:
    """Return the log-density of tanh(before): the Gaussian's, less log |d tanh|."""
    gaussian = -0.5 * ((before - mean) / log_std.exp()).square() - log_std
    gaussian = gaussian - 0.5 * math.log(2 * math.pi)
    slope = 2 * (math.log(2) - before - nn.functional.softplus(-2 * before))
    return (gaussian - slope).sum(2)
