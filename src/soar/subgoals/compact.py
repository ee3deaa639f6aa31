"""Compact subgoals: a small pixel-space diffusion model that imagines 64-pixel images on a CPU."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.hardware import choose_device, choose_precision
from soar.media import resize
from soar.nn import channels_last
from soar.subgoals.corpus import WORDS
from soar.subgoals.images import to_images, to_tensor
from soar.subgoals.network import COARSEST, FINEST, CompactConfig, CompactNet, Seen, cells
from soar.subgoals.sampler import (
    Condition,
    Conditions,
    SamplerConfig,
    branch_weights,
    make_scheduler,
    sample,
)
from soar.types import STEPS_AHEAD, Images
from soar.words import SentenceEncoder

KIND = "subgoals"
"""Of its checkpoints."""
TEMPERATURE = 0.5
"""Sharpens foresight: below 1, unlikely places are drawn more rarely than they are likely."""
TIMESTEPS = 1000
"""Of the noise schedule as schedulers count it; the network itself knows angles."""
FAST = SamplerConfig("ddim", steps=8, image_guidance=1.0, text_guidance=1.0)
"""Chosen by eye on the development scenes (docs/log.md): more steps or guidance only add noise to these weights."""


class CompactSubgoals:
    """The compact network as a `SubgoalGenerator` (paper, section 3, component 2)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampler: SamplerConfig = FAST,
        ahead: int = STEPS_AHEAD,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> None:
        """`ahead`: how many control steps later the imagined moment is, as in training."""
        self.name = f"compact {checkpoint.id}"
        self.sampler = sampler
        self.ahead = ahead
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.net = CompactNet(CompactConfig(**checkpoint.config["net"]))
        checkpoints.load_weights(self.net, checkpoint)
        channels_last(self.net.to(self.device).eval().requires_grad_(False))
        self._read = SentenceEncoder()

    @classmethod
    def load(
        cls, folder: str | Path, ahead: int = STEPS_AHEAD, device: str = "auto"
    ) -> CompactSubgoals:
        """From a checkpoint's folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND), ahead=ahead, device=device)

    @property
    def resolution(self) -> int:
        """Pixels of the imagined images."""
        return self.net.config.resolution

    def generate(
        self, images: Images, instructions: Sequence[str], rng: np.random.Generator
    ) -> Images:
        """Imagined images, one for each image and its instruction."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        observation = to_tensor(resize(images, self.resolution))
        noise = torch.randn(observation.shape, generator=generator)
        scheduler = make_scheduler(self.sampler.scheduler, noise_schedule())
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            pixels = sample(
                self.denoise,
                noise.to(self.device),
                self.conditions(observation.to(self.device), instructions, generator),
                scheduler,
                self.sampler,
            )
        return to_images(pixels)

    @torch.inference_mode()
    def conditions(
        self,
        observation: Float32[Tensor, "n 3 h w"],
        instructions: Sequence[str],
        generator: torch.Generator,
    ) -> Conditions:
        """What is seen with nothing, with the image, and with the image and the instruction.

        `generator` decides, where several places are likely, at which the hand and the thing will be.
        """
        words = self._read.tokens(instructions, WORDS).to(self.device)
        nothing, silence = torch.zeros_like(observation), torch.zeros_like(words)
        ahead = torch.full((len(words),), float(self.ahead), device=self.device)
        seen = self.net.look(observation, words, ahead)
        if self.net.config.foresee:
            hand = _drawn(self.net.foresee(seen), generator)
            thing = _drawn(self.net.foresee(seen, hand), generator)
            seen = self.net.tell(seen, torch.stack([hand, thing], 1))
        none, image, _ = branch_weights(self.sampler)
        return Conditions(
            none=tuple(self.net.look(nothing, silence, ahead)) if none else (),
            image=tuple(self.net.look(observation, silence, ahead)) if image else (),
            image_and_text=tuple(seen),
        )

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], timestep: Tensor, condition: Condition
    ) -> Float[Tensor, "b 3 h w"]:
        """The clean image that the network expects behind a noisy one."""
        step = torch.linspace(FINEST, COARSEST, TIMESTEPS, device=noisy.device)[timestep.long()]
        clean, _ = self.net.denoise(noisy, step.expand(len(noisy)), Seen(*condition))
        return clean


def _drawn(log_p: Float[Tensor, "n p"], generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """A place from a distribution over cells, sharpened; within a cell of it, the mean."""
    side = math.isqrt(log_p.shape[1])
    at = cells(side).to(log_p)
    chosen = torch.multinomial((log_p / TEMPERATURE).softmax(-1).cpu(), 1, generator=generator)
    near = (at[chosen[:, 0].to(log_p.device)][:, None] - at).abs().amax(-1) < 3 / side
    weights = log_p.exp() * near
    return weights @ at / weights.sum(1, keepdim=True)


def noise_schedule() -> Mapping[str, Any]:
    """The network's noise schedule as diffusers' schedulers take it: angles evenly spaced."""
    kept = torch.linspace(FINEST, COARSEST, TIMESTEPS, dtype=torch.float64).cos().square()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    return {
        "num_train_timesteps": TIMESTEPS,
        "trained_betas": (1 - kept / before).tolist(),
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }


def to_checkpoint(net: CompactNet, provenance: Mapping[str, Any]) -> Checkpoint:
    """The network as it is now."""
    config = {"net": dataclasses.asdict(net.config)}
    return Checkpoint(KIND, dict(net.state_dict()), config, provenance=provenance)
