"""Heads that turn noise into actions in several steps: flow matching and diffusion."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.contract.contract import WIDOWX, ActionNumbers
from soar.nn import draws
from soar.nn.layers import mlp
from soar.policies.heads.head import HeadConfig, Scale, error_metrics, squared_errors, to_tensor

_COSINE_OFFSET = 0.008
"""Offset of the cosine schedule (Nichol & Dhariwal 2021)."""
_TIME_SCALE = 20.0
"""Range of a flow's time as the Fourier features see it: that of a diffusion model of 20 steps."""


class Denoiser(nn.Module):
    """Residual MLP from noisy chunk, time and features to a chunk, as in the released diffusion policies of Bridge."""

    def __init__(self, dim: int, size: int, config: HeadConfig) -> None:
        super().__init__()
        width = config.width
        self.of_features = nn.Linear(dim, width)
        self.of_chunk = nn.Linear(size, width, bias=False)
        self.frequencies = nn.Parameter(0.2 * torch.randn(config.time_dim // 2))
        time = mlp([2 * (config.time_dim // 2), 2 * config.time_dim, config.time_dim])
        self.of_time = nn.Sequential(
            time if config.time_activation else time[:-1],
            nn.Linear(config.time_dim, width, bias=False),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(config.dropout),
                nn.LayerNorm(width),
                nn.Linear(width, config.expansion * width),
                nn.SiLU(),
                nn.Linear(config.expansion * width, width),
            )
            for _ in range(config.blocks)
        )
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(width, size))

    def times(self, times: Float[Tensor, "*n"]) -> Float[Tensor, "*n w"]:
        """Embed times."""
        angles = 2 * math.pi * times[..., None] * self.frequencies
        embedded: Tensor = self.of_time(torch.cat([angles.cos(), angles.sin()], -1))
        return embedded

    def forward(
        self,
        noisy: Float[Tensor, "n k a"],
        times: Float[Tensor, "*n w"],
        features: Float[Tensor, "n w"],
    ) -> Float[Tensor, "n k a"]:
        """Return one chunk for each noisy one.

        Args:
            noisy: k noisy chunks of each state.
            times: their embedded times, or one for all.
            features: `of_features` of each state.
        """
        x = self.of_chunk(noisy) + features[:, None] + times
        for block in self.blocks:
            x = x + block(x)
        chunk: Tensor = self.out(x)
        return chunk.float()


class _DenoisingHead(nn.Module):
    """The parts that flow and diffusion share."""

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        config: HeadConfig,
        action: ActionNumbers = WIDOWX.action,
    ) -> None:
        super().__init__()
        self.action = action
        self.config, self.size = config, config.chunk * action.dim
        self.body = mlp([dim, *hidden])
        self.denoiser = Denoiser([dim, *hidden][-1], self.size, config)

    def condition(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Return what the denoiser reads of the features."""
        condition: Tensor = self.denoiser.of_features(self.body(features))
        return condition

    def answer_errors(
        self,
        answer: Float[Tensor, "n 1 k"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
    ) -> dict[str, Tensor]:
        """Return the errors of the head's own answer."""
        return error_metrics(
            squared_errors(answer.view(actions.shape), actions, inside), self.action
        )

    def _scaled_noise(
        self, scale: Scale, rng: np.random.Generator, like: Tensor
    ) -> Float[Tensor, "n k a"]:
        shape = (*scale.shape, self.size)
        if not scale.any():
            return torch.zeros(shape, device=like.device)
        return to_tensor(scale[:, :, None] * rng.standard_normal(shape), like)


class FlowHead(_DenoisingHead):
    """Flow matching: a velocity field that carries noise at time 0 to a chunk at time 1 along straight lines."""

    def loss(
        self,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean over times of |v - (a - z)|^2 / 2, and in validation the errors of the own answer."""
        shared = self.condition(features)
        target = actions.flatten(1)[:, None].float()
        shape = (len(actions), self.config.draws)
        time = draws.rand(shape, generator)
        noise = draws.randn((*shape, self.size), generator)
        noisy = noise.lerp(target, time[..., None])
        found = self.denoiser(noisy, self.denoiser.times(_TIME_SCALE * time), shared)
        error = _masked(found - (target - noise), inside).square()
        metrics = {"flow_error": error.mean()}
        if not self.training:
            answer = self._integrate(shared, torch.zeros_like(target))
            metrics |= self.answer_errors(answer, actions, inside)
        return error.sum(2).mean() / 2, metrics

    def sample(
        self, features: Float[Tensor, "n d"], scale: Scale, rng: np.random.Generator
    ) -> Float[Tensor, "n k h a"]:
        """Integrate the velocity from scaled noise by Euler's method."""
        shared = self.condition(features)
        start = self._scaled_noise(scale, rng, shared)
        return self._integrate(shared, start).view(*scale.shape, -1, self.action.dim)

    def _integrate(
        self, shared: Float[Tensor, "n w"], chunks: Float[Tensor, "n k a"]
    ) -> Float[Tensor, "n k a"]:
        steps = self.config.steps
        times = torch.arange(steps, device=shared.device) / steps
        for embedded in self.denoiser.times(_TIME_SCALE * times):
            chunks = chunks + self.denoiser(chunks, embedded, shared) / steps
        return chunks


class DiffusionHead(_DenoisingHead):
    """A denoising diffusion model with a cosine schedule, which predicts the noise (SuSIE's low-level policy)."""

    betas: Float[Tensor, " t"]

    def __init__(
        self,
        dim: int,
        hidden: tuple[int, ...],
        config: HeadConfig,
        action: ActionNumbers = WIDOWX.action,
    ) -> None:
        super().__init__(dim, hidden, config, action)
        self.register_buffer("betas", cosine_betas(config.steps), persistent=False)

    def loss(
        self,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the squared error of the predicted noise, and in validation the errors of the own answer."""
        shared = self.condition(features)
        target = actions.flatten(1)[:, None].float()
        shape = (len(actions), self.config.draws)
        time = draws.randint(self.config.steps, shape, generator)
        noise = draws.randn((*shape, self.size), generator)
        kept = (1 - self.betas).cumprod(0)[time][..., None]
        noisy = kept.sqrt() * target + (1 - kept).sqrt() * noise
        found = self.denoiser(noisy, self.denoiser.times(time.float()), shared)
        error = _masked(found - noise, inside).square()
        metrics = {"diffusion_error": error.mean()}
        if not self.training:
            answer = self._denoise(shared, torch.zeros_like(target), None, None)
            metrics |= self.answer_errors(answer, actions, inside)
        return error.sum(2).mean(), metrics

    def sample(
        self, features: Float[Tensor, "n d"], scale: Scale, rng: np.random.Generator
    ) -> Float[Tensor, "n k h a"]:
        """Denoise scaled noise, with scaled noise added in every step but the last (Ho et al. 2020)."""
        shared = self.condition(features)
        start = self._scaled_noise(scale, rng, shared)
        return self._denoise(shared, start, scale, rng).view(*scale.shape, -1, self.action.dim)

    def _denoise(
        self,
        shared: Float[Tensor, "n w"],
        chunks: Float[Tensor, "n k a"],
        scale: Scale | None,
        rng: np.random.Generator | None,
    ) -> Float[Tensor, "n k a"]:
        kept = (1 - self.betas).cumprod(0)
        embedded = self.denoiser.times(
            torch.arange(self.config.steps, device=shared.device).float()
        )
        for t in reversed(range(self.config.steps)):
            found = self.denoiser(chunks, embedded[t], shared)
            chunks = chunks - self.betas[t] / (1 - kept[t]).sqrt() * found
            chunks = chunks / (1 - self.betas[t]).sqrt()
            if t and scale is not None and rng is not None:
                noise = self._scaled_noise(scale, rng, shared)
                chunks = chunks + self.betas[t].sqrt() * noise
            chunks = chunks.clamp(-self.config.clip, self.config.clip)
        return chunks


def cosine_betas(steps: int) -> Float[Tensor, " t"]:
    """Return the noise added in each step so that cos^2 of the time is kept (Nichol & Dhariwal 2021)."""
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    kept = ((time + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2).cos().square()
    return (1 - kept[1:] / kept[:-1]).clamp(0, 0.999).float()


def _masked(
    error: Float[Tensor, "n k a"], inside: Bool[Tensor, "n h"] | None
) -> Float[Tensor, "n k a"]:
    """Set errors beyond an episode's end to 0."""
    return (
        error
        if inside is None
        else error * inside.repeat_interleave(error.shape[2] // inside.shape[1], 1)[:, None]
    )
