"""SuSIE: subgoal images from an InstructPix2Pix model in diffusers format (a folder or a hub id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from soar.errors import ConfigError
from soar.nn import draws
from soar.subgoals.diffusers_folder import load_pipeline, noise_schedule
from soar.subgoals.pixels import to_images, to_tensor
from soar.subgoals.sampler import (
    REFERENCE,
    SCHEDULERS,
    Condition,
    Conditions,
    SamplerConfig,
    make_scheduler,
    sample,
)
from soar.types import Images, Observation, Task
from soar.utils.config import load
from soar.utils.hardware import choose_device, choose_precision
from soar.utils.media import resize

FAST = replace(REFERENCE, scheduler="dpmsolver++", steps=10)
"""Guidance of the paper in fewer steps; not measured on real weights."""
SAMPLER = "sampler.json"
"""File of a folder's own `SamplerConfig`, as `soar convert susie` writes it."""


def make_susie(source: str | Path, size: int = 256, **sampler: Any) -> Susie:
    """Load an InstructPix2Pix model with the options of its name.

    Args:
        source: a diffusers folder or a hub id.
        size: side of the generated images [pixels].
        sampler: fields of `SamplerConfig` that differ from those of the folder's `SAMPLER`, or of `FAST`.

    Raises:
        ConfigError: the model or an option can't be used.
    """
    scheduler = sampler.get("scheduler", FAST.scheduler)
    if scheduler not in SCHEDULERS:
        raise ConfigError(f"no scheduler '{scheduler}'; valid: {', '.join(SCHEDULERS)}")
    own = Path(source) / SAMPLER
    usual = load(SamplerConfig, own) if own.exists() else FAST
    return Susie(source, replace(usual, **sampler), size)


class Susie:
    """An InstructPix2Pix model as a `SubgoalGenerator` (paper, section 3, component 2, and B.4)."""

    def __init__(
        self,
        source: str | Path,
        sampler: SamplerConfig = FAST,
        resolution: int = 256,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> None:
        """Load the model.

        Args:
            source: a diffusers folder or a hub id.
            sampler: scheduler, steps and guidance.
            resolution: side of the generated images [pixels], a multiple of the autoencoder's factor (8).
            device, precision: "auto" picks them for this machine.

        Raises:
            ConfigError: the model can't be used, or not at this resolution.
        """
        if not 64 <= resolution <= 2048:
            raise ConfigError(f"size must lie between 64 and 2048 pixels, not {resolution}")
        self.name = f"susie {source}"
        self.sampler = sampler
        self.resolution = resolution
        self._device = choose_device(device)
        self._model = InstructPix2Pix.load(source, choose_precision(precision, self._device))
        factor = self._model.factor
        if resolution % factor:
            raise ConfigError(f"size must be a multiple of {factor} pixels, not {resolution}")
        self._model.to(self._device)

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Generate one image of `resolution` pixels for each observation and its instruction."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        pixels = to_tensor(resize(np.stack([o.image for o in observations]), self.resolution)).to(
            self._device
        )
        conditions = self._model.conditions(pixels, [task.instruction for task in tasks])
        noise = torch.randn(conditions.image[0].shape, generator=generator)
        latents = sample(
            self._model.denoise,
            noise.to(self._device),
            conditions,
            make_scheduler(self.sampler.scheduler, self._model.noise_schedule),
            self.sampler,
        )
        return to_images(self._model.decode(latents))


class InstructPix2Pix(torch.nn.Module):
    """Text encoder, image autoencoder and latent U-Net of an InstructPix2Pix pipeline."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.text_encoder = pipeline.text_encoder
        self.vae = pipeline.vae
        self.unet = pipeline.unet
        self.tokenizer = pipeline.tokenizer
        self.noise_schedule = noise_schedule(pipeline.scheduler.config)
        self.pipeline = pipeline

    @property
    def factor(self) -> int:
        """Pixels per latent, along each side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @classmethod
    def load(cls, source: str | Path, dtype: torch.dtype = torch.float32) -> InstructPix2Pix:
        """Load a diffusers folder or hub id for inference.

        Raises:
            ConfigError: it can't be used; the message names the cause in one line.
        """
        return cls(load_pipeline(source, dtype)).eval().requires_grad_(False)

    def conditions(
        self, pixels: Float[Tensor, "n 3 h w"], instructions: Sequence[str]
    ) -> Conditions:
        """Encode images and instructions; their empty forms are zeros and the empty sentence."""
        context = self.context(pixels)
        words = self.words(instructions)
        no_words = self.words([""]).expand_as(words)
        return Conditions(
            none=(torch.zeros_like(context), no_words),
            image=(context, no_words),
            image_and_text=(context, words),
        )

    def denoise(
        self, noisy: Float[Tensor, "b c h w"], timestep: Tensor, condition: Condition
    ) -> Float[Tensor, "b c h w"]:
        """Run the U-Net; the observation's latents are further channels of its input."""
        context, words = condition
        both = torch.cat([noisy.to(context.dtype), context], 1)
        output: Tensor = self.unet(both, timestep, encoder_hidden_states=words, return_dict=False)[
            0
        ]
        return output

    def context(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h8 w8"]:
        """Encode observations: the mode of the latents, not scaled by the autoencoder's factor.

        InstructPix2Pix, and therefore SuSIE, was trained that way; only generated latents are scaled.
        """
        latents: Tensor = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mode()
        return latents

    def encode(self, pixels: Float[Tensor, "n 3 h w"], generator: torch.Generator) -> Tensor:
        """Encode target images: a sample of the latents, scaled."""
        found = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        latents: Tensor = found.mean + found.std * draws.randn(found.mean.shape, generator).to(
            found.mean
        )
        return latents * float(self.vae.config.scaling_factor)

    def decode(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n 3 h w"]:
        """Decode generated latents to pixels in about [-1, 1]."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        pixels: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return pixels.float()

    def words(self, instructions: Sequence[str]) -> Float[Tensor, "n l d"]:
        """Embed the tokens of instructions, padded or cut to the text encoder's length."""
        tokens = self.tokenizer(
            list(instructions),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self.text_encoder.parameters()).device
        embeddings: Tensor = self.text_encoder(tokens.input_ids.to(device))[0]
        return embeddings
