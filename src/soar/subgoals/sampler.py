"""Guided diffusion sampling: the one sampler behind every subgoal generator.

It knows a denoiser as a function, what it may see in three forms (nothing, the image, the image and the
instruction), and a scheduler of diffusers. It doesn't know pixels from latents, or words from vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float32
from torch import Tensor

from soar.errors import ConfigError

SchedulerName: TypeAlias = Literal["ddim", "dpmsolver++", "unipc"]
Condition: TypeAlias = tuple[Tensor, ...]
"""What a denoiser sees besides the noisy image; the first axis of every tensor is the batch."""


class Conditions(NamedTuple):
    """The three forms of one condition, between which guidance extrapolates."""

    none: Condition
    image: Condition
    image_and_text: Condition
    """One whose weight is zero is never looked at and may be empty."""


Denoiser: TypeAlias = Callable[[Tensor, Tensor, Condition], Tensor]
"""A diffusion model: noisy images (b, c, h, w), a time step and a condition to an output of the same shape.

The output is noise, velocity or clean image, whichever the scheduler's `prediction_type` names.
"""


@dataclass(frozen=True)
class SamplerConfig:
    """How noise becomes an image."""

    scheduler: SchedulerName = "ddim"
    steps: int = 50
    image_guidance: float = 2.0
    """How strongly the image must stem from the observation; 1 is no guidance (paper, B.4: 2.0)."""
    text_guidance: float = 7.5
    """How strongly the image must follow the instruction; 1 is no guidance (paper, B.4: 7.5)."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a sampler needs at least one step, not {self.steps}")


SCHEDULERS: Mapping[SchedulerName, str] = {
    "ddim": "DDIMScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Names for people to diffusers' classes. All are deterministic: noise enters only at the start."""

REFERENCE = SamplerConfig("ddim", steps=50)
"""What SuSIE's authors run, here with the three branches in one forward (paper, B.4)."""


def make_scheduler(name: SchedulerName, noise_schedule: Mapping[str, Any]) -> Any:
    """A diffusers scheduler of this name for the noise schedule a model was trained with.

    `noise_schedule`: a diffusers scheduler's config; options the named scheduler doesn't have are ignored.
    """
    import diffusers

    return getattr(diffusers, SCHEDULERS[name]).from_config(dict(noise_schedule))


@torch.inference_mode()
def sample(
    denoise: Denoiser,
    noise: Float32[Tensor, "n c h w"],
    conditions: Conditions,
    scheduler: Any,
    config: SamplerConfig,
) -> Float32[Tensor, "n c h w"]:
    """Images imagined from noise (paper, section 3, component 2, and B.4).

        guided = d_none + c_img (d_image - d_none) + c_txt (d_image,text - d_image)

    is linear, so it is a weighted sum of three outputs; the branches whose weight isn't zero run as
    one batch. The sum's weights add up to one, so it may be taken over noise, velocity or clean image.
    """
    branches = [(w, c) for w, c in zip(branch_weights(config), conditions, strict=True) if w]
    weights = torch.tensor([w for w, _ in branches], device=noise.device)
    together = tuple(torch.cat(parts) for parts in zip(*(c for _, c in branches), strict=True))
    scheduler.set_timesteps(config.steps, device=noise.device)
    pixels = scheduler.config.prediction_type == "sample"
    x: Tensor = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        noisy = scheduler.scale_model_input(x, timestep).repeat(len(weights), 1, 1, 1)
        outputs = denoise(noisy, timestep, together).float()
        guided = torch.tensordot(weights, outputs.reshape(len(weights), *x.shape), 1)
        if pixels:  # strong guidance must not leave the range of images
            guided = guided.clamp(-1, 1)
        x = scheduler.step(guided, timestep, x, return_dict=False)[0]
    return x


def branch_weights(config: SamplerConfig) -> tuple[float, float, float]:
    """How much each of none, image, image and text counts; they add up to one. A weight of zero costs nothing."""
    image, text = config.image_guidance, config.text_guidance
    return 1 - image, image - text, text
