"""The compact subgoal generator: a small pixel-space diffusion model for 64-pixel images on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.errors import ConfigError
from soar.interfaces import VisionLanguageModel
from soar.nn.heatmaps import local_softargmax
from soar.nn.text import SentenceEncoder
from soar.registry import COMPACT, COMPACT_STEPS_AHEAD, load_subgoals, subgoals_spec
from soar.subgoals.clips import MAX_TOKENS
from soar.subgoals.compact.keypoint_predictor import KeypointPredictions
from soar.subgoals.compact.network import MAX_ANGLE, MIN_ANGLE, CompactSubgoalNet, Conditioning
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
from soar.tasks.grammar import parse_instruction
from soar.tasks.second_vote import surely_done
from soar.types import Images, Observation, Task
from soar.utils.hardware import choose_device, choose_precision
from soar.utils.media import resize

KIND = "subgoals"
"""Kind of the checkpoints."""
FINETUNED_FROM = "finetuned_from"
"""Key in the provenance of a generator fine-tuned on own episodes: the id of the checkpoint before."""
FAST = SamplerConfig("ddim", steps=2, image_guidance=1.0, text_guidance=1.0)
"""Default sampler. With predicted keypoints, more steps or guidance only add noise (docs/log.md)."""
TEMPERATURE = 0.1
"""Sampling temperature of the keypoint hypotheses."""
NUM_TIMESTEPS = 1000
"""Time steps of the noise schedule as diffusers counts them; the network itself takes angles."""
_AGREEMENT_RADIUS = 0.2
"""Distance up to which the network's own, more exact location replaces the locator's [half an image]."""
_BATCH_SIZE = 64
_DONE_P = 0.9
"""Probability of each of two answers from which a task is surely done."""
_OPEN_GRIPPER = 0.5
"""Least opening of a hand that holds nothing."""


@runtime_checkable
class ObjectLocator(Protocol):
    """A model that finds named objects in images."""

    def point(self, images: Images, tasks: Sequence[Task]) -> Float32[np.ndarray, "n 2 2"]:
        """Return x and y in [-1, 1] of the object and of the container that each task names; NaN for none."""


class CompactSubgoalGenerator:
    """The compact network as a `SubgoalGenerator` (paper, section 3, component 2)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampler: SamplerConfig = FAST,
        steps_ahead: int = COMPACT_STEPS_AHEAD,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        locator: ObjectLocator | None = None,
        judge: VisionLanguageModel | None = None,
    ) -> None:
        """Build the network and load its weights.

        Args:
            checkpoint: of kind `KIND`.
            sampler: scheduler, steps and guidance.
            steps_ahead: control steps from the observation to the subgoal.
            device, precision: "auto" picks them for this machine.
            locator: locates the named objects; without it the network does so itself, less reliably.
            judge: says when a task is done, so that an open hand rests; without it, it always goes on.
        """
        self.name = f"compact {checkpoint.id}"
        self.sampler = sampler
        self.steps_ahead = steps_ahead
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        with checkpoints.building(checkpoint):
            net = checkpoint.config["net"]
            self.net = CompactSubgoalNet(checkpoint.model_config(CompactSubgoalConfig, net))
        checkpoints.load_weights(self.net, checkpoint)
        self.net.to(self.device).eval().requires_grad_(False)
        self.locator, self.judge = locator, judge
        self.finetuned = FINETUNED_FROM in checkpoint.provenance
        self._encoder = SentenceEncoder()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        steps_ahead: int = COMPACT_STEPS_AHEAD,
        device: str = "auto",
        locator: ObjectLocator | None = None,
        judge: VisionLanguageModel | None = None,
    ) -> CompactSubgoalGenerator:
        """Load a checkpoint's folder. Raises CheckpointError."""
        checkpoint = checkpoints.load(folder, KIND)
        return cls(checkpoint, steps_ahead=steps_ahead, device=device, locator=locator, judge=judge)

    @property
    def resolution(self) -> int:
        """Side of the generated images [pixels]."""
        return self.net.config.resolution

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Generate one image for each observation and its task.

        Where the judge is sure that the task is done and the hand is open, it is the present image: the network doesn't
        know when to rest, and opens a drawer only to close it again (docs/log.md, twenty-seventh session).
        """
        generated = self._generate(observations, tasks, rng)
        if self.judge is None:
            return generated
        images = [o.image for o in observations]
        rests = surely_done(self.judge, images, tasks, _DONE_P)
        rests &= np.array([o.state[-1] for o in observations]) > _OPEN_GRIPPER
        for i in rests.nonzero()[0]:
            generated[i] = resize(images[i], self.resolution)
        return generated

    def generate_from_futures(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        futures: Sequence[Observation],
        rng: np.random.Generator,
    ) -> Images:
        """Generate with the keypoints that are read in each future, in place of predicted ones."""
        if self.net.keypoint_predictor is None:
            return self._generate(observations, _tasks(instructions), rng)
        keypoints = self.predict_keypoints(futures, instructions).current
        return self.render(observations, instructions, np.asarray(keypoints.float().cpu()), rng)

    def render(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        keypoints: Float[np.ndarray, "n f 2"],
        rng: np.random.Generator,
    ) -> Images:
        """Generate with given future keypoints (`keypoint_predictor.PREDICTED_POINTS`), x and y in [-1, 1]."""
        given = torch.from_numpy(np.asarray(keypoints, np.float32)).to(self.device)
        return self._generate(observations, _tasks(instructions), rng, given)

    def _generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        keypoints: Float[Tensor, "n f 2"] | None = None,
    ) -> Images:
        instructions = [task.instruction for task in tasks]
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        noise = torch.randn(len(observations), 3, *[self.resolution] * 2, generator=generator)
        object_points = self._object_points(observations, tasks)
        if keypoints is None and self.net.keypoint_predictor is not None:
            predictions = self.predict_keypoints(observations, instructions, object_points)
            keypoints = _sample_keypoints(predictions, generator)
        scheduler = copy(_scheduler(self.sampler.scheduler))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            images = self._to_tensor(observations, self.resolution)
            conditions = self.conditions(images, instructions, object_points, keypoints)
            start = noise.to(self.device)
            pixels = sample(self.denoise, start, conditions, scheduler, self.sampler)
        return to_images(pixels)

    def sample_keypoints(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Float32[np.ndarray, "n f 2"]:
        """Draw future keypoints (`keypoint_predictor.PREDICTED_POINTS`) as `generate` does, x and y in [-1, 1]."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        instructions = [task.instruction for task in tasks]
        points = self._object_points(observations, tasks)
        predictions = self.predict_keypoints(observations, instructions, points)
        return np.asarray(_sample_keypoints(predictions, generator).float().cpu())

    @torch.inference_mode()
    def predict_keypoints(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        object_points: Float32[Tensor, "n 2 2"] | None = None,
    ) -> KeypointPredictions:
        """Predict the keypoints `steps_ahead` control steps later.

        `object_points`: current x and y in [-1, 1] of the named object and container, NaN where unknown.
        """
        assert self.net.keypoint_predictor is not None
        states = torch.from_numpy(np.stack([o.state for o in observations])).to(self.device)
        predictions: KeypointPredictions = self.net.keypoint_predictor(
            self._to_tensor(observations, self.net.config.input_resolution),
            *self._text_inputs(instructions),
            object_points,
            states,
        )
        return predictions

    @torch.inference_mode()
    def conditions(
        self,
        images: Float32[Tensor, "n 3 h w"],
        instructions: Sequence[str],
        object_points: Float32[Tensor, "n 2 2"] | None = None,
        keypoints: Float[Tensor, "n f 2"] | None = None,
    ) -> Conditions:
        """Encode the denoiser's condition in the forms that the sampler's guidance needs.

        Args:
            images: observations in [-1, 1], of the generated images' size.
            instructions: one for each.
            object_points: as in `predict_keypoints`.
            keypoints: future keypoints; None leaves them to the renderer.
        """
        encoded = self.net.encode(images, *self._text_inputs(instructions), object_points)
        if keypoints is not None:
            encoded = self.net.add_keypoints(encoded, keypoints)
        none, image, _ = branch_weights(self.sampler)
        no_text = self._text_inputs([""] * len(instructions))
        return Conditions(
            none=tuple(self.net.encode(torch.zeros_like(images), *no_text)) if none else (),
            image=tuple(self.net.encode(images, *no_text)) if image else (),
            image_and_text=tuple(encoded),
        )

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], timestep: Tensor, condition: Condition
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the expected clean image."""
        angles = torch.linspace(MIN_ANGLE, MAX_ANGLE, NUM_TIMESTEPS, device=noisy.device)
        angle = angles[timestep.long()].expand(len(noisy))
        clean, _ = self.net.denoise(noisy, angle, Conditioning(*condition))
        return clean

    def locate_objects(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """Locate the object and the container that each instruction names: x and y in [-1, 1], NaN for none.

        The locator identifies the objects; the network's own location is used where it is near the locator's.
        """
        parts = []
        for k in range(0, len(observations), _BATCH_SIZE):
            batch = (observations[k : k + _BATCH_SIZE], instructions[k : k + _BATCH_SIZE])
            given = self._locator_points(batch[0], _tasks(batch[1]))
            own = self._attended_points(*batch)
            parts.append(own if given is None else _refined(own, given))
        return np.asarray(torch.cat(parts).float().cpu())

    def read_keypoints(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n f 2"]:
        """Estimate the current keypoints (`keypoint_predictor.PREDICTED_POINTS`), x and y in [-1, 1]."""
        parts = []
        for k in range(0, len(observations), _BATCH_SIZE):
            batch = (observations[k : k + _BATCH_SIZE], instructions[k : k + _BATCH_SIZE])
            parts.append(self.predict_keypoints(*batch).current)
        return np.asarray(torch.cat(parts).float().cpu())

    def _object_points(
        self, observations: Sequence[Observation], tasks: Sequence[Task]
    ) -> Float32[Tensor, "n 2 2"] | None:
        """Return the locator's points, after fine-tuning refined as in `locate_objects`."""
        given = self._locator_points(observations, tasks)
        if given is None or not self.finetuned:
            return given
        return _refined(self._attended_points(observations, [t.instruction for t in tasks]), given)

    def _locator_points(
        self, observations: Sequence[Observation], tasks: Sequence[Task]
    ) -> Float32[Tensor, "n 2 2"] | None:
        if self.locator is None:
            return None
        points = self.locator.point(np.stack([o.image for o in observations]), tasks)
        return torch.from_numpy(points).to(self.device)

    def _attended_points(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[Tensor, "n 2 2"]:
        """Return the object and the container as the keypoint predictor locates them without a locator."""
        predictions = self.predict_keypoints(observations, instructions)
        log_attention = predictions.log_attention[:, CONTAINER : CONTAINER + 1].float()
        container = local_softargmax(log_attention.argmax(-1), log_attention)
        return torch.cat([predictions.current[:, 1:2].float(), container], 1)

    def _to_tensor(
        self, observations: Sequence[Observation], side: int
    ) -> Float32[Tensor, "n 3 s s"]:
        images = resize(np.stack([o.image for o in observations]), side)
        return to_tensor(images).contiguous().to(self.device)

    def _text_inputs(
        self, instructions: Sequence[str]
    ) -> tuple[Float[Tensor, "n l e"], Float[Tensor, " n"]]:
        """Return the instructions' token embeddings, and `steps_ahead` for each."""
        words = self._encoder.tokens(instructions, MAX_TOKENS).to(self.device)
        return words, torch.full((len(words),), float(self.steps_ahead), device=self.device)


def _tasks(instructions: Sequence[str]) -> list[Task]:
    """Tasks of recorded episodes, which name them by their instructions."""
    return [parse_instruction(instruction) for instruction in instructions]


def _refined(own: Float[Tensor, "n 2 2"], given: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n 2 2"]:
    """Replace the given points by own ones where these are near."""
    near = (own - given).norm(dim=-1, keepdim=True) < _AGREEMENT_RADIUS
    return own.where(near, given)


def _sample_keypoints(
    predictions: KeypointPredictions, generator: torch.Generator
) -> Float[Tensor, "n f 2"]:
    """Draw one hypothesis for each sample by its cluster's probability, and average it with similar ones."""
    p = predictions.cluster_p().cpu() ** (1 / TEMPERATURE)
    chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
    return predictions.cluster_mean(chosen.to(predictions.log_p.device))


@cache
def _scheduler(name: SchedulerName) -> Any:
    """Make a scheduler once: it takes as long as a step of the network."""
    return make_scheduler(name, noise_schedule())


def noise_schedule() -> Mapping[str, Any]:
    """Return the network's noise schedule, with evenly spaced angles, as a config of diffusers' schedulers."""
    angles = torch.linspace(MIN_ANGLE, MAX_ANGLE, NUM_TIMESTEPS, dtype=torch.float64)
    kept = angles.cos().square()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    return {
        "num_train_timesteps": NUM_TIMESTEPS,
        "trained_betas": (1 - kept / before).tolist(),
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }


def to_checkpoint(net: CompactSubgoalNet, provenance: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of the network's current weights."""
    config = {"net": dataclasses.asdict(net.config)}
    return Checkpoint(KIND, dict(net.state_dict()), config, provenance=provenance)


def load_compact(name: str = COMPACT) -> CompactSubgoalGenerator:
    """Load a compact subgoal generator by name.

    Raises:
        ConfigError: the name stands for a generator of another kind.
    """
    if not subgoals_spec(name).is_compact:
        raise ConfigError(
            f"'{name}' is not a compact subgoal generator; valid: {COMPACT}, a folder"
        )
    return cast(CompactSubgoalGenerator, load_subgoals(name))
