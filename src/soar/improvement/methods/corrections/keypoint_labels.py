"""Keypoint labels of a station's own episodes, failures included, for fine-tuning the subgoal generator.

Each frame up to a grasp is labeled with the continuation of a scripted plan (`planner`) and the image positions of all
keypoints some control steps later: the same samples as in pretraining, in the scene the generator works in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.attempts import Attempt, KeypointReader
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.motion_plan import MotionPlan, PickPlaceTarget
from soar.improvement.methods.corrections.planner import CorrectionPlanner
from soar.nn.text import SentenceEncoder
from soar.subgoals.clips import MAX_TOKENS
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointSamples,
    mentions_side,
)
from soar.utils.progress import progress_bar

_PREDICTED_TIPS = slice(2, 4)
"""The fingertips among the predicted keypoints."""


def keypoint_labels(
    frames: Frames, reader: KeypointReader, config: CorrectionsConfig
) -> KeypointSamples:
    """Label the episodes of one scene with future keypoints.

    Args:
        frames: all episodes of one scene, failures included, at the keypoint predictor's resolution.
        reader: reads the image positions of named objects and of the arm.
        config: constants.

    Raises:
        ConfigError: there are too few attempts, or nothing was ever held.
    """
    planner = CorrectionPlanner(frames, reader, config, config.subgoal_grasp_height)
    rows: list[_Row] = []
    with progress_bar() as bar:
        line = bar.add_task("episodes to label", total=len(planner.attempts), note="")
        for attempt in bar.track(planner.attempts, task_id=line):
            rows += _label(planner, attempt)
    return _assemble(rows, frames)


class _Row(NamedTuple):
    frame: int
    points: Float64[np.ndarray, "7 2"]
    later: Float64[np.ndarray, "k 7 2"]
    instruction: str


def _label(planner: CorrectionPlanner, attempt: Attempt) -> list[_Row]:
    """Label the frames before the grasp and, where the attempt succeeded, those in which the object is held."""
    target, c = planner.target(attempt), planner.config
    if target is None:
        return []
    rows = [
        _row(planner, attempt, t, planner.motion.plan(attempt.states[t], target, False), target)
        for t in range(0, attempt.untouched_frames, c.frame_stride)
    ]
    if attempt.succeeded and attempt.release is not None:
        held = attempt.held[0]
        for t in range(held.start + c.gripper_steps, held.end, c.frame_stride):
            carried = target._replace(width=attempt.states[t, 6])
            plan = planner.motion.plan(attempt.states[t], carried, True)
            rows.append(_row(planner, attempt, t, plan, target))
    return rows


def _row(
    planner: CorrectionPlanner, attempt: Attempt, t: int, plan: MotionPlan, target: PickPlaceTarget
) -> _Row:
    """Return the keypoints in a frame, and those to come if the plan were followed."""
    steps = np.arange(MIN_STEPS_AHEAD, MAX_STEPS_AHEAD + 1) + planner.config.delay_steps
    beyond, steps = steps >= len(plan.states), np.minimum(steps, len(plan.states) - 1)
    now = planner.projection(plan.states[:1])[0]
    then = planner.predict(attempt, target, plan, steps)
    if target.release is None:
        then[beyond] = np.nan
    if not attempt.succeeded:
        then[:, _PREDICTED_TIPS] = np.nan  # the right yaw is unknown
    container = np.broadcast_to(attempt.positions[1], (len(steps), 1, 2))
    here = planner.predict(attempt, target, plan, np.array([0]))[0, 1]
    return _Row(
        attempt.first_frame + t,
        np.stack([here, attempt.positions[1], *now]),
        np.concatenate([then[:, 1:2], container, then[:, :1], then[:, 2:]], 1),
        attempt.instruction,
    )


def _assemble(rows: Sequence[_Row], frames: Frames) -> KeypointSamples:
    if not rows:
        raise ConfigError("no episode shows where an object was: there is nothing to learn from")
    names = sorted({r.instruction for r in rows})
    frame_indices = np.array([r.frame for r in rows])
    name_indices = np.array([names.index(r.instruction) for r in rows])
    return KeypointSamples(
        images=np.asarray(frames.images[frame_indices]),
        points=np.stack([r.points for r in rows]).astype(np.float32),
        later=np.stack([r.later for r in rows]).astype(np.float32),
        states=np.asarray(frames.states[frame_indices]),
        words=SentenceEncoder().tokens(names, MAX_TOKENS).half().numpy(),
        rows=name_indices,
        sided=np.array([mentions_side(names[i]) for i in name_indices]),
    )
