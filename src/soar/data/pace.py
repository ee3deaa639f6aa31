"""Episodes with their pauses left out. Not in the paper, which adds up every two actions for the same reason.

A policy in training reaches a subgoal early and waits for the next one, or hesitates before a grasp: half
of a robot's own steps are less than a third as long as a demonstration's (docs/log.md). So only the frames
at which something has happened since the last one are kept, and each step's action is the sum of those up
to the next. Where the gripper is about to close or open, the hesitation before it goes as well: a policy
that learns its own "not yet" says it for longer the next time, until the hand hovers for good.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Int64

from soar.data.mixture import Source
from soar.errors import ConfigError

TURN_RAD, GRIP = 0.1, 0.08
"""A turn of the hand, and a share of the gripper's opening, that are something."""


def paced(source: Source, step_m: float) -> Source:
    """The same episodes, their frames a step apart, with the subgoals that were pursued there.

    Kept are an episode's first frame, its last, and each at which, since the last one kept, the hand has gone
    `step_m` [m], or turned, or the gripper has moved or is told otherwise; those less than a step before such
    an order are not. Actions between two of them are
    added up, but for the gripper's, which is absolute: the first one's counts.

    Raises:
        ConfigError: the step isn't positive.
    """
    if not step_m > 0:
        raise ConfigError(f"a step of {step_m} m; valid: above 0")
    frames = source.frames
    episodes = [
        start + _kept(frames.states[start:end], frames.actions[start:end, 6], step_m)
        for start, end in pairwise(frames.starts)
    ]
    kept: Int64[np.ndarray, " k"] = np.concatenate(episodes)
    actions = np.add.reduceat(frames.actions, kept)
    actions[:, 6] = frames.actions[kept, 6]
    tips = frames.fingertips
    short = replace(
        frames,
        images=frames.images[kept],
        states=frames.states[kept],
        actions=actions,
        starts=np.cumsum([0, *map(len, episodes)]),
        fingertips=None if tips is None else tips[kept],
    )
    pursued = source.imagined.at(kept) if source.imagined else None
    return replace(source, frames=short, imagined=pursued, pace_m=step_m)


def _kept(
    states: Float32[np.ndarray, "n 7"], grip: Float32[np.ndarray, " n"], step_m: float
) -> Int64[np.ndarray, " k"]:
    kept, turned = [0], 0
    for now in range(1, len(states) - 1):
        change = np.abs(states[now] - states[kept[-1]])
        went = np.linalg.norm(change[:3]) >= step_m
        if grip[now] != grip[kept[-1]]:
            while len(kept) > turned + 1 and _apart(states, kept[-1], now) < step_m:
                kept.pop()
            turned = len(kept)
            kept.append(now)
        elif went or max(change[3:6]) >= TURN_RAD or change[6] >= GRIP:
            kept.append(now)
    return np.array([*kept, len(states) - 1])


def _apart(states: Float32[np.ndarray, "n 7"], one: int, other: int) -> float:
    """How far the hand is from itself [m]."""
    return float(np.linalg.norm(states[one, :3] - states[other, :3]))
