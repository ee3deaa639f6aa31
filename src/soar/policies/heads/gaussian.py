"""Gaussian heads: the paper's, and a mixture."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from soar.contract.contract import WIDOWX, ActionNumbers
from soar.nn.layers import mlp
from soar.policies.heads.head import HeadConfig, Scale, error_metrics, squared_errors, to_tensor

_LOG_STD = (-2.5, 1.0)
"""Range of the log standard deviations of a mixture, in z-scored units."""


class GaussianHead(nn.Sequential):
    """The mean of a Gaussian with a fixed standard deviation (paper, B.2.1)."""

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        chunk: int,
        std: float,
        action: ActionNumbers = WIDOWX.action,
    ) -> None:
        super().__init__(mlp([dim, *hidden]), nn.Linear([dim, *hidden][-1], chunk * action.dim))
        self.std, self.action = std, action

    def loss(
        self,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative log-likelihood without its constant, and the errors."""
        error = squared_errors(self(features).float().view(actions.shape), actions, inside)
        return error.sum(1).mean() / (2 * self.std**2), error_metrics(error, self.action)

    def sample(
        self, features: Float[Tensor, "n d"], scale: Scale, rng: np.random.Generator
    ) -> Float[Tensor, "n k h a"]:
        """Return the mean plus noise."""
        means: Tensor = self(features).float()
        chunks: Tensor = means.view(len(means), 1, -1, self.action.dim).expand(
            -1, scale.shape[1], -1, -1
        )
        if not scale.any():
            return chunks
        offset = scale[:, :, None, None] * rng.standard_normal(tuple(chunks.shape))
        return chunks + self.std * torch.from_numpy(offset.astype(np.float32)).to(chunks.device)


class MixtureHead(nn.Module):
    """A mixture of Gaussians over whole chunks, with diagonal covariances."""

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        config: HeadConfig,
        action: ActionNumbers = WIDOWX.action,
    ) -> None:
        super().__init__()
        self.action = action
        self.components, self.size = config.components, config.chunk * action.dim
        self.body = mlp([dim, *hidden])
        self.out = nn.Linear([dim, *hidden][-1], self.components * (1 + 2 * self.size))

    def loss(
        self,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative log-likelihood without its constant, and the errors of the likeliest component."""
        log_weights, means, log_stds = self._distribution(features)
        z = (actions.flatten(1)[:, None] - means) * (-log_stds).exp()
        log_densities = -(z.square() / 2 + log_stds)
        if inside is not None:
            log_densities = log_densities * inside.repeat_interleave(self.action.dim, 1)[:, None]
        loss = -torch.logsumexp(log_weights + log_densities.sum(2), 1).mean()
        answer = _of_component(means, log_weights.argmax(1)[:, None]).view(actions.shape)
        return loss, error_metrics(squared_errors(answer, actions, inside), self.action)

    def sample(
        self, features: Float[Tensor, "n d"], scale: Scale, rng: np.random.Generator
    ) -> Float[Tensor, "n k h a"]:
        """Draw a component and a chunk for each sample; without noise, the likeliest component's mean."""
        log_weights, means, log_stds = self._distribution(features)
        n, k = scale.shape
        chosen = log_weights.argmax(1)[:, None].expand(n, k)
        if not scale.any():
            return _of_component(means, chosen).view(n, k, -1, self.action.dim)
        noisy = torch.from_numpy(scale > 0).to(means.device)
        gumbel = to_tensor(rng.gumbel(size=(n, k, self.components)), means)
        chosen = torch.where(noisy, (log_weights[:, None] + gumbel).argmax(2), chosen)
        normal = to_tensor(scale[:, :, None] * rng.standard_normal((n, k, self.size)), means)
        drawn = _of_component(means, chosen) + _of_component(log_stds, chosen).exp() * normal
        return drawn.view(n, k, -1, self.action.dim)

    def _distribution(
        self, features: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m a"], Float[Tensor, "n m a"]]:
        m, size = self.components, self.size
        out = self.out(self.body(features)).float()
        logits, means, log_stds = out.split([m, m * size, m * size], 1)
        return (
            logits.log_softmax(1),
            means.view(-1, m, size),
            log_stds.view(-1, m, size).clamp(*_LOG_STD),
        )


def _of_component(
    values: Float[Tensor, "n m a"], chosen: Int64[Tensor, "n k"]
) -> Float[Tensor, "n k a"]:
    return values.gather(1, chosen[:, :, None].expand(-1, -1, values.shape[2]))
