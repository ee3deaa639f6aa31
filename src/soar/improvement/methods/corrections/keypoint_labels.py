"""What a robot's own episodes, failed ones too, teach its imagination about its own camera and scene.

From each frame up to a grasp follows how an able hand would go on (`soar.improvement.methods.corrections.planner`), and where everything would be
seen a little later: the same moments that the imagination was taught with, of the scene it works in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.attempts import Attempt, PlaceReader
from soar.improvement.methods.corrections.motion_plan import (
    MotionPlan,
    PickPlaceTarget,
    plan_motion,
)
from soar.improvement.methods.corrections.planner import EVERY, CorrectionPlanner
from soar.nn.text import SentenceEncoder
from soar.subgoals.clips import WORDS
from soar.training.keypoint_samples import LATEST, SOONEST, KeypointSamples, is_sided
from soar.utils.progress import progress_bar

_LATE = 1
"""An arm is so many steps behind its plan's first, gentle ones."""
_TIPS = slice(2, 4)
"""Of what is foreseen."""


def keypoint_labels(frames: Frames, reader: PlaceReader, seed: int = 0) -> KeypointSamples:
    """Moments of some episodes before one camera, of the resolution that foresight sees.

    Args:
        frames: all episodes, failures too, of one scene.
        reader: finds the named things, and reads where the arm is seen.

    Raises:
        ConfigError: too little was tried, or nothing was ever held.
    """
    coach = CorrectionPlanner(frames, reader, seed)
    rows: list[_Row] = []
    with progress_bar() as bar:
        line = bar.add_task("episodes to learn from", total=len(coach.attempts), note="")
        for attempt in bar.track(coach.attempts, task_id=line):
            rows += _lessons(coach, attempt)
    return _assemble(rows, frames)


class _Row(NamedTuple):
    frame: int
    points: Float64[np.ndarray, "7 2"]
    later: Float64[np.ndarray, "k 7 2"]
    instruction: str


def _lessons(coach: CorrectionPlanner, attempt: Attempt) -> list[_Row]:
    """Moments on the way to the thing and, where that succeeded, with the thing in the hand."""
    errand = coach.errand(attempt)
    if errand is None:
        return []
    rows = [
        _row(coach, attempt, t, plan_motion(attempt.states[t], errand, False), errand)
        for t in range(0, attempt.untouched, EVERY)
    ]
    if attempt.good and attempt.release is not None:
        for t in range(attempt.held[0].start + 2, attempt.held[0].end, EVERY):
            path = plan_motion(attempt.states[t], errand._replace(width=attempt.states[t, 6]), True)
            rows.append(_row(coach, attempt, t, path, errand))
    return rows


def _row(
    coach: CorrectionPlanner, attempt: Attempt, t: int, path: MotionPlan, errand: PickPlaceTarget
) -> _Row:
    """What is seen at a frame, and what would be seen if the plan were followed."""
    at = np.arange(SOONEST, LATEST + 1) + _LATE
    past, at = at >= len(path.states), np.minimum(at, len(path.states) - 1)
    now = coach.view(path.states[:1])[0]
    then = coach.foresees(attempt, errand, path, at)
    if errand.drop is None:
        then[past] = np.nan
    if not attempt.good:
        then[:, _TIPS] = np.nan  # how the hand should have been turned isn't known
    container = np.broadcast_to(attempt.found[1], (len(at), 1, 2))
    here = coach.foresees(attempt, errand, path, np.array([0]))[0, 1]
    return _Row(
        attempt.first + t,
        np.stack([here, attempt.found[1], *now]),
        np.concatenate([then[:, 1:2], container, then[:, :1], then[:, 2:]], 1),
        attempt.instruction,
    )


def _assemble(rows: Sequence[_Row], frames: Frames) -> KeypointSamples:
    if not rows:
        raise ConfigError("no episode shows where a thing was: there is nothing to learn from")
    names = sorted({r.instruction for r in rows})
    at = np.array([r.frame for r in rows])
    which = np.array([names.index(r.instruction) for r in rows])
    return KeypointSamples(
        images=np.asarray(frames.images[at]),
        points=np.stack([r.points for r in rows]).astype(np.float32),
        later=np.stack([r.later for r in rows]).astype(np.float32),
        states=np.asarray(frames.states[at]),
        words=SentenceEncoder().tokens(names, WORDS).half().numpy(),
        rows=which,
        sided=np.array([is_sided(names[i]) for i in which]),
    )
