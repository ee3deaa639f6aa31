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

from soar.contract.contract import LENGTHS_M, Numbers
from soar.contract.convert import adds_up, turns_rad
from soar.contract.rotations import turned
from soar.data.mixture import Source
from soar.data.relabel import summed_actions
from soar.errors import ConfigError

MIN_TURN_RAD, MIN_GRIPPER_CHANGE = 0.1, 0.08
"""Least rotation, and least change of the gripper as a share of its range, that count as motion."""
HOVER_M = 0.008
"""Frames nearer than this to the next gripper command, and just before it, are hesitation."""
COPIES = 4
"""Copies of each episode, each with other frames of its hesitation."""


def drop_idle_frames(source: Source, min_motion_m: float, copies: int = COPIES) -> Source:
    """Return the same episodes without idle frames, and with what belongs to the frames that are kept.

    Kept are an episode's first frame, its last, and each at which, since the last one kept, the end effector moved
    by `min_motion_m` or rotated, or the gripper moved or its command changed. Of the frames less than
    `min_motion_m` before a change of command, one random frame of the hesitation is kept. Motions between kept
    frames are summed; the gripper command is absolute, so that of the kept frame counts. The copies' images are
    held in memory. Joints count as angles.

    Raises:
        ConfigError: `min_motion_m` isn't positive.
    """
    if not min_motion_m > 0:
        raise ConfigError(f"min_motion_m is {min_motion_m}; valid: above 0")
    frames, rng = source.frames, np.random.default_rng(0)
    contract = frames.contract
    commands = (
        np.zeros(len(frames), np.float32)
        if contract.action.gripper is None
        else frames.actions[:, -1]
    )
    motion = Motion(contract.state, min_motion_m)
    bounds = [*pairwise(frames.starts)] * copies
    chosen = [
        _select(frames.states[start:end], commands[start:end], motion, rng) for start, end in bounds
    ]
    kept = np.concatenate([b[0] + c.frames for b, c in zip(bounds, chosen, strict=True)])
    if adds_up(contract.action):
        actions = np.add.reduceat(frames.actions, kept)
    else:
        later = np.append(kept[1:], len(frames))
        longest = int((later - kept).max())
        actions = summed_actions(frames.actions, kept, later, longest, contract.action)
    if contract.action.gripper is not None:
        actions[:, -1] = np.concatenate([c.commands for c in chosen])
    tips = frames.fingertips
    short = replace(
        frames,
        images=frames.images[kept],
        states=frames.states[kept],
        actions=actions,
        starts=np.cumsum([0, *(len(c.frames) for c in chosen)]),
        episodes=frames.episodes * copies,
        fingertips=None if tips is None else tips[kept],
        taken_over=None if frames.taken_over is None else frames.taken_over[kept],
        other_images={name: images[kept] for name, images in frames.other_images.items()},
    )
    each = np.arange(copies)[:, None] * len(frames.episodes)
    return replace(
        source,
        frames=short,
        generated_goals=source.generated_goals.at(kept) if source.generated_goals else None,
        usable=None if source.usable is None else source.usable[kept],
        advantages=None if source.advantages is None else source.advantages[kept],
        min_motion_m=min_motion_m,
        episodes=None if source.episodes is None else (each + source.episodes).ravel(),
    )


class _Selection(NamedTuple):
    """Frames of an episode that are kept, and the gripper command at each."""

    frames: Int64[np.ndarray, " k"]
    commands: Float32[np.ndarray, " k"]


class Motion:
    """Measure of the motion between two states, whatever the units of their numbers."""

    def __init__(self, meaning: Numbers, min_motion_m: float) -> None:
        """`min_motion_m`: least motion of an end effector's position in meters."""
        self._meaning = meaning
        self._position = 0 if meaning.space == "joints" else 3
        self._angles = list(meaning.angle_indices)
        self._gripper = meaning.gripper_index
        self._units = np.ones(meaning.dim, np.float32)
        self._units[: meaning.motion_dim] = meaning.scale or 1
        self._units[: self._position] *= LENGTHS_M[meaning.length]
        self._units[self._angles] *= 1 if meaning.angle == "rad" else np.pi / 180
        if meaning.gripper is not None:
            self._units[-1] = 1 / abs(meaning.gripper.open - meaning.gripper.closed)
        self.min_motion_m = min_motion_m

    def moved(
        self,
        one: Float32[np.ndarray, " s"],
        other: Float32[np.ndarray, " s"],
        min_motion_m: float | None = None,
    ) -> bool:
        """Whether the arm moved or rotated, or the gripper opened or closed, between two states."""
        before, now = one * self._units, other * self._units
        turns = (
            np.abs(turned(now[self._angles], before[self._angles]))
            if self._angles
            else turns_rad(one, other, self._meaning)
        )
        change = 0.0 if self._gripper is None else abs(now[self._gripper] - before[self._gripper])
        return bool(
            self.distance(one, other) >= (min_motion_m or self.min_motion_m)
            or turns.max(initial=0.0) >= MIN_TURN_RAD
            or change >= MIN_GRIPPER_CHANGE
        )

    def stayed(self, one: Float32[np.ndarray, " s"], other: Float32[np.ndarray, " s"]) -> bool:
        """Whether the end effector's position stayed; for joints, whether nothing moved."""
        if self._position == 0:
            return not self.moved(one, other)
        return self.distance(one, other) < self.min_motion_m

    def distance(self, one: Float32[np.ndarray, " s"], other: Float32[np.ndarray, " s"]) -> float:
        """Distance between two states' positions [m]; 0 for joints."""
        return float(np.linalg.norm(((other - one) * self._units)[: self._position]))


def _select(
    states: Float32[np.ndarray, "n s"],
    gripper: Float32[np.ndarray, " n"],
    motion: Motion,
    rng: np.random.Generator,
) -> _Selection:
    kept, commands, last_change = [0], [gripper[0]], 0
    for now in range(1, len(states) - 1):
        if gripper[now] != commands[-1]:
            while len(kept) > last_change + 1 and motion.stayed(states[kept[-1]], states[now]):
                kept.pop()
                commands.pop()
            last_change = len(kept)
            kept.append(_hovering(states, kept[-1], now, motion, rng))
            commands.append(gripper[now])
        elif motion.moved(states[kept[-1]], states[now]):
            kept.append(now)
            commands.append(gripper[now])
    return _Selection(
        np.array([*kept, len(states) - 1]), np.array([*commands, gripper[-1]], np.float32)
    )


def _hovering(
    states: Float32[np.ndarray, "n s"],
    after: int,
    now: int,
    motion: Motion,
    rng: np.random.Generator,
) -> int:
    """Draw a frame later than `after` from the hesitation that the gripper command at `now` ended."""
    first = now
    while first - 1 > after and not motion.moved(states[first - 1], states[now], HOVER_M):
        first -= 1
    return int(rng.integers(first, now + 1))
