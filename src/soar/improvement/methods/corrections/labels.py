"""What an able hand would have done in a robot's own frames, for its policy to learn: corrections.

As in DAgger (Ross et al. 2011) the states are the policy's own and the actions a better one's; here a plan's
(`soar.improvement.methods.corrections.planner`) instead of a person's. The goals are painted as the imagination would have painted where
the plan leads, so the policy learns what such pictures mean before this camera. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, UInt8

from soar.data.frame_cache import Frames, build_frames
from soar.data.mixture import CORRECTIONS, Source
from soar.data.relabel import NEXT
from soar.data.store.lance import LanceStore
from soar.errors import ConfigError
from soar.improvement.methods.corrections.attempts import Attempt, PlaceReader
from soar.improvement.methods.corrections.motion_plan import (
    MotionPlan,
    PickPlaceTarget,
    plan_motion,
    retreat,
)
from soar.improvement.methods.corrections.planner import CorrectionPlanner, from_each_scene
from soar.utils.trajectories import MotionConfig
from soar.subgoals.compact.generator import load_compact
from soar.types import Images, Observation, Query
from soar.utils.media import resize
from soar.utils.progress import progress_bar

CORRECTED = 0.3
"""Share of the samples, the rest being demonstrations, with which it was measured (docs/log.md)."""
_SPAN = (6, 14)
"""Fewest and most control steps from a frame to what its goal shows."""
_APART_M, _APART_RAD = 0.012, 0.1
"""Frames less far apart than both are of a hand that waits: one of them is enough."""
_WAITING = 0.15
"""Share that is learned from of the frames in which an empty hand is closed, or one that is done waits."""
_BOLD_M = MotionConfig().step_m
"""Pace that every plan goes on with: a hand that was slow shouldn't be."""
_UNSURE_M = 0.04
"""Nearer than this to where a thing is thought to be, a failed attempt doesn't say what was right."""
_RISES_M = 0.004
"""An open hand that should rise first stands low beside the thing: what it should do hangs on centimetres."""
_CLOSINGS = 4
"""Goals for each of the two frames in which a hand rightly closed: there are few, and they decide."""
_LOW = 0.2
"""Quantile of the heights of hands that held something, which is aimed at: lower ones hold it better (docs/log.md)."""
_HIGH_M = 0.012
"""So far above where good hands close, one should have gone lower first, though it held the thing."""
_OPEN = 0.8
_AT_ONCE = 32


@runtime_checkable
class SubgoalRenderer(PlaceReader, Protocol):
    """Reads places and paints them; `soar.subgoals.compact.generator.CompactSubgoals` does."""

    def picture(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        places: Float[np.ndarray, "n f 2"],
        rng: np.random.Generator,
    ) -> Images:
        """What each observation would look like with everything at those places."""


class _Row(NamedTuple):
    frame: int
    action: Float64[np.ndarray, "7"]
    then: Float64[np.ndarray, "7"]
    """The state that the goal shows."""
    places: Float64[np.ndarray, "f 2"]
    instruction: str


def make_corrections(
    store: LanceStore,
    queries: Sequence[Query],
    subgoals: str,
    cache: Path,
    resolution: int,
    workers: int | None = None,
) -> list[Frames]:
    """Corrections of the episodes of some scenes, for each scene of which anything is known.

    Args:
        queries: for each scene, its episodes, failures too.
        subgoals: the compact imagination that reads and paints, as `soar.registry` names it.
        cache: folder for the decoded episodes.
        resolution: see `own_corrections`.

    Raises:
        ConfigError: in no scene is anything known of where things were.
    """
    imagination = load_compact(subgoals)
    sight = imagination.net.config.sight
    episodes = [build_frames(store, q, sight, cache, workers) for q in queries]
    make = partial(own_corrections, imagination=imagination, resolution=resolution)
    return from_each_scene(make, episodes)


def correction_sources(scenes: Sequence[Frames], share: float) -> list[Source]:
    """Corrections as a share of a mixture, in which each scene counts as much as it has of them."""
    whole = sum(len(f) for f in scenes)
    names = [CORRECTIONS if len(f) == whole else f"{CORRECTIONS}-{i}" for i, f in enumerate(scenes)]
    return [
        Source(name, f, share * len(f) / whole, NEXT) for name, f in zip(names, scenes, strict=True)
    ]


def own_corrections(
    frames: Frames, imagination: SubgoalRenderer, resolution: int, seed: int = 0
) -> Frames:
    """Each correction as an episode of one step, whose last frame is its goal.

    Args:
        frames: all episodes, failures too, of one scene, at the resolution that foresight sees.
        imagination: reads where things are, and paints the goals.
        resolution: of the images in pixels, the policy's.

    Raises:
        ConfigError: too little was tried, or nothing was ever held.
    """
    coach = CorrectionPlanner(frames, imagination, seed, _LOW)
    rows: list[_Row] = []
    for attempt in coach.attempts:
        rows += _lessons(coach, attempt)
    if not rows:
        raise ConfigError("no episode shows what should have been done")
    at = np.array([r.frame for r in rows])
    images = resize(np.asarray(frames.images[at]), resolution)
    goals = resize(_painted(frames, rows, imagination, coach.rng), resolution)
    actions = np.stack([r.action for r in rows]).astype(np.float32)
    then = np.stack([r.then for r in rows]).astype(np.float32)
    episode = np.searchsorted(frames.starts, at, side="right") - 1
    return Frames(
        _in_turn(images, goals),
        _in_turn(np.asarray(frames.states[at]), then),
        _in_turn(actions, np.zeros_like(actions)),
        np.arange(len(rows) + 1) * 2,
        tuple(replace(frames.episodes[i], length=1) for i in episode),
        frames.version,
        frames.query,
    )


def _lessons(coach: CorrectionPlanner, attempt: Attempt) -> Iterator[_Row]:
    """Corrections of the way to the thing and, where that succeeded, of all that came then."""
    errand = coach.errand(attempt)
    if errand is None:
        return
    told = _told(attempt, coach.frames)
    yield from _reaching(coach, attempt, errand, told)
    if attempt.good:
        yield from _closing(coach, attempt, errand, told)
        if attempt.release is not None:
            yield from _carrying(coach, attempt, errand, told)


def _reaching(
    coach: CorrectionPlanner,
    attempt: Attempt,
    errand: PickPlaceTarget,
    told: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    for t in _apart(attempt, range(min(attempt.untouched, len(told) - 1))):
        state = attempt.states[t]
        is_open = state[6] > _OPEN
        if not is_open and coach.rng.random() > _WAITING:
            continue
        near = np.linalg.norm(errand.grasp[:2] - state[:2]) < _UNSURE_M
        path = plan_motion(told[t], errand, False, _BOLD_M)
        if (near and not attempt.good) or (is_open and path.action[2] > _RISES_M):
            continue
        yield from _row(coach, attempt, t, errand, path)


def _closing(
    coach: CorrectionPlanner,
    attempt: Attempt,
    errand: PickPlaceTarget,
    told: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    start, last = attempt.held[0].start, len(told) - 1
    for t in [t for t in (start, start + 1) if t < last] * _CLOSINGS:
        grasp = told[t, :3].copy()
        if grasp[2] > errand.grasp[2] + _HIGH_M:
            grasp[2] = errand.grasp[2]
        held = attempt.states[min(t + 3, last), 6]
        here = errand._replace(grasp=grasp, yaw=told[t, 5], width=held)
        yield from _row(
            coach, attempt, t, here, plan_motion(np.append(told[t, :6], 1.0), here, False)
        )


def _carrying(
    coach: CorrectionPlanner,
    attempt: Attempt,
    errand: PickPlaceTarget,
    told: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    """With the thing in the hand, and after it was let go."""
    first, end, last = attempt.held[0], attempt.held[-1].end, len(told) - 1
    for t in range(first.start + 2, first.end):
        carried = errand._replace(width=attempt.states[t, 6])
        yield from _row(coach, attempt, t, carried, plan_motion(told[t], carried, True, _BOLD_M))
    for t in range(end - 1, min(end + 1, last)):
        here = errand._replace(drop=told[t, :3], width=attempt.states[end - 1, 6])
        yield from _row(coach, attempt, t, here, plan_motion(told[t], here, True))
    moving = set(_apart(attempt, range(end, last)))
    for t in range(end, last):
        if t in moving or coach.rng.random() < _WAITING:
            yield from _row(coach, attempt, t, errand, retreat(told[t], _BOLD_M))


def _row(
    coach: CorrectionPlanner, attempt: Attempt, t: int, errand: PickPlaceTarget, path: MotionPlan
) -> Iterator[_Row]:
    """A frame's correction, unless its goal would lie where the plan ends for want of knowledge."""
    later = int(coach.rng.integers(_SPAN[0], _SPAN[1] + 1)) - 1
    if later >= len(path.states) and errand.drop is None:
        return
    later = min(later, len(path.states) - 1)
    places = coach.foresees(attempt, errand, path, np.array([later]))[0]
    yield _Row(attempt.first + t, path.action, path.states[later], places, attempt.instruction)


def _told(attempt: Attempt, frames: Frames) -> Float64[np.ndarray, "t 7"]:
    """The states, but with the hand where it was told to be: the arm is always a little late."""
    told = attempt.states.copy()
    orders = frames.actions[attempt.first : attempt.first + len(told) - 1].astype(np.float64)
    for part in (slice(0, 3), slice(5, 6)):
        told[1:, part] = told[0, part] + np.cumsum(orders[:, part], 0)
    return told


def _apart(attempt: Attempt, frames: Iterable[int]) -> Iterator[int]:
    """Of some frames, the first and those in which the hand has moved on since the last."""
    last = None
    for t in frames:
        state = attempt.states[t]
        if last is not None:
            moved = np.abs(state - last)
            if moved[:3].max() < _APART_M and moved[5] < _APART_RAD:
                continue
        last = state
        yield t


def _painted(
    frames: Frames, rows: Sequence[_Row], imagination: SubgoalRenderer, rng: np.random.Generator
) -> UInt8[np.ndarray, "n r r 3"]:
    painted = []
    with progress_bar() as bar:
        line = bar.add_task("painting where plans lead", total=len(rows), note="")
        for k in range(0, len(rows), _AT_ONCE):
            some = rows[k : k + _AT_ONCE]
            seen = [Observation(frames.images[r.frame], frames.states[r.frame], 0.0) for r in some]
            places = np.stack([r.places for r in some])
            painted.append(imagination.picture(seen, [r.instruction for r in some], places, rng))
            bar.advance(line, len(some))
    return np.concatenate(painted)


def _in_turn(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One row of each, and so on."""
    return np.stack([one, other], 1).reshape(2 * len(one), *one.shape[1:])
