"""The sampler of SuSIE's authors as a scheduler of diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from jaxtyping import Float32
from torch import Tensor


class SusieScheduler(DDIMScheduler):  # type: ignore[misc]  # diffusers has no types
    """DDIM whose answer is the clean image as predicted at the last time but one.

    With n steps of a schedule of T times, the times are T - T/n, T - 2 T/n, ..., T/n: n - 1 calls of the network. Other
    samplers go on to time 0. The scaled-linear schedule is SuSIE's closed form.
    """

    timesteps: Tensor

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Choose the times. With one step the only time is 0."""
        super().set_timesteps(num_inference_steps, device=device)
        if self.config.beta_schedule == "scaled_linear":
            limits = self.config.beta_start, self.config.beta_end
            kept = scaled_linear(*limits, self.config.num_train_timesteps)
            self.alphas_cumprod = torch.from_numpy(kept)
        self.timesteps = self.timesteps[:-1] if num_inference_steps > 1 else self.timesteps

    def step(self, output: Tensor, timestep: Any, x: Tensor, **options: Any) -> tuple[Tensor, ...]:
        """Return the image of the next time; after the last one, the clean image."""
        result = super().step(output, timestep, x)
        last = int(timestep) == int(self.timesteps[-1])
        return (result.pred_original_sample if last else result.prev_sample,)


def scaled_linear(start: float, end: float, times: int) -> Float32[np.ndarray, " t"]:
    """Return the share of the clean image's variance at each time, in SuSIE's closed form and its precision.

    It differs from the product of 1 - beta, which it approximates, by up to 1 %; the released weights learned with it.
    """
    n = np.arange(times, dtype=np.float32)
    low, high = np.float32(start) ** np.float32(0.5), np.float32(end) ** np.float32(0.5)
    slope = (high - low) / np.float32(times)
    factors = _log_poch((1 - low) / slope - n, n + 1) + _log_poch((1 + low) / slope, n + 1)
    kept: Float32[np.ndarray, " t"] = np.exp(factors + 2 * (n + 1) * np.log(slope))
    return kept


def _log_poch(
    a: Float32[np.ndarray, "*t"] | np.float32, b: Float32[np.ndarray, " t"]
) -> Float32[np.ndarray, " t"]:
    """Return the logarithm of the rising factorial of a, b factors long, for a much larger than b."""
    third = (b**4 / 12 - b**3 / 6 + b**2 / 12) / a**3
    second = (-(b**3) / 6 + b**2 / 4 - b / 12) / a**2
    found: Float32[np.ndarray, " t"] = third + second + (b**2 / 2 - b / 2) / a - b * np.log(1 / a)
    return found
