"""What the grasps that held, and what was let go, say: how far beside a thing it is read, how high and wide hands are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from soar.errors import ConfigError
from soar.improvement.methods.corrections.arm_projection import ArmProjection
from soar.improvement.methods.corrections.attempts import Attempt
from soar.improvement.methods.corrections.motion_plan import LIFT_M
from soar.utils.trajectories import Vector3
from soar.tasks.grammar import Skill

TIPS = slice(1, 3)
"""Of an `ArmProjection`'s parts (hand, fingertips, wrist, the table's point below the hand)."""
HANDLES: dict[Skill, float] = {"open": 0.0, "close": 0.0, "fold": 0.25, "unfold": 0.25}
"""Tasks at a part of a thing, and how much of that part's way the thing's own place goes: a cabinet stays, and a cloth's
middle goes a quarter of its hem's way."""
_BEYOND_M = 0.03
"""So far outside of where the hand has been, it can go, too."""
_FEWEST = 3
"""Grasps or drops from which it is learned how far beside a place is read."""


class GraspStats(NamedTuple):
    """What the grasps that held say of tasks of one manner."""

    off: Float64[np.ndarray, "2"]
    """How far a thing is read from the fingertips that hold it."""
    height: float
    """Of the hand in the grasp [m]."""
    width: float
    """Opening of the gripper around a thing."""
    clear: float
    """Height of the hand that carries something over everything [m]."""
    lift: float
    """How far it is lifted at first [m]."""

    @classmethod
    def of(
        cls, kind: Skill, attempts: Sequence[Attempt], view: ArmProjection, height: float
    ) -> GraspStats | None:
        """From good attempts, else from all that held something. Things that are carried are all alike, but for where they are read."""
        alike = [a for a in attempts if a.held and _are_alike(a.skill, kind)]
        good = [a for a in alike if a.good] or alike
        if not good:
            return None
        mine = [a for a in good if a.skill == kind]
        known = mine if len(mine) >= _FEWEST else good
        carried = [a.states[a.held[-1].start : a.held[-1].end] for a in good]
        highest = [float(c[:, 2].max()) for c in carried]
        rises = [h - a.grasp[2] for h, a in zip(highest, good, strict=True)]
        return cls(
            *_beside([(a.grasp, a.found[0]) for a in known], view, height),
            float(np.median([np.median(c[3:, 6]) for c in carried])),
            float(np.median(highest)),
            float(np.median(rises)) if kind in HANDLES else LIFT_M,
        )


@dataclass(frozen=True)
class ManipulationStats:
    """What the grasps that held, and what was let go, say of heights, and of what is read in the image."""

    knacks: dict[Skill, GraspStats]
    drop: tuple[Float64[np.ndarray, "2"], float]
    """How far containers are read from the fingertips that let something go over them, and the hand's height then [m]."""
    releases: dict[Skill, list[Float64[np.ndarray, "7"]]]
    """States in which good attempts let go."""
    moves: dict[Skill, Vector3]
    """How far good attempts moved a handle [m], the median."""
    low: Float64[np.ndarray, "2"]
    high: Float64[np.ndarray, "2"]
    """Between these x and y [m] the hand has been."""

    def pose(self, knack: GraspStats, height: float, yaw: float) -> Float64[np.ndarray, "7"]:
        """A state of the hand around a thing, in the middle of where it has been."""
        return np.array([*(self.low + self.high) / 2, height, 0, 0, yaw, knack.width])

    def within_reach(self, at: Float64[np.ndarray, "2"]) -> bool:
        """Whether the hand has been about there."""
        return bool((at > self.low - _BEYOND_M).all() and (at < self.high + _BEYOND_M).all())

    @classmethod
    def of(
        cls, attempts: Sequence[Attempt], view: ArmProjection, height: float
    ) -> ManipulationStats:
        """`height`: see `Coach`. Raises ConfigError: nothing was ever held."""
        kinds = {a.skill for a in attempts}
        knacks = {k: knack for k in kinds if (knack := GraspStats.of(k, attempts, view, height))}
        if not knacks:
            raise ConfigError("no fingers ever held anything: nothing is known of where things are")
        held = [a for a in attempts if a.held]
        good = [a for a in held if a.good] or held
        let_go = [(a, a.release) for a in good if a.release is not None]
        drops = [(state, a.found[1]) for a, state in let_go if a.skill == "put"]
        releases = {k: [state for a, state in let_go if a.skill == k] for k in kinds}
        moves = {
            k: np.median([s[:3] - a.grasp[:3] for a, s in let_go if a.skill == k], axis=0)
            for k in HANDLES.keys() & {a.skill for a, _ in let_go}
        }
        highest = max(knack.height for knack in knacks.values())
        been = np.concatenate([a.states[:, :2] for a in attempts])
        return cls(
            knacks,
            _beside(drops, view) if len(drops) >= _FEWEST else (np.zeros(2), highest + 0.016),
            releases,
            moves,
            been.min(0),
            been.max(0),
        )


def _are_alike(one: Skill, other: Skill) -> bool:
    return one == other or not {one, other} & HANDLES.keys()


def _beside(
    pairs: Sequence[tuple[Float64[np.ndarray, "7"], Float[np.ndarray, "2"]]],
    view: ArmProjection,
    quantile: float = 0.5,
) -> tuple[Float64[np.ndarray, "2"], float]:
    """Median of what is read less the fingertips' place, and a quantile of the hand's heights."""
    states = np.stack([state for state, _ in pairs])
    off = np.stack([read for _, read in pairs]) - view(states)[:, TIPS].mean(1)
    return np.nanmedian(off, axis=0), float(np.quantile(states[:, 2], quantile))
