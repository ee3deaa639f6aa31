"""What is minimised when subgoal generators learn: the diffusion loss, with conditions left out at times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.data.prefetch import step_rng
from soar.errors import ConfigError
from soar.nn import channels_last, gaze_loss
from soar.subgoals.corpus import Corpus
from soar.subgoals.network import (
    COARSEST,
    FINEST,
    HAND,
    PLACES,
    THING,
    CompactConfig,
    CompactNet,
    Seen,
)
from soar.subgoals.susie import InstructPix2Pix

POINTED, POINTING_ERROR = 0.8, 0.05
"""How often it is pointed at the named things in training, and how far beside them, of half an image."""
TOLD = 0.9
"""How often the painter is told where hand and thing will be, in training."""
TOLERANCE = 0.1
"""Errors of pixels well below this, where images span [-1, 1], hardly matter to a policy."""


@dataclass(frozen=True)
class Dropout:
    """How often a condition is left out, so that guidance has something to extrapolate from."""

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        if min(self.text, self.image, self.both) < 0 or self.text + self.image + self.both > 1:
            raise ConfigError(
                "chances of leaving out text, image and both: at least 0, together at most 1"
            )

    def draw(
        self, n: int, generator: torch.Generator
    ) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Which samples keep their text, and which their image."""
        x = torch.rand(n, generator=generator, device=generator.device)
        no_text = x < self.text + self.both
        no_image = (x >= self.text) & (x < self.text + self.both + self.image)
        return ~no_text, ~no_image


class SubgoalBatches:
    """Pairs of an image and a later one of the same episode, with the instruction between them.

    Pure: a step's batch depends on the step alone. Past its end an episode stays as it is, so that
    imagining further changes nothing once the instruction is fulfilled.
    """

    def __init__(
        self, corpus: Corpus, episodes: slice, ahead: tuple[int, int], seed: int = 0
    ) -> None:
        """`episodes`: which of the corpus. `ahead`: fewest and most control steps between the two."""
        frames = corpus.frames
        self.corpus, self.ahead, self.seed = corpus, ahead, seed
        numbers = np.arange(len(frames.episodes))[episodes]
        if len(numbers) == 0 or not 1 <= ahead[0] <= ahead[1]:
            raise ConfigError(
                f"no episodes, or subgoals {ahead} steps ahead; valid: 1 <= low <= high"
            )
        lengths = np.diff(frames.starts)[numbers]
        self.frames = np.concatenate(
            [np.arange(frames.starts[i], frames.starts[i + 1]) for i in numbers]
        )
        self.last = np.repeat(frames.starts[numbers + 1] - 1, lengths)
        self.rows = np.repeat(corpus.rows[numbers], lengths)

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """`observation` and `subgoal`, instruction as `row` and `words`, `ahead`, and `points`."""
        rng = step_rng(self.seed, step)
        chosen = rng.integers(len(self.frames), size=size)[part]
        ahead = rng.integers(self.ahead[0], self.ahead[1] + 1, size)[part]
        now = self.frames[chosen]
        later = np.minimum(now + ahead, self.last[chosen])
        images = self.corpus.frames.images
        return {
            "observation": images[now],
            "subgoal": images[later],
            "row": self.rows[chosen],
            "words": self.corpus.words[self.rows[chosen]].astype(np.float32),
            "ahead": ahead.astype(np.float32),
            "points": self.corpus.points[now],
            "places": self.corpus.points[later][:, [HAND, THING]],
        }


class CompactLearner(nn.Module):
    """The compact network under training."""

    def __init__(
        self, config: CompactConfig, dropout: Dropout | None = None, gaze: float = 0.05
    ) -> None:
        """`gaze`: weight of the loss that says where the named things are."""
        super().__init__()
        self.net = CompactNet(config)
        channels_last(self.net)
        self.dropout = dropout or Dropout()
        self.gaze = gaze

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the clean image, weighed by how uncertain it is, and of where it looks."""
        observation, subgoal = (pixels(batch[k]) for k in ("observation", "subgoal"))
        n = len(subgoal)
        has_text, has_image = self.dropout.draw(n, generator)
        words = batch["words"] * has_text[:, None, None]
        points = batch["points"].where((has_text & has_image)[:, None, None], torch.nan)
        seen = self.net.look(
            observation * has_image[:, None, None, None],
            words,
            batch["ahead"],
            pointing(points[:, :2], generator),
        )
        angle = stratified_angles(n, generator)
        noise = torch.randn(subgoal.shape, generator=generator, device=generator.device)
        foreseen = torch.zeros(())
        if self.net.config.foresee:
            seen, foreseen = self._foresee(seen, batch["places"], has_text & has_image, generator)
        a, s = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        clean, scale = self.net.denoise(a * subgoal + s * noise, angle, seen)
        error = clean - subgoal
        imagined = (error.square() / (scale.square() + TOLERANCE**2)).mean()
        looked = gaze_loss(seen.gaze[:, :PLACES], points)
        metrics = {
            "imagined": imagined,
            "gaze": looked,
            "foreseen": foreseen,
            "pixel_error": error.detach().square().mean().sqrt(),
        }
        return imagined + self.gaze * (looked + foreseen), metrics

    def _foresee(
        self,
        seen: Seen,
        places: Float[Tensor, "n f 2"],
        whole: Bool[Tensor, " n"],
        generator: torch.Generator,
    ) -> tuple[Seen, Tensor]:
        """Told, most of the time, where hand and thing will really be; and the loss of foreseeing it.

        `whole`: neither words nor image are left out.
        """
        expected = places.where(whole[:, None, None], torch.nan)
        hand = self.net.foresee(seen)
        thing = self.net.foresee(seen, places[:, 0].nan_to_num())
        loss = gaze_loss(torch.stack([hand, thing], 1), expected)
        told = torch.rand(len(places), generator=generator, device=generator.device) < TOLD
        return self.net.tell(seen, places.where(told[:, None, None], torch.nan)), loss


class SusieLearner(nn.Module):
    """The U-Net of an InstructPix2Pix model under fine-tuning; its text encoder and autoencoder stay."""

    words: Float[Tensor, "u l d"]

    def __init__(
        self, model: InstructPix2Pix, instructions: Sequence[str], dropout: Dropout | None = None
    ) -> None:
        """`instructions`: what the rows of batches stand for; they are read once, here."""
        from diffusers import DDPMScheduler

        super().__init__()
        self.model = model
        self.model.unet.requires_grad_(True)
        self.dropout = dropout or Dropout()
        self.scheduler = DDPMScheduler.from_config(model.noise_schedule)
        with torch.no_grad():
            silence_last = torch.cat([model.words([text]) for text in (*instructions, "")])
        self.register_buffer("words", silence_last, persistent=False)

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what the scheduler's `prediction_type` names, noise as a rule."""
        has_text, has_image = self.dropout.draw(len(batch["row"]), generator)
        with torch.no_grad():
            context = self.model.context(pixels(batch["observation"]))
            clean = self.model.encode(pixels(batch["subgoal"]), generator)
        context = context * has_image[:, None, None, None]
        words = self.words[batch["row"].where(has_text, -1)]
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        steps = self.scheduler.config.num_train_timesteps
        timestep = torch.randint(steps, (len(clean),), generator=generator, device=generator.device)
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        target = self._target(clean, noise, timestep)
        loss = (self.model.denoise(noisy, timestep, (context, words)) - target).square().mean()
        return loss, {}

    def _target(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.scheduler.get_velocity(clean, noise, timestep)
            return velocity
        return clean if kind == "sample" else noise


def pixels(images: Tensor) -> Float[Tensor, "n 3 h w"]:
    """uint8 images in rows to [-1, 1] in channels, which stay last in memory."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def stratified_angles(n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Angles of the noise schedule, in random order, more of them where there is more noise.

    Few steps of sampling, as CPUs afford, decide nearly everything there.
    """
    at = torch.rand(n, generator=generator, device=generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return FINEST + (COARSEST - FINEST) * ((order + at) / n).sqrt()


def pointing(points: Float[Tensor, "n 2 2"], generator: torch.Generator) -> Float[Tensor, "n 2 2"]:
    """The points as eyes would say them, a little off; NaN for those that aren't said."""
    said = torch.rand(len(points), generator=generator, device=generator.device) < POINTED
    error = torch.randn(points.shape, generator=generator, device=generator.device)
    return (points + POINTING_ERROR * error).where(said[:, None, None], torch.nan)
