"""Errors of predicted keypoints in states that the system itself got into, against a scripted expert's continuation.

Uses the simulator's truth; for measuring only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.keypoint_samples import KeypointSampleConfig, Sample, dagger_samples
from soar.sim.scenes.spec import Scene
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.subgoals.compact.observation_encoder import GRIPPER, OBJECT
from soar.tasks.grammar import parse_instruction
from soar.training.keypoint_samples import MIN_STEPS_AHEAD
from soar.types import Observation

_NEAR = 0.2
"""Distance in the image below which a gripper is near the named object [half an image]; about 5 cm."""
_BATCH_SIZE = 64


@dataclass(frozen=True)
class KeypointScore:
    """Errors of some predictions, in half images. Medians, as they have long tails."""

    states: int
    """Number of states."""
    gripper: float
    """Distance of the predicted gripper from the expert's."""
    gripper_missed: float
    """Share of grippers off by more than 0.2."""
    object: float
    """Distance of the predicted object from where the expert brings it."""
    gripper_near: float
    """As `gripper`, for grippers near the named object."""
    step_ratio: float
    """Length of the predicted step relative to the expert's, for grippers near the named object."""


def system_samples(
    scene: Scene, attempts: int, models: tuple[Policy, SubgoalGenerator], seed: int
) -> list[Sample]:
    """Return the states in which a system requested subgoals for random tasks, with the expert's keypoints."""
    config = KeypointSampleConfig()
    return [
        sample
        for attempt in range(attempts)
        for sample in dagger_samples(scene, seed + attempt, models, config)
    ]


def score_keypoints(
    generator: CompactSubgoalGenerator, samples: Sequence[Sample], seed: int = 0
) -> KeypointScore:
    """Score the keypoints that a generator draws for each state."""
    rng, drawn = np.random.default_rng(seed), []
    for first in range(0, len(samples), _BATCH_SIZE):
        batch = samples[first : first + _BATCH_SIZE]
        observations = [Observation(s.images, s.states, 0.0) for s in batch]
        tasks = [parse_instruction(s.instructions) for s in batch]
        drawn.append(generator.sample_keypoints(observations, tasks, rng)[:, :2])
    now = np.stack([s.points for s in samples])
    ahead = generator.steps_ahead - MIN_STEPS_AHEAD
    later = np.stack([s.later[ahead] for s in samples])
    return _score(np.concatenate(drawn), now, later)


def _score(
    drawn: Float[np.ndarray, "n 2 2"],
    now: Float[np.ndarray, "n 7 2"],
    later: Float[np.ndarray, "n 7 2"],
) -> KeypointScore:
    """Score gripper and object, in this order in `drawn`."""
    gripper, thing = (
        np.linalg.norm(drawn[:, i] - later[:, of], axis=1) for i, of in enumerate((GRIPPER, OBJECT))
    )
    near = np.linalg.norm(now[:, GRIPPER] - now[:, OBJECT], axis=1) < _NEAR
    steps = [np.linalg.norm(p - now[:, GRIPPER], axis=1) for p in (drawn[:, 0], later[:, GRIPPER])]
    return KeypointScore(
        states=len(now),
        gripper=float(np.nanmedian(gripper)),
        gripper_missed=float(np.mean(gripper[~np.isnan(gripper)] > 0.2)),
        object=float(np.nanmedian(thing)),
        gripper_near=float(np.nanmedian(gripper[near])),
        step_ratio=float(np.nanmedian(steps[0][near]) / np.nanmedian(steps[1][near])),
    )
