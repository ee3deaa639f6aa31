"""Losses and batches of subgoal generators: the diffusion loss with condition dropout, and the keypoint loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Float
from torch import Tensor, nn

from soar.data.mixture import DRAWS
from soar.data.prefetch import step_rng
from soar.data.transforms import Color, Crop, TableColor, Transform
from soar.errors import ConfigError
from soar.nn import draws
from soar.nn.heatmaps import attention_loss
from soar.subgoals.clips import ClipCorpus
from soar.subgoals.compact.keypoint_predictor import PREDICTED_POINTS
from soar.subgoals.compact.network import MAX_ANGLE, MIN_ANGLE, CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import NUM_SUPERVISED, CompactSubgoalConfig
from soar.subgoals.susie import InstructPix2Pix
from soar.training.keypoint_samples import KeypointBatches, mentions_side
from soar.utils.config import check_ranges

OBJECT_POINTS_SHARE, OBJECT_POINTS_STD = 0.8, 0.015
"""Share of training samples with given object points, and their standard error [half an image]: the packaged VLM's."""
KEYPOINTS_SHARE, STATES_SHARE = 0.9, 0.8
"""Shares of samples in which the renderer gets future keypoints, and the predictor the robot's state."""
_CROP = Crop((0.6, 1.0), (0.8, 1.25), turn_deg=10)
_COLOR = Color(0.2, (0.7, 1.3), (0.6, 1.4), 0.05)
AUGMENTATION = (_CROP, _COLOR)
"""Augmentation of the keypoint predictor's images, keypoints included; mild in hue, as instructions name colors."""
RECOLORED = (_CROP, TableColor(), _COLOR)
"""The same, and another color for the table in half of the samples."""
_FEW_DRAWS = 10
"""Random numbers of a sample where no table is recolored: crops and colors use no more."""
MIRRORED_SHARE = 0.5
"""Share of the predictor's samples that are mirrored, among those that don't mention left or right."""
_MIRRORED_POINTS = [0, 1, 2, 4, 3, 5, 6]
"""Order of a corpus's keypoints in a mirror image: the fingertips are swapped."""
_MIRRORED_STATE = (1, 3, 5)
"""Indices of the state whose signs change in a mirror image: y, roll, yaw."""
KEYPOINT_LOSS_WEIGHT = 0.2
"""Weight of the keypoint loss, in nats, relative to the renderer's. The two share no weights."""
SAMPLE_PREFIX, SAMPLES_SHARE = "sample_", 0.8
"""Prefix of keypoint samples' names in a batch, and their share among the predictor's samples."""
MAX_EMBEDDED = 2000
"""Most instructions whose embeddings are kept in memory: CLIP's are 240 KB each."""
PIXEL_TOLERANCE = 0.1
"""Pixel errors well below this, where images span [-1, 1], hardly matter to a policy."""


@dataclass(frozen=True)
class Dropout:
    """Probabilities of dropping a condition, which classifier-free guidance needs."""

    text: Annotated[float, Ge(0), Le(1)] = 0.05
    image: Annotated[float, Ge(0), Le(1)] = 0.05
    both: Annotated[float, Ge(0), Le(1)] = 0.05

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.text + self.image + self.both > 1:
            raise ConfigError("chances of leaving out text, image and both: together at most 1")

    def draw(
        self, n: int, generator: torch.Generator
    ) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Draw which samples keep their text, and which their image."""
        x = draws.rand((n,), generator)
        no_text = x < self.text + self.both
        no_image = (x >= self.text) & (x < self.text + self.both + self.image)
        return ~no_text, ~no_image


class SubgoalBatches:
    """Pairs of an image and a later one of the same episode, with its instruction; a pure function of the step.

    An episode's last image stands for all that would follow it, so that a completed task stays completed.
    """

    def __init__(
        self, corpus: ClipCorpus, episodes: slice, steps_ahead: tuple[int, int], seed: int = 0
    ) -> None:
        """Index the frames.

        Args:
            corpus: frames, keypoints and instructions.
            episodes: which of the corpus's episodes.
            steps_ahead: fewest and most control steps between the two images.
            seed: of the draws.

        Raises:
            ConfigError: there are no such episodes, or the steps are no range.
        """
        frames = corpus.frames
        self.corpus, self.steps_ahead, self.seed = corpus, steps_ahead, seed
        numbers = np.arange(len(frames.episodes))[episodes]
        if len(numbers) == 0 or not 1 <= steps_ahead[0] <= steps_ahead[1]:
            raise ConfigError(
                f"no episodes, or subgoals {steps_ahead} steps ahead; valid: 1 <= low <= high"
            )
        lengths = np.diff(frames.starts)[numbers]
        self.frames = np.concatenate(
            [np.arange(frames.starts[i], frames.starts[i + 1]) for i in numbers]
        )
        self.last = np.repeat(frames.starts[numbers + 1] - 1, lengths)
        self.rows = np.repeat(corpus.rows[numbers], lengths)
        self.sided = np.array([mentions_side(i) for i in corpus.instructions])

    def __call__(self, step: int, size: int, part: slice | np.ndarray) -> Mapping[str, np.ndarray]:
        """Return images, instructions, keypoints and states.

        `row` and `words` are the instruction, `points` all keypoints now, `future_points` the predicted ones later.
        """
        rng = step_rng(self.seed, step)
        chosen = rng.integers(len(self.frames), size=size)[part]
        ahead = rng.integers(self.steps_ahead[0], self.steps_ahead[1] + 1, size)[part]
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
            "future_points": self.corpus.points[later][:, PREDICTED_POINTS],
            "states": self.corpus.frames.states[now],
            "sided": self.sided[self.rows[chosen]],
        }


class MixedBatches:
    """Batches from several corpora, each sample from one of them at random; a pure function of the step."""

    def __init__(self, batches: Sequence[SubgoalBatches], weights: Sequence[float]) -> None:
        """Take corpora of one resolution. `weights`: positive, of any sum."""
        self.batches = batches
        self.shares = np.array(weights) / sum(weights)
        counts = [len(b.corpus.instructions) for b in batches]
        self.first_rows = np.cumsum([0, *counts])[:-1]
        """Index of each corpus's first instruction among all, which a batch's `row` counts."""

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return a batch as `SubgoalBatches` does."""
        rng = step_rng(self.batches[0].seed + 1, step)
        chosen = rng.choice(len(self.batches), size, p=self.shares)[part]
        samples = np.arange(size)[part]
        mixed: dict[str, np.ndarray] = {}
        for i, batches in enumerate(self.batches):
            here = chosen == i
            batch = dict(batches(step, size, samples[here]))
            batch["row"] = batch["row"] + self.first_rows[i]
            for name, values in batch.items():
                mixed.setdefault(name, np.empty((len(samples), *values.shape[1:]), values.dtype))
                mixed[name][here] = values
        return mixed


class ClipAndKeypointBatches:
    """Batches of clips, with keypoint samples beside them under prefixed names."""

    def __init__(self, clips: SubgoalBatches | MixedBatches, samples: KeypointBatches) -> None:
        self.clips, self.samples = clips, samples

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return both batches in one."""
        samples = self.samples(step, size, part).items()
        return {**self.clips(step, size, part), **{SAMPLE_PREFIX + k: v for k, v in samples}}


class CompactSubgoalLearner(nn.Module):
    """The compact network under training: renderer and keypoint predictor, each with its own loss."""

    def __init__(
        self,
        config: CompactSubgoalConfig,
        dropout: Dropout | None = None,
        attention_weight: float = 0.05,
        augment: bool = True,
    ) -> None:
        """Build the network. For the arguments see `training.subgoals.SubgoalTrainConfig`."""
        super().__init__()
        self.net = CompactSubgoalNet(config)
        self.dropout = dropout or Dropout()
        self.attention_weight = attention_weight
        self.augmentation: tuple[Transform, ...] = AUGMENTATION if augment else ()

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the image loss and, where there is a predictor, the keypoint loss."""
        image_loss, metrics = self.image_loss(batch, generator)
        if self.net.keypoint_predictor is None:
            return image_loss, metrics
        keypoint_loss, more = self.keypoint_loss(with_keypoint_samples(batch), generator)
        return image_loss + KEYPOINT_LOSS_WEIGHT * keypoint_loss, metrics | more

    def image_loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error of the clean image, relative to its uncertainty.

        Most samples are conditioned on the true future keypoints.
        """
        observation, subgoal = (
            self.net.downsample(pixels(batch[k])) for k in ("observation", "subgoal")
        )
        n = len(subgoal)
        has_text, has_image = self.dropout.draw(n, generator)
        words = batch["words"] * has_text[:, None, None]
        points = batch["points"][:, :NUM_SUPERVISED]
        points = points.where((has_text & has_image)[:, None, None], torch.nan)
        encoded = self.net.encode(
            observation * has_image[:, None, None, None],
            words,
            batch["ahead"],
            noisy_object_points(points[:, :2], generator),
        )
        known = _random_mask(n, KEYPOINTS_SHARE, generator)
        keypoints = batch["future_points"].where(known[:, None, None], torch.nan)
        encoded = self.net.add_keypoints(encoded, keypoints)
        angle = stratified_angles(n, generator)
        noise = draws.randn(subgoal.shape, generator)
        a, s = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        clean, scale = self.net.denoise(a * subgoal + s * noise, angle, encoded)
        error = clean - subgoal
        loss = (error.square() / (scale.square() + PIXEL_TOLERANCE**2)).mean()
        attention = attention_loss(encoded.log_attention[:, :NUM_SUPERVISED], points)
        pixel_error = error.detach().square().mean().sqrt()
        metrics = {"image": loss, "attention": attention, "pixel_error": pixel_error}
        return loss + self.attention_weight * attention, metrics

    def keypoint_loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative log-likelihood of future keypoints plus the errors in locating current ones."""
        assert self.net.keypoint_predictor is not None
        if self.augmentation:
            batch = mirror(batch, generator)
        observation, points, future = augment(batch, self.augmentation, generator)
        object_points = noisy_object_points(points[:, :2], generator)
        known = _random_mask(len(points), STATES_SHARE, generator)
        states = batch["states"].where(known[:, None], torch.nan)
        predictions = self.net.keypoint_predictor(
            observation, batch["words"], batch["ahead"], object_points, states
        )
        nll = predictions.nll(future).mean()
        attention = attention_loss(
            predictions.log_attention[:, :NUM_SUPERVISED], points[:, :NUM_SUPERVISED]
        )
        current = points[:, PREDICTED_POINTS]
        error = (predictions.current - current.nan_to_num()).abs() * ~current.isnan()
        current_error = error.mean()
        best = predictions.cluster_mean(predictions.cluster_p().argmax(1))[:, 0] - future[:, 0]
        metrics = {
            "keypoint_nll": nll,
            "keypoint_attention": attention,
            "current_error": current_error,
            "gripper_error": best.detach().norm(dim=-1).nanmedian(),
        }
        return nll + 5 * self.attention_weight * attention + current_error, metrics


class SusieLearner(nn.Module):
    """The U-Net of an InstructPix2Pix model under fine-tuning; text encoder and autoencoder are frozen."""

    words: Float[Tensor, "u l d"] | None

    def __init__(
        self, model: InstructPix2Pix, instructions: Sequence[str], dropout: Dropout | None = None
    ) -> None:
        """Take the instructions that a batch's `row` indexes; a few are embedded once, many anew in every batch."""
        from diffusers import DDPMScheduler

        super().__init__()
        self.model = model
        self.model.unet.requires_grad_(True)
        self.dropout = dropout or Dropout()
        self.scheduler = DDPMScheduler.from_config(model.noise_schedule)
        self.instructions = (*instructions, "")
        words = None
        if len(instructions) <= MAX_EMBEDDED:
            with torch.no_grad():
                words = torch.cat([model.words([text]) for text in self.instructions])
        self.register_buffer("words", words, persistent=False)

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error of the scheduler's `prediction_type`, usually the noise."""
        has_text, has_image = self.dropout.draw(len(batch["row"]), generator)
        with torch.no_grad():
            context = self.model.context(pixels(batch["observation"]))
            clean = self.model.encode(pixels(batch["subgoal"]), generator)
        context = context * has_image[:, None, None, None]
        words = self._words(batch["row"].where(has_text, -1))
        noise = draws.randn(clean.shape, generator)
        steps = self.scheduler.config.num_train_timesteps
        timestep = draws.randint(steps, (len(clean),), generator)
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        target = self._target(clean, noise, timestep)
        loss = (self.model.denoise(noisy, timestep, (context, words)) - target).square().mean()
        return loss, {}

    @torch.no_grad()
    def _words(self, rows: Tensor) -> Tensor:
        if self.words is not None:
            return self.words[rows]
        return self.model.words([self.instructions[i] for i in rows.tolist()])

    def _target(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.scheduler.get_velocity(clean, noise, timestep)
            return velocity
        return clean if kind == "sample" else noise


def with_keypoint_samples(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Replace SAMPLES_SHARE of the clips' samples by keypoint samples, where the batch has them."""
    samples = {
        k.removeprefix(SAMPLE_PREFIX): v for k, v in batch.items() if k.startswith(SAMPLE_PREFIX)
    }
    count = round(SAMPLES_SHARE * len(batch["ahead"])) if samples else 0
    return {**batch, **{k: torch.cat([v[:count], batch[k][count:]]) for k, v in samples.items()}}


def mirror(batch: Mapping[str, Tensor], generator: torch.Generator) -> Mapping[str, Tensor]:
    """Mirror the images, keypoints and states of random samples left to right."""
    flip = _random_mask(len(batch["ahead"]), MIRRORED_SHARE, generator) & ~batch["sided"]
    sign = batch["points"].new_tensor([-1, 1])
    predicted = [PREDICTED_POINTS.index(_MIRRORED_POINTS[k]) for k in PREDICTED_POINTS]
    states = batch["states"].clone()
    states[:, _MIRRORED_STATE] *= -1
    mirrored = {
        "observation": batch["observation"].flip(2),
        "points": batch["points"][:, _MIRRORED_POINTS] * sign,
        "future_points": batch["future_points"][:, predicted] * sign,
        "states": states,
    }
    chosen = {
        k: v.where(flip.reshape(-1, *[1] * (v.ndim - 1)), batch[k]) for k, v in mirrored.items()
    }
    return {**batch, **chosen}


def augment(
    batch: Mapping[str, Tensor], transforms: Sequence[Transform], generator: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n k 2"], Float[Tensor, "n f 2"]]:
    """Return observations in [-1, 1], `points` and `future_points` after random transforms."""
    image, points = batch["observation"].float() / 255, batch["points"]
    recolored = any(isinstance(t, TableColor) for t in transforms)
    sample = {
        "image": image,
        "points": torch.cat([points, batch["future_points"]], 1),
        "draws": draws.rand((len(image), DRAWS if recolored else _FEW_DRAWS), generator),
    }
    with torch.autocast(image.device.type, enabled=False):
        for transform in transforms:
            sample = transform.train(sample)
    count = points.shape[1]
    return (
        2 * sample["image"].permute(0, 3, 1, 2).contiguous() - 1,
        sample["points"][:, :count],
        sample["points"][:, count:],
    )


def pixels(images: Tensor) -> Float[Tensor, "n 3 h w"]:
    """Map uint8 images to [-1, 1], with contiguous channels, which is faster here in bf16."""
    return images.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def stratified_angles(n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Draw angles of the noise schedule, stratified, denser towards more noise.

    The few sampling steps that CPUs afford decide nearly everything there.
    """
    return MIN_ANGLE + (MAX_ANGLE - MIN_ANGLE) * draws.stratified(n, generator).sqrt()


def _random_mask(n: int, share: float, generator: torch.Generator) -> Bool[Tensor, " n"]:
    return draws.rand((n,), generator) < share


def noisy_object_points(
    points: Float[Tensor, "n 2 2"], generator: torch.Generator
) -> Float[Tensor, "n 2 2"]:
    """Simulate a locator: the points with noise, NaN for a random share of the samples."""
    given = _random_mask(len(points), OBJECT_POINTS_SHARE, generator)
    error = draws.randn(points.shape, generator)
    return (points + OBJECT_POINTS_STD * error).where(given[:, None, None], torch.nan)
