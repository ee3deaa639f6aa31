"""Idle-frame filter: episodes without their pauses. Not in the paper, which sums every two actions instead.

A policy in training reaches a subgoal early and waits for the next one, or hesitates before a grasp: half of a
robot's own steps are less than a third as long as a demonstration's (docs/log.md). The filter keeps only frames
between which something moved, and a kept frame's action is the sum of those up to the next one.

Hesitation before the gripper closes or opens does more harm than slowness: a policy that imitates it hesitates
longer the next time, until the gripper hovers forever. So the gripper command that ended the hesitation is the
label for all of it: each copy of an episode has another of its frames in place of the decision.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from soar.data.mixture import Source
from soar.errors import ConfigError

MIN_TURN_RAD, MIN_GRIPPER_CHANGE = 0.1, 0.08
"""Least rotation, and least change of the gripper opening (0..1), that count as motion."""
HOVER_M = 0.008
"""Frames nearer than this to the next gripper command, and just before it, are hesitation."""
COPIES = 4
"""Copies of each episode, each with other frames of its hesitation."""


def drop_idle_frames(source: Source, min_motion_m: float, copies: int = COPIES) -> Source:
    """Return the same episodes without idle frames, and with the generated goals of the frames that are kept.

    Kept are an episode's first frame, its last, and each at which, since the last one kept, the end effector moved
    by `min_motion_m` or rotated, or the gripper moved or its command changed. Of the frames less than
    `min_motion_m` before a change of command, one random frame of the hesitation is kept. Motions between kept
    frames are summed; the gripper command is absolute, so that of the kept frame counts. The copies' images are
    held in memory.

    Raises:
        ConfigError: `min_motion_m` isn't positive.
    """
    if not min_motion_m > 0:
        raise ConfigError(f"min_motion_m is {min_motion_m}; valid: above 0")
    frames, rng = source.frames, np.random.default_rng(0)
    bounds = [*pairwise(frames.starts)] * copies
    chosen = [
        _select(frames.states[start:end], frames.actions[start:end, 6], min_motion_m, rng)
        for start, end in bounds
    ]
    kept = np.concatenate([b[0] + c.frames for b, c in zip(bounds, chosen, strict=True)])
    actions = np.add.reduceat(frames.actions, kept)
    actions[:, 6] = np.concatenate([c.commands for c in chosen])
    tips = frames.fingertips
    short = replace(
        frames,
        images=frames.images[kept],
        states=frames.states[kept],
        actions=actions,
        starts=np.cumsum([0, *(len(c.frames) for c in chosen)]),
        episodes=frames.episodes * copies,
        fingertips=None if tips is None else tips[kept],
    )
    each = np.arange(copies)[:, None] * len(frames.episodes)
    return replace(
        source,
        frames=short,
        generated_goals=source.generated_goals.at(kept) if source.generated_goals else None,
        min_motion_m=min_motion_m,
        episodes=None if source.episodes is None else (each + source.episodes).ravel(),
    )


class _Selection(NamedTuple):
    """Frames of an episode that are kept, and the gripper command at each."""

    frames: Int64[np.ndarray, " k"]
    commands: Float32[np.ndarray, " k"]


def _select(
    states: Float32[np.ndarray, "n 7"],
    gripper: Float32[np.ndarray, " n"],
    min_motion_m: float,
    rng: np.random.Generator,
) -> _Selection:
    kept, commands, last_change = [0], [gripper[0]], 0
    for now in range(1, len(states) - 1):
        if gripper[now] != commands[-1]:
            while (
                len(kept) > last_change + 1
                and _distance(states[kept[-1]], states[now]) < min_motion_m
            ):
                kept.pop()
                commands.pop()
            last_change = len(kept)
            kept.append(_hovering(states, kept[-1], now, rng))
            commands.append(gripper[now])
        elif _moved(states[kept[-1]], states[now], min_motion_m):
            kept.append(now)
            commands.append(gripper[now])
    return _Selection(
        np.array([*kept, len(states) - 1]), np.array([*commands, gripper[-1]], np.float32)
    )


def _hovering(
    states: Float32[np.ndarray, "n 7"], after: int, now: int, rng: np.random.Generator
) -> int:
    """Draw a frame later than `after` from the hesitation that the gripper command at `now` ended."""
    first = now
    while first - 1 > after and not _moved(states[first - 1], states[now], HOVER_M):
        first -= 1
    return int(rng.integers(first, now + 1))


def _moved(
    one: Float32[np.ndarray, "7"], other: Float32[np.ndarray, "7"], min_motion_m: float
) -> bool:
    """Whether the end effector moved or rotated, or the gripper opened or closed, between two states."""
    change = np.abs(other - one)
    return bool(
        _distance(one, other) >= min_motion_m
        or max(change[3:6]) >= MIN_TURN_RAD
        or change[6] >= MIN_GRIPPER_CHANGE
    )


def _distance(one: Float32[np.ndarray, "7"], other: Float32[np.ndarray, "7"]) -> float:
    """Distance between two states' positions [m]."""
    return float(np.linalg.norm(other[:3] - one[:3]))
