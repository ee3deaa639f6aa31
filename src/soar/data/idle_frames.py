"""Episodes with their pauses left out. Not in the paper, which adds up every two actions for the same reason.

A policy in training reaches a subgoal early and waits for the next one, or hesitates before a grasp: half
of a robot's own steps are less than a third as long as a demonstration's (docs/log.md). So only the frames
at which something has happened since the last one are kept, and each step's action is the sum of those up
to the next.

Hesitation before the gripper closes or opens is worse than slow: a policy that learns its own "not yet"
says it for longer the next time, until the hand hovers for good. So what was ordered in the end counts
for all of the hesitation: in each copy of an episode, another moment of it stands for the decision.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from soar.data.mixture import Source
from soar.errors import ConfigError

TURN_RAD, GRIP = 0.1, 0.08
"""A turn of the hand, and a share of the gripper's opening, that are something."""
HOVER_M = 0.008
"""Frames so near where the gripper was told to close or open, just before, are hesitation."""
COPIES = 4
"""Of each episode, so that several moments of its hesitation are seen."""


def drop_idle_frames(source: Source, step_m: float, copies: int = COPIES) -> Source:
    """The same episodes, their frames a step apart, with the subgoals that were pursued there.

    Kept are an episode's first frame, its last, and each at which, since the last one kept, the hand has gone
    `step_m` [m], or turned, or the gripper has moved or is told otherwise; those less than a step before such
    an order are not, and some moment of the hesitation stands for it. Actions between two of them are added
    up, but for the gripper's, which is absolute: the order's counts, then the first one's. The copies'
    images are held in memory.

    Raises:
        ConfigError: the step isn't positive.
    """
    if not step_m > 0:
        raise ConfigError(f"a step of {step_m} m; valid: above 0")
    frames, rng = source.frames, np.random.default_rng(0)
    bounds = [*pairwise(frames.starts)] * copies
    chosen = [
        _kept(frames.states[start:end], frames.actions[start:end, 6], step_m, rng)
        for start, end in bounds
    ]
    kept = np.concatenate([b[0] + c.frames for b, c in zip(bounds, chosen, strict=True)])
    actions = np.add.reduceat(frames.actions, kept)
    actions[:, 6] = np.concatenate([c.orders for c in chosen])
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
    episodes = None if source.episodes is None else (each + source.episodes).ravel()
    pursued = source.generated_goals.at(kept) if source.generated_goals else None
    return replace(
        source, frames=short, generated_goals=pursued, min_motion_m=step_m, episodes=episodes
    )


class _Kept(NamedTuple):
    """Some frames of an episode, and what the gripper is told at each."""

    frames: Int64[np.ndarray, " k"]
    orders: Float32[np.ndarray, " k"]


def _kept(
    states: Float32[np.ndarray, "n 7"],
    grip: Float32[np.ndarray, " n"],
    step_m: float,
    rng: np.random.Generator,
) -> _Kept:
    kept, orders, turned = [0], [grip[0]], 0
    for now in range(1, len(states) - 1):
        if grip[now] != orders[-1]:
            while len(kept) > turned + 1 and _apart(states[kept[-1]], states[now]) < step_m:
                kept.pop()
                orders.pop()
            turned = len(kept)
            kept.append(_hovering(states, kept[-1], now, rng))
            orders.append(grip[now])
        elif _something(states[kept[-1]], states[now], step_m):
            kept.append(now)
            orders.append(grip[now])
    return _Kept(np.array([*kept, len(states) - 1]), np.array([*orders, grip[-1]], np.float32))


def _hovering(
    states: Float32[np.ndarray, "n 7"], after: int, now: int, rng: np.random.Generator
) -> int:
    """Some frame of the hesitation that ended in the order at `now`, later than `after`."""
    first = now
    while first - 1 > after and not _something(states[first - 1], states[now], HOVER_M):
        first -= 1
    return int(rng.integers(first, now + 1))


def _something(
    one: Float32[np.ndarray, "7"], other: Float32[np.ndarray, "7"], step_m: float
) -> bool:
    """Whether the hand has gone a step, or turned, or opened, between two states."""
    change = np.abs(other - one)
    return bool(_apart(one, other) >= step_m or max(change[3:6]) >= TURN_RAD or change[6] >= GRIP)


def _apart(one: Float32[np.ndarray, "7"], other: Float32[np.ndarray, "7"]) -> float:
    """How far the hand is from itself [m]."""
    return float(np.linalg.norm(other[:3] - one[:3]))
