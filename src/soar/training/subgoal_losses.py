"""What is minimised when subgoal generators learn: the diffusion loss, with conditions left out at times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.data.prefetch import step_rng
from soar.data.transforms import Color, Crop
from soar.errors import ConfigError
from soar.nn.layers import attention_loss
from soar.subgoals.clips import ClipCorpus
from soar.subgoals.compact.keypoint_predictor import PREDICTED
from soar.subgoals.compact.network import COARSEST, FINEST, CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import PLACES, CompactSubgoalConfig
from soar.subgoals.susie import InstructPix2Pix
from soar.training.keypoint_samples import KeypointBatches, is_sided

POINTED, POINTING_ERROR = 0.8, 0.05
"""How often it is pointed at the named things in training, and how far beside them, of half an image."""
TOLD, FELT = 0.9, 0.8
"""How often the painter is told where everything will be, and foresight what the arm feels, in training."""
OTHER_CAMERA = (
    Crop((0.6, 1.0), (0.8, 1.25), turn_deg=10),
    Color(0.2, (0.7, 1.3), (0.6, 1.4), 0.05),
)
"""How foresight's images are changed in training, and all places with them; words name colours."""
MIRRORED = 0.5
"""How often foresight's images are mirrored, too, arm and all, where the words don't speak of left or right."""
_IN_MIRROR = [0, 1, 2, 4, 3, 5, 6]
"""Of a corpus's points: left and right fingertips change places."""
_TURNED = (1, 3, 5)
"""Of a state, what a mirror turns round: y, roll, yaw."""
FORESIGHT = 0.2
"""Weight of foresight's loss, which is in nats, beside the painter's. They share no weights."""
MOMENT, MOMENTS = "moment_", 0.8
"""What names of moments begin with in a batch, and how many of foresight's samples they are."""
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
        self, corpus: ClipCorpus, episodes: slice, ahead: tuple[int, int], seed: int = 0
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
        self.sided = np.array([is_sided(i) for i in corpus.instructions])

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """`observation` and `subgoal`, instruction as `row` and `words`, `ahead`, `points` now, `places` then, `states`."""
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
            "places": self.corpus.points[later][:, PREDICTED],
            "states": self.corpus.frames.states[now],
            "sided": self.sided[self.rows[chosen]],
        }


class ClipAndKeypointBatches:
    """Batches of clips, of whose foresight's samples some are moments instead: their names begin with MOMENT."""

    def __init__(self, clips: SubgoalBatches, moments: KeypointBatches) -> None:
        self.clips, self.moments = clips, moments

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Both batches in one."""
        moments = self.moments(step, size, part)
        return {**self.clips(step, size, part), **{MOMENT + k: v for k, v in moments.items()}}


class CompactSubgoalLearner(nn.Module):
    """The compact network under training: painter and foresight, each with a loss of its own."""

    def __init__(
        self,
        config: CompactSubgoalConfig,
        dropout: Dropout | None = None,
        gaze: float = 0.05,
        other_cameras: bool = True,
    ) -> None:
        """`gaze`: weight of the losses that say where the named things are.

        `other_cameras`: foresight learns from images as other cameras in other light might have them.
        """
        super().__init__()
        self.net = CompactSubgoalNet(config)
        self.dropout = dropout or Dropout()
        self.gaze = gaze
        self.changes = OTHER_CAMERA if other_cameras else ()

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the clean image, weighed by how uncertain it is, and surprise at where things went."""
        painted, metrics = self.paint(batch, generator)
        if self.net.foresight is None:
            return painted, metrics
        foreseen, more = self.foresee(with_keypoint_samples(batch), generator)
        return painted + FORESIGHT * foreseen, metrics | more

    def paint(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The painter's loss: told, most of the time, where arm and thing will really be."""
        observation, subgoal = (
            self.net.shrink(pixels(batch[k])) for k in ("observation", "subgoal")
        )
        n = len(subgoal)
        has_text, has_image = self.dropout.draw(n, generator)
        words = batch["words"] * has_text[:, None, None]
        points = batch["points"][:, :PLACES]
        points = points.where((has_text & has_image)[:, None, None], torch.nan)
        seen = self.net.look(
            observation * has_image[:, None, None, None],
            words,
            batch["ahead"],
            pointing(points[:, :2], generator),
        )
        told = _some(n, TOLD, generator)
        seen = self.net.tell(seen, batch["places"].where(told[:, None, None], torch.nan))
        angle = stratified_angles(n, generator)
        noise = torch.randn(subgoal.shape, generator=generator, device=generator.device)
        a, s = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        clean, scale = self.net.denoise(a * subgoal + s * noise, angle, seen)
        error = clean - subgoal
        imagined = (error.square() / (scale.square() + TOLERANCE**2)).mean()
        looked = attention_loss(seen.gaze[:, :PLACES], points)
        pixel_error = error.detach().square().mean().sqrt()
        metrics = {"imagined": imagined, "gaze": looked, "pixel_error": pixel_error}
        return imagined + self.gaze * looked, metrics

    def foresee(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Foresight's loss: how unlikely it thought what came, and what it misread in the present."""
        assert self.net.foresight is not None
        if self.changes:
            batch = mirrored(batch, generator)
        observation, points, places = changed(batch, self.changes, generator)
        shown = pointing(points[:, :2], generator)
        felt = _some(len(points), FELT, generator)
        states = batch["states"].where(felt[:, None], torch.nan)
        guesses = self.net.foresight(observation, batch["words"], batch["ahead"], shown, states)
        surprise = guesses.surprise(places).mean()
        looked = attention_loss(guesses.gaze[:, :PLACES], points[:, :PLACES])
        now = points[:, PREDICTED]
        misread = ((guesses.now - now.nan_to_num()).abs() * ~now.isnan()).mean()
        best = guesses.around(guesses.agreed().argmax(1))[:, 0] - places[:, 0]
        metrics = {
            "surprise": surprise,
            "looked": looked,
            "misread": misread,
            "hand_error": best.detach().norm(dim=-1).nanmedian(),
        }
        return surprise + 5 * self.gaze * looked + misread, metrics


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


def with_keypoint_samples(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The batch for foresight: where there are moments, they take the place of MOMENTS of its samples."""
    moments = {k.removeprefix(MOMENT): v for k, v in batch.items() if k.startswith(MOMENT)}
    count = round(MOMENTS * len(batch["ahead"])) if moments else 0
    return {**batch, **{k: torch.cat([v[:count], batch[k][count:]]) for k, v in moments.items()}}


def mirrored(batch: Mapping[str, Tensor], generator: torch.Generator) -> Mapping[str, Tensor]:
    """Some of the samples as a mirror shows them: pictures, places, and what the arm feels."""
    flip = _some(len(batch["ahead"]), MIRRORED, generator) & ~batch["sided"]
    across = batch["points"].new_tensor([-1, 1])
    places = [PREDICTED.index(_IN_MIRROR[k]) for k in PREDICTED]
    states = batch["states"].clone()
    states[:, _TURNED] *= -1
    other = {
        "observation": batch["observation"].flip(2),
        "points": batch["points"][:, _IN_MIRROR] * across,
        "places": batch["places"][:, places] * across,
        "states": states,
    }
    shown = {k: v.where(flip.reshape(-1, *[1] * (v.ndim - 1)), batch[k]) for k, v in other.items()}
    return {**batch, **shown}


def changed(
    batch: Mapping[str, Tensor], changes: Sequence[Crop | Color], generator: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n k 2"], Float[Tensor, "n f 2"]]:
    """Observation, `points` and `places` after some changes, by chance, of images and what is known of them."""
    image, points, places = batch["observation"].float() / 255, batch["points"], batch["places"]
    draws = torch.rand(len(image), 10, generator=generator, device=generator.device)
    seen = {"image": image, "points": torch.cat([points, places], 1), "draws": draws}
    with torch.autocast(image.device.type, enabled=False):
        for change in changes:
            seen = change.train(seen)
    count = points.shape[1]
    return (
        2 * seen["image"].permute(0, 3, 1, 2).contiguous() - 1,
        seen["points"][:, :count],
        seen["points"][:, count:],
    )


def pixels(images: Tensor) -> Float[Tensor, "n 3 h w"]:
    """uint8 images in rows to [-1, 1] in channels, which come first in memory: faster here in bf16."""
    return images.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def stratified_angles(n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Angles of the noise schedule, in random order, more of them where there is more noise.

    Few steps of sampling, as CPUs afford, decide nearly everything there.
    """
    at = torch.rand(n, generator=generator, device=generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return FINEST + (COARSEST - FINEST) * ((order + at) / n).sqrt()


def _some(n: int, share: float, generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Which of n samples, by chance."""
    return torch.rand(n, generator=generator, device=generator.device) < share


def pointing(points: Float[Tensor, "n 2 2"], generator: torch.Generator) -> Float[Tensor, "n 2 2"]:
    """The points as eyes would say them, a little off; NaN for those that aren't said."""
    said = _some(len(points), POINTED, generator)
    error = torch.randn(points.shape, generator=generator, device=generator.device)
    return (points + POINTING_ERROR * error).where(said[:, None, None], torch.nan)
