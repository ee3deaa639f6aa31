"""Corrected actions for the frames of a station's own episodes, for co-training its policy.

As in DAgger (Ross et al. 2011) the states are the policy's own and the actions a better policy's; here a scripted
plan's (`planner`) instead of a person's. Goals are rendered by the subgoal generator with the keypoints that the plan
leads to, so that the policy learns what such images mean before this camera. Not in the paper.
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
from soar.improvement.methods.corrections.attempts import Attempt, KeypointReader
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.motion_plan import MotionPlan, PickPlaceTarget
from soar.improvement.methods.corrections.planner import CorrectionPlanner, from_each_scene
from soar.subgoals.compact.generator import load_compact
from soar.types import Images, Observation, Query
from soar.utils.media import resize
from soar.utils.progress import progress_bar


@runtime_checkable
class SubgoalRenderer(KeypointReader, Protocol):
    """Reads keypoints and renders images with given ones; `CompactSubgoalGenerator` does."""

    def render(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        places: Float[np.ndarray, "n f 2"],
        rng: np.random.Generator,
    ) -> Images:
        """Return what each observation would look like with its keypoints at those positions."""


class _Row(NamedTuple):
    frame: int
    action: Float64[np.ndarray, "7"]
    goal_state: Float64[np.ndarray, "7"]
    keypoints: Float64[np.ndarray, "f 2"]
    """Image positions in the goal."""
    instruction: str


def make_corrections(
    store: LanceStore,
    queries: Sequence[Query],
    subgoals: str,
    cache: Path,
    resolution: int,
    config: CorrectionsConfig,
    workers: int | None = None,
) -> list[Frames]:
    """Return the corrections of every scene that can be labeled.

    Args:
        store: the episode store.
        queries: one for each scene, its episodes, failures included.
        subgoals: the compact subgoal generator that reads and renders, as `soar.registry` names it.
        cache: folder for the decoded episodes.
        resolution: see `correction_labels`.
        config: constants.
        workers: threads that decode episodes; one for each core when None.

    Raises:
        ConfigError: no scene can be labeled.
    """
    generator = load_compact(subgoals)
    pixels = generator.net.config.input_resolution
    episodes = [build_frames(store, q, pixels, cache, workers) for q in queries]
    label = partial(correction_labels, generator=generator, resolution=resolution, config=config)
    return from_each_scene(label, episodes)


def correction_sources(scenes: Sequence[Frames], share: float) -> list[Source]:
    """Return corrections as a share of a mixture, in which each scene counts by its number of frames."""
    total = sum(len(f) for f in scenes)
    names = [CORRECTIONS if len(f) == total else f"{CORRECTIONS}-{i}" for i, f in enumerate(scenes)]
    return [
        Source(name, f, share * len(f) / total, NEXT) for name, f in zip(names, scenes, strict=True)
    ]


def correction_labels(
    frames: Frames,
    generator: SubgoalRenderer,
    resolution: int,
    config: CorrectionsConfig,
) -> Frames:
    """Label the episodes of one scene with corrections, each an episode of one step whose last frame is its goal.

    Args:
        frames: all episodes of one scene, failures included, at the keypoint predictor's resolution.
        generator: reads keypoints and renders the goals.
        resolution: height and width of the labeled images in pixels, the policy's.
        config: constants.

    Raises:
        ConfigError: there are too few attempts, or nothing was ever held.
    """
    planner = CorrectionPlanner(frames, generator, config, config.policy_grasp_height)
    rows: list[_Row] = []
    for attempt in planner.attempts:
        rows += _label(planner, attempt)
    if not rows:
        raise ConfigError("no episode shows what should have been done")
    indices = np.array([r.frame for r in rows])
    images = resize(np.asarray(frames.images[indices]), resolution)
    goals = resize(_render(frames, rows, generator, planner), resolution)
    actions = np.stack([r.action for r in rows]).astype(np.float32)
    goal_states = np.stack([r.goal_state for r in rows]).astype(np.float32)
    return Frames(
        _interleave(images, goals),
        _interleave(np.asarray(frames.states[indices]), goal_states),
        _interleave(actions, np.zeros_like(actions)),
        np.arange(len(rows) + 1) * 2,
        tuple(replace(frames.episodes[i], length=1) for i in frames.episode_of(indices)),
        frames.version,
        frames.query,
    )


def _label(planner: CorrectionPlanner, attempt: Attempt) -> Iterator[_Row]:
    """Label the frames before the grasp and, where the attempt succeeded, all later ones."""
    target = planner.target(attempt)
    if target is None:
        return
    commanded = _commanded_states(attempt, planner.frames)
    yield from _label_reaching(planner, attempt, target, commanded)
    if attempt.succeeded:
        yield from _label_closing(planner, attempt, target, commanded)
        if attempt.release is not None:
            yield from _label_carrying(planner, attempt, target, commanded)


def _label_reaching(
    planner: CorrectionPlanner,
    attempt: Attempt,
    target: PickPlaceTarget,
    commanded: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    c = planner.config
    frames = range(min(attempt.untouched_frames, len(commanded) - 1))
    for t in _moving_frames(attempt, frames, c):
        state = attempt.states[t]
        is_open = state[6] > c.open_gripper
        if not is_open and planner.rng.random() > c.idle_share:
            continue
        near = np.linalg.norm(target.grasp[:2] - state[:2]) < c.uncertain_radius_m
        plan = planner.motion.plan(commanded[t], target, False, c.motion.step_m)
        if (near and not attempt.succeeded) or (is_open and plan.action[2] > c.max_rise_m):
            continue
        yield from _row(planner, attempt, t, target, plan)


def _label_closing(
    planner: CorrectionPlanner,
    attempt: Attempt,
    target: PickPlaceTarget,
    commanded: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    c = planner.config
    start, last = attempt.held[0].start, len(commanded) - 1
    for t in [t for t in (start, start + 1) if t < last] * c.closing_copies:
        grasp = commanded[t, :3].copy()
        if grasp[2] > target.grasp[2] + c.max_grasp_error_m:
            grasp[2] = target.grasp[2]
        width = attempt.states[min(t + c.closing_steps, last), 6]
        here = target._replace(grasp=grasp, yaw=commanded[t, 5], width=width)
        plan = planner.motion.plan(np.append(commanded[t, :6], 1.0), here, False)
        yield from _row(planner, attempt, t, here, plan)


def _label_carrying(
    planner: CorrectionPlanner,
    attempt: Attempt,
    target: PickPlaceTarget,
    commanded: Float64[np.ndarray, "t 7"],
) -> Iterator[_Row]:
    """Label the frames in which the object is held, and those after the release."""
    c, motion = planner.config, planner.motion
    first, end, last = attempt.held[0], attempt.held[-1].end, len(commanded) - 1
    for t in range(first.start + c.gripper_steps, first.end):
        carried = target._replace(width=attempt.states[t, 6])
        plan = motion.plan(commanded[t], carried, True, c.motion.step_m)
        yield from _row(planner, attempt, t, carried, plan)
    for t in range(end - 1, min(end + 1, last)):
        here = target._replace(release=commanded[t, :3], width=attempt.states[end - 1, 6])
        yield from _row(planner, attempt, t, here, motion.plan(commanded[t], here, True))
    moving = set(_moving_frames(attempt, range(end, last), c))
    for t in range(end, last):
        if t in moving or planner.rng.random() < c.idle_share:
            plan = motion.retreat(commanded[t], c.motion.step_m)
            yield from _row(planner, attempt, t, target, plan)


def _row(
    planner: CorrectionPlanner, attempt: Attempt, t: int, target: PickPlaceTarget, plan: MotionPlan
) -> Iterator[_Row]:
    """Yield a frame's correction, unless its goal lies beyond the end of a plan whose release is unknown."""
    soonest, latest = planner.config.goal_steps
    later = int(planner.rng.integers(soonest, latest + 1)) - 1
    if later >= len(plan.states) and target.release is None:
        return
    later = min(later, len(plan.states) - 1)
    keypoints = planner.predict(attempt, target, plan, np.array([later]))[0]
    yield _Row(
        attempt.first_frame + t, plan.action, plan.states[later], keypoints, attempt.instruction
    )


def _commanded_states(attempt: Attempt, frames: Frames) -> Float64[np.ndarray, "t 7"]:
    """Return the states with the gripper at its commanded pose: the measured one always lags a little."""
    states = attempt.states.copy()
    first = attempt.first_frame
    actions = frames.actions[first : first + len(states) - 1].astype(np.float64)
    for part in (slice(0, 3), slice(5, 6)):
        states[1:, part] = states[0, part] + np.cumsum(actions[:, part], 0)
    return states


def _moving_frames(
    attempt: Attempt, frames: Iterable[int], config: CorrectionsConfig
) -> Iterator[int]:
    """Yield the first of some frames and each in which the gripper has moved since the last one."""
    last = None
    for t in frames:
        state = attempt.states[t]
        if last is not None:
            moved = np.abs(state - last)
            if moved[:3].max() < config.min_motion_m and moved[5] < config.min_motion_rad:
                continue
        last = state
        yield t


def _render(
    frames: Frames, rows: Sequence[_Row], generator: SubgoalRenderer, planner: CorrectionPlanner
) -> UInt8[np.ndarray, "n r r 3"]:
    """Render the goal of every row."""
    rendered, batch = [], planner.config.render_batch
    with progress_bar() as bar:
        line = bar.add_task("rendering goals of plans", total=len(rows), note="")
        for k in range(0, len(rows), batch):
            some = rows[k : k + batch]
            observations = frames.observations([r.frame for r in some])
            words, keypoints = [r.instruction for r in some], np.stack([r.keypoints for r in some])
            rendered.append(generator.render(observations, words, keypoints, planner.rng))
            bar.advance(line, len(some))
    return np.concatenate(rendered)


def _interleave(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the rows of both arrays alternately."""
    return np.stack([one, other], 1).reshape(2 * len(one), *one.shape[1:])
