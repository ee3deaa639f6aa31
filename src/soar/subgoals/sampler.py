"""Guided diffusion sampling, shared by every subgoal generator.

The sampler takes a denoiser as a function, its condition in three forms (nothing, the image, the image and the
instruction) and a diffusers scheduler. It does not distinguish pixels from latents or words from vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float32
from torch import Tensor

from soar.errors import ConfigError

SchedulerName: TypeAlias = Literal["ddim", "dpmsolver++", "unipc", "susie"]
Condition: TypeAlias = tuple[Tensor, ...]
"""A denoiser's inputs besides the noisy image; the first axis of every tensor is the batch."""


class Conditions(NamedTuple):
    """The three forms of one condition, between which guidance extrapolates.

    A form whose weight is zero is not used and may be empty.
    """

    none: Condition
    image: Condition
    image_and_text: Condition


Denoiser: TypeAlias = Callable[[Tensor, Tensor, Condition], Tensor]
"""A diffusion model: noisy images (b, c, h, w), a time step and a condition to an output of the same shape.

The output is noise, velocity or clean image, whichever the scheduler's `prediction_type` names.
"""


@dataclass(frozen=True)
class SamplerConfig:
    """Scheduler, number of steps and guidance of the sampler."""

    scheduler: SchedulerName = "ddim"
    steps: int = 50
    """Denoising steps per image."""
    image_guidance: float = 2.0
    """Weight of the observation; 1 is no guidance (paper, B.4: 2.0)."""
    text_guidance: float = 7.5
    """Weight of the instruction; 1 is no guidance (paper, B.4: 7.5)."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a sampler needs at least one step, not {self.steps}")
        if not math.isfinite(self.image_guidance + self.text_guidance):
            raise ConfigError("guidance must be a finite number")


SCHEDULERS: Mapping[SchedulerName, str] = {
    "ddim": "diffusers:DDIMScheduler",
    "dpmsolver++": "diffusers:DPMSolverMultistepScheduler",
    "unipc": "diffusers:UniPCMultistepScheduler",
    "susie": "soar.subgoals.susie_scheduler:SusieScheduler",
}
"""Class by scheduler name, as module:name. All are deterministic: noise enters only at the start."""

REFERENCE = SamplerConfig("ddim", steps=50)
"""Setting of SuSIE's authors, here with the three branches in one forward pass (paper, B.4)."""
SUSIE = SamplerConfig("susie", steps=50)
"""The same with the times of SuSIE's own code, for converted weights."""


def make_scheduler(name: SchedulerName, noise_schedule: Mapping[str, Any]) -> Any:
    """Make a diffusers scheduler for the noise schedule that a model was trained with.

    `noise_schedule`: config of a diffusers scheduler; options that the named scheduler lacks are ignored.
    """
    module, kind = SCHEDULERS[name].split(":")
    return getattr(import_module(module), kind).from_config(dict(noise_schedule))


@torch.inference_mode()
def sample(
    denoise: Denoiser,
    noise: Float32[Tensor, "n c h w"],
    conditions: Conditions,
    scheduler: Any,
    config: SamplerConfig,
) -> Float32[Tensor, "n c h w"]:
    """Sample images from noise (paper, section 3, component 2, and B.4).

        guided = d_none + c_img (d_image - d_none) + c_txt (d_image,text - d_image)

    is linear, so it is computed as a weighted sum of three outputs; the branches with nonzero weights run as
    one batch. The weights add up to one, so the sum may be taken over noise, velocity or clean image.
    """
    branches = [(w, c) for w, c in zip(branch_weights(config), conditions, strict=True) if w]
    weights = torch.tensor([w for w, _ in branches], device=noise.device)
    batched = tuple(torch.cat(parts) for parts in zip(*(c for _, c in branches), strict=True))
    scheduler.set_timesteps(config.steps, device=noise.device)
    predicts_pixels = scheduler.config.prediction_type == "sample"
    x: Tensor = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        noisy = scheduler.scale_model_input(x, timestep).repeat(len(weights), 1, 1, 1)
        outputs = denoise(noisy, timestep, batched).float()
        guided = torch.tensordot(weights, outputs.reshape(len(weights), *x.shape), 1)
        if predicts_pixels:  # strong guidance must not leave the range of images
            guided = guided.clamp(-1, 1)
        x = scheduler.step(guided, timestep, x, return_dict=False)[0]
    return x


def branch_weights(config: SamplerConfig) -> tuple[float, float, float]:
    """Weights of the branches none, image, and image and text; they add up to one."""
    image, text = config.image_guidance, config.text_guidance
    return 1 - image, image - text, text
