"""Hindsight relabeling: which later frame of its episode a step is taken to have aimed for (paper, 4 and B.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from soar.contract.contract import WIDOWX, ActionNumbers
from soar.contract.convert import adds_up, followed
from soar.errors import ConfigError
from soar.utils.config import OneOf


@dataclass(frozen=True)
class Uniform:
    """A frame from `low` to `high` steps ahead, uniformly; near an episode's end, from those that are left.

    The paper: 0 to 24 in pretraining data, 0 to 12 in autonomous data.
    """

    low: int = 0
    high: int = 24

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ConfigError(
                f"goals from {self.low} to {self.high} steps ahead; valid: 0 <= low <= high"
            )

    def draw(
        self,
        rng: np.random.Generator,
        frames: Int64[np.ndarray, " n"],
        last: Int64[np.ndarray, " n"],
    ) -> Int64[np.ndarray, " n"]:
        """Draw goal frames for steps that start at `frames`, in episodes that end at frames `last`."""
        low, high = np.minimum(frames + self.low, last), np.minimum(frames + self.high, last)
        goals: Int64[np.ndarray, " n"] = rng.integers(low, high + 1)
        return goals


NEXT = Uniform(1, 1)
"""The next frame."""


@dataclass(frozen=True)
class Geometric:
    """One step ahead or more, each further step with probability `discount` (the paper's released code)."""

    discount: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.discount < 1:
            raise ConfigError(f"discount is {self.discount}; valid: from 0 to below 1")

    def draw(
        self,
        rng: np.random.Generator,
        frames: Int64[np.ndarray, " n"],
        last: Int64[np.ndarray, " n"],
    ) -> Int64[np.ndarray, " n"]:
        """Draw goal frames for steps that start at `frames`, in episodes that end at frames `last`."""
        ahead = rng.geometric(1 - self.discount, len(frames))
        goals: Int64[np.ndarray, " n"] = np.minimum(frames + ahead, last)
        return goals


@dataclass(frozen=True)
class Final:
    """The episode's last frame."""

    def draw(
        self,
        rng: np.random.Generator,
        frames: Int64[np.ndarray, " n"],
        last: Int64[np.ndarray, " n"],
    ) -> Int64[np.ndarray, " n"]:
        """Return the episodes' last frames."""
        return last.copy()


Goals: TypeAlias = Annotated[
    Uniform | Geometric | Final,
    OneOf({"uniform": Uniform, "geometric": Geometric, "final": Final}),
]
"""Distribution of hindsight goals."""


def summed_actions(
    actions: Float32[np.ndarray, "m d"],
    frames: Int64[np.ndarray, " n"],
    last: Int64[np.ndarray, " n"],
    steps: int,
    meaning: ActionNumbers = WIDOWX.action,
) -> Float32[np.ndarray, "n d"]:
    """a'_t = a_t + a_{t+1} + ... over `steps` steps (paper, B.2.2, with 2), within the episode.

    Compensates for the small motions of the policy that collected the data. Only motions are summed: the gripper
    command is absolute, so it stays that of step t. Of absolute motions, the last one counts; rotations whose numbers
    don't add up, such as quaternions, are made one after the other.
    """
    motion = meaning.motion_dim
    total: Float32[np.ndarray, "n d"] = actions[frames]
    for ahead in range(1, steps):
        inside = np.flatnonzero(frames + ahead < last)
        later = actions[frames[inside] + ahead]
        if adds_up(meaning):
            total[inside, :motion] += later[:, :motion]
        else:
            total[inside] = followed(total[inside], later, meaning)
    return total


def next_gripper_changes(
    actions: Float32[np.ndarray, "n d"],
    starts: Int64[np.ndarray, " e"],
    meaning: ActionNumbers = WIDOWX.action,
) -> Int64[np.ndarray, " n"]:
    """Return for each frame the next one at which the gripper command switches, else its episode's last frame.

    There the arm is about to grasp or release. `starts`: as in `soar.data.frame_cache.Frames`.
    """
    n = len(actions)
    opened = np.zeros(n, bool) if meaning.gripper is None else actions[:, -1] > 0.5
    changes = np.zeros(n + 1, bool)
    changes[1:n] = opened[1:] != opened[:-1]
    changes[starts] = False
    changes[starts[1:] - 1] = True  # an episode's last frame has no action: the search ends there
    nearest = np.where(changes, np.arange(n + 1), n)[::-1]
    after: Int64[np.ndarray, " n"] = np.minimum.accumulate(nearest)[::-1][1:]
    last: Int64[np.ndarray, " n"] = np.repeat(starts[1:] - 1, np.diff(starts))
    result: Int64[np.ndarray, " n"] = np.minimum(after, last)
    return result
