"""Compact subgoals: a small pixel-space diffusion model that imagines 64-pixel images on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.nn.layers import local_softargmax
from soar.nn.text import SentenceEncoder
from soar.registry import COMPACT, COMPACT_STEPS_AHEAD, load_subgoals
from soar.subgoals.clips import WORDS
from soar.subgoals.compact.keypoint_predictor import KeypointPredictions
from soar.subgoals.compact.network import COARSEST, FINEST, CompactSubgoalNet, Conditioning
from soar.subgoals.compact.observation_encoder import CONTAINER, CompactSubgoalConfig
from soar.subgoals.pixels import to_images, to_tensor
from soar.subgoals.sampler import (
    Condition,
    Conditions,
    SamplerConfig,
    SchedulerName,
    branch_weights,
    make_scheduler,
    sample,
)
from soar.types import Images, Observation
from soar.utils.hardware import choose_device, choose_precision
from soar.utils.media import resize

KIND = "subgoals"
"""Of its checkpoints."""
TEMPERATURE = 0.1
"""Sharpens foresight: below 1, unlikely guesses are drawn more rarely than they are likely."""
TIMESTEPS = 1000
"""Of the noise schedule as schedulers count it; the network itself knows angles."""
FAST = SamplerConfig("ddim", steps=2, image_guidance=1.0, text_guidance=1.0)
"""Chosen on the development scenes (docs/log.md): with the places decided, more steps or guidance only add noise."""


TAUGHT = "taught_from"
"""In the provenance of an imagination that practice taught: the id of the one before."""
NEAR = 0.2
"""Foresight's own gaze tells more exactly than the eyes where a thing is, if it is no farther off, of half an image."""
_AT_ONCE = 64


@runtime_checkable
class ObjectLocator(Protocol):
    """Finds named things in images."""

    def point(self, images: Images, instructions: Sequence[str]) -> Float32[np.ndarray, "n 2 2"]:
        """x and y in [-1, 1] of the thing and of the container that each instruction names; NaN for none."""


class CompactSubgoalGenerator:
    """The compact network as a `SubgoalGenerator` (paper, section 3, component 2)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampler: SamplerConfig = FAST,
        ahead: int = COMPACT_STEPS_AHEAD,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        eyes: ObjectLocator | None = None,
    ) -> None:
        """`ahead`: how many control steps later the imagined moment is, as in training.

        `eyes`: point at what an instruction names; without them it finds that itself, less surely.
        """
        self.name = f"compact {checkpoint.id}"
        self.sampler = sampler
        self.ahead = ahead
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.net = CompactSubgoalNet(
            checkpoint.model_config(CompactSubgoalConfig, checkpoint.config["net"])
        )
        checkpoints.load_weights(self.net, checkpoint)
        self.net.to(self.device).eval().requires_grad_(False)
        self.eyes = eyes
        self.taught = TAUGHT in checkpoint.provenance
        self._read = SentenceEncoder()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        ahead: int = COMPACT_STEPS_AHEAD,
        device: str = "auto",
        eyes: ObjectLocator | None = None,
    ) -> CompactSubgoalGenerator:
        """From a checkpoint's folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND), ahead=ahead, device=device, eyes=eyes)

    @property
    def resolution(self) -> int:
        """Pixels of the imagined images."""
        return self.net.config.resolution

    def generate(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """Imagined images, one for each observation and its instruction."""
        return self._paint(observations, instructions, rng)

    def repaint(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        futures: Sequence[Observation],
        rng: np.random.Generator,
    ) -> Images:
        """What it would have imagined, had it foreseen where everything really is in each future."""
        if self.net.foresight is None:
            return self._paint(observations, instructions, rng)
        places = np.asarray(self.foresee(futures, instructions).now.float().cpu())
        return self.picture(observations, instructions, places, rng)

    def picture(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        places: Float[np.ndarray, "n f 2"],
        rng: np.random.Generator,
    ) -> Images:
        """What it would have imagined, had it foreseen these places (`soar.subgoals.compact.keypoint_predictor.FORESEEN`)."""
        told = torch.from_numpy(np.asarray(places, np.float32)).to(self.device)
        return self._paint(observations, instructions, rng, told)

    def _paint(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
        places: Float[Tensor, "n f 2"] | None = None,
    ) -> Images:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        noise = torch.randn(len(observations), 3, *[self.resolution] * 2, generator=generator)
        pointed = self._pointed(observations, instructions)
        if places is None and self.net.foresight is not None:
            places = _drawn(self.foresee(observations, instructions, pointed), generator)
        scheduler = copy(_scheduler(self.sampler.scheduler))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            seen = self._see(observations, self.resolution)
            conditions = self.conditions(seen, instructions, pointed, places)
            start = noise.to(self.device)
            pixels = sample(self.denoise, start, conditions, scheduler, self.sampler)
        return to_images(pixels)

    @torch.inference_mode()
    def foresee(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        pointed: Float32[Tensor, "n 2 2"] | None = None,
    ) -> KeypointPredictions:
        """Where everything may be `ahead` steps later. `pointed`: where the named things are now."""
        assert self.net.foresight is not None
        states = torch.from_numpy(np.stack([o.state for o in observations])).to(self.device)
        guesses: KeypointPredictions = self.net.foresight(
            self._see(observations, self.net.config.sight),
            *self._told(instructions),
            pointed,
            states,
        )
        return guesses

    @torch.inference_mode()
    def conditions(
        self,
        seen: Float32[Tensor, "n 3 h w"],
        instructions: Sequence[str],
        pointed: Float32[Tensor, "n 2 2"] | None = None,
        places: Float[Tensor, "n f 2"] | None = None,
    ) -> Conditions:
        """What the painter finds with nothing, with the image, and with the image and the instruction.

        Args:
            seen: images in [-1, 1], of the size that it paints.
            instructions: one for each.
            pointed: where the named things are.
            places: where everything will be; None leaves that to the painter.
        """
        found = self.net.look(seen, *self._told(instructions), pointed)
        if places is not None:
            found = self.net.tell(found, places)
        none, image, _ = branch_weights(self.sampler)
        silence = self._told([""] * len(instructions))
        return Conditions(
            none=tuple(self.net.look(torch.zeros_like(seen), *silence)) if none else (),
            image=tuple(self.net.look(seen, *silence)) if image else (),
            image_and_text=tuple(found),
        )

    def _see(self, observations: Sequence[Observation], pixels: int) -> Float32[Tensor, "n 3 s s"]:
        images = resize(np.stack([o.image for o in observations]), pixels)
        return to_tensor(images).contiguous().to(self.device)

    def _told(
        self, instructions: Sequence[str]
    ) -> tuple[Float[Tensor, "n l e"], Float[Tensor, " n"]]:
        """Instructions as tokens, and how far ahead the subgoals lie."""
        words = self._read.tokens(instructions, WORDS).to(self.device)
        return words, torch.full((len(words),), float(self.ahead), device=self.device)

    def find(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """Where the thing and the container that each instruction names are, x and y in [-1, 1]; NaN for none.

        The eyes say which things are meant; where exactly is what foresight's own gaze says, if it falls near.
        """
        parts = []
        for k in range(0, len(observations), _AT_ONCE):
            now = (observations[k : k + _AT_ONCE], instructions[k : k + _AT_ONCE])
            pointed, own = self._eyes_point(*now), self._own_gaze(*now)
            parts.append(own if pointed is None else _agreed(own, pointed))
        return np.asarray(torch.cat(parts).float().cpu())

    def read(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n f 2"]:
        """Where everything that is foreseen is now: hand, named thing, and the rest of the arm (`FORESEEN`)."""
        parts = [
            self.foresee(observations[k : k + _AT_ONCE], instructions[k : k + _AT_ONCE]).now
            for k in range(0, len(observations), _AT_ONCE)
        ]
        return np.asarray(torch.cat(parts).float().cpu())

    def _pointed(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[Tensor, "n 2 2"] | None:
        """What foresight and painter are told: the eyes' word or, where practice taught it, `find`'s."""
        pointed = self._eyes_point(observations, instructions)
        if pointed is None or not self.taught:
            return pointed
        return _agreed(self._own_gaze(observations, instructions), pointed)

    def _eyes_point(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[Tensor, "n 2 2"] | None:
        if self.eyes is None:
            return None
        at = self.eyes.point(np.stack([o.image for o in observations]), instructions)
        return torch.from_numpy(at).to(self.device)

    def _own_gaze(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[Tensor, "n 2 2"]:
        """The named thing and the container as foresight finds them when nobody points."""
        seen = self.foresee(observations, instructions)
        gaze = seen.gaze[:, CONTAINER : CONTAINER + 1].float()
        container = local_softargmax(gaze.argmax(-1), gaze)
        return torch.cat([seen.now[:, 1:2].float(), container], 1)

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], timestep: Tensor, condition: Condition
    ) -> Float[Tensor, "b 3 h w"]:
        """The clean image that the network expects behind a noisy one."""
        step = torch.linspace(FINEST, COARSEST, TIMESTEPS, device=noisy.device)[timestep.long()]
        clean, _ = self.net.denoise(noisy, step.expand(len(noisy)), Conditioning(*condition))
        return clean


def _agreed(own: Float[Tensor, "n 2 2"], pointed: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n 2 2"]:
    """Its own places where they are near those that are pointed at, and those where they aren't."""
    near = (own - pointed).norm(dim=-1, keepdim=True) < NEAR
    return own.where(near, pointed)


def _drawn(guesses: KeypointPredictions, generator: torch.Generator) -> Float[Tensor, "n f 2"]:
    """The places of one guess for each, those on which guesses agree drawn far more often."""
    p = guesses.agreed().cpu() ** (1 / TEMPERATURE)
    chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
    return guesses.around(chosen.to(guesses.log_p.device))


@cache
def _scheduler(name: SchedulerName) -> Any:
    """Making one takes as long as a step of the network."""
    return make_scheduler(name, noise_schedule())


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


def to_checkpoint(net: CompactSubgoalNet, provenance: Mapping[str, Any]) -> Checkpoint:
    """The network as it is now."""
    config = {"net": dataclasses.asdict(net.config)}
    return Checkpoint(KIND, dict(net.state_dict()), config, provenance=provenance)


def load_compact(name: str = COMPACT) -> CompactSubgoalGenerator:
    """The compact subgoal generator of a name. Raises ConfigError: the name is of another kind."""
    generator = load_subgoals(name)
    if not isinstance(generator, CompactSubgoalGenerator):
        raise ConfigError(
            f"'{name}' is not a compact subgoal generator; valid: {COMPACT}, a folder"
        )
    return generator
