"""Compact subgoals: a small pixel-space diffusion model that imagines 64-pixel images on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.hardware import choose_device, choose_precision
from soar.media import resize
from soar.nn import channels_last, place_around
from soar.subgoals.corpus import WORDS
from soar.subgoals.images import to_images, to_tensor
from soar.subgoals.network import (
    COARSEST,
    FINEST,
    HAND,
    THING,
    CompactConfig,
    CompactNet,
    Seen,
)
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
FAST = SamplerConfig("ddim", steps=2, image_guidance=1.0, text_guidance=1.0)
"""Chosen on the development scenes (docs/log.md): with the places decided, more steps or guidance only add noise."""


@runtime_checkable
class Eyes(Protocol):
    """Finds named things in images."""

    def point(self, images: Images, instructions: Sequence[str]) -> Float32[np.ndarray, "n 2 2"]:
        """x and y in [-1, 1] of the thing and of the container that each instruction names; NaN for none."""


class CompactSubgoals:
    """The compact network as a `SubgoalGenerator` (paper, section 3, component 2)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampler: SamplerConfig = FAST,
        ahead: int = STEPS_AHEAD,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        eyes: Eyes | None = None,
    ) -> None:
        """`ahead`: how many control steps later the imagined moment is, as in training.

        `eyes`: point at what an instruction names; without them it finds that itself, less surely.
        """
        self.name = f"compact {checkpoint.id}"
        self.sampler = sampler
        self.ahead = ahead
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.net = CompactNet(CompactConfig(**checkpoint.config["net"]))
        checkpoints.load_weights(self.net, checkpoint)
        channels_last(self.net.to(self.device).eval().requires_grad_(False))
        self.eyes = eyes
        self._read = SentenceEncoder()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        ahead: int = STEPS_AHEAD,
        device: str = "auto",
        eyes: Eyes | None = None,
    ) -> CompactSubgoals:
        """From a checkpoint's folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND), ahead=ahead, device=device, eyes=eyes)

    @property
    def resolution(self) -> int:
        """Pixels of the imagined images."""
        return self.net.config.resolution

    def generate(
        self, images: Images, instructions: Sequence[str], rng: np.random.Generator
    ) -> Images:
        """Imagined images, one for each image and its instruction."""
        return self._paint(images, instructions, rng)

    def repaint(
        self,
        images: Images,
        instructions: Sequence[str],
        futures: Images,
        rng: np.random.Generator,
    ) -> Images:
        """What it would have imagined, had it foreseen where hand and thing really are in each future."""
        seen = self._look(to_tensor(resize(futures, self.resolution)), instructions)
        gaze = seen.gaze[:, [HAND, THING]]
        return self._paint(images, instructions, rng, place_around(gaze.argmax(-1), gaze))

    def _paint(
        self,
        images: Images,
        instructions: Sequence[str],
        rng: np.random.Generator,
        places: Float[Tensor, "n f 2"] | None = None,
    ) -> Images:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        observation = to_tensor(resize(images, self.resolution))
        noise = torch.randn(observation.shape, generator=generator)
        pointed = (
            torch.from_numpy(self.eyes.point(images, instructions))
            if self.eyes is not None
            else None
        )
        scheduler = make_scheduler(self.sampler.scheduler, noise_schedule())
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            pixels = sample(
                self.denoise,
                noise.to(self.device),
                self.conditions(observation, instructions, generator, pointed, places),
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
        pointed: Float32[Tensor, "n 2 2"] | None = None,
        places: Float[Tensor, "n f 2"] | None = None,
    ) -> Conditions:
        """What is seen with nothing, with the image, and with the image and the instruction.

        Args:
            observation: in [-1, 1].
            instructions: one for each.
            generator: decides, where several places are likely, at which the hand and the thing will be.
            pointed: where the named things are.
            places: where hand and thing will be; None leaves that to foresight.
        """
        seen = self._look(observation, instructions, pointed)
        if self.net.config.foresee:
            if places is None:
                hand = _drawn(self.net.foresee(seen), generator)
                places = torch.stack([hand, _drawn(self.net.foresee(seen, hand), generator)], 1)
            seen = self.net.tell(seen, places)
        none, image, _ = branch_weights(self.sampler)
        silence = [""] * len(instructions)
        return Conditions(
            none=tuple(self._look(torch.zeros_like(observation), silence)) if none else (),
            image=tuple(self._look(observation, silence)) if image else (),
            image_and_text=tuple(seen),
        )

    @torch.inference_mode()
    def _look(
        self,
        observation: Float32[Tensor, "n 3 h w"],
        instructions: Sequence[str],
        pointed: Float32[Tensor, "n 2 2"] | None = None,
    ) -> Seen:
        words = self._read.tokens(instructions, WORDS).to(self.device)
        return self.net.look(
            observation.to(self.device),
            words,
            torch.full((len(words),), float(self.ahead), device=self.device),
            None if pointed is None else pointed.to(self.device),
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
    chosen = torch.multinomial((log_p / TEMPERATURE).softmax(-1).cpu(), 1, generator=generator)
    return place_around(chosen[:, 0].to(log_p.device), log_p)


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
