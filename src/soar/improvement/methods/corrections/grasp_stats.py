"""Statistics of an arm's grasps and releases: heights, widths, and the offset between read and true image positions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from soar.errors import ConfigError
from soar.improvement.methods.corrections.arm_projection import ArmProjection
from soar.improvement.methods.corrections.attempts import Attempt, Kind
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.types import Skill
from soar.utils.trajectories import Vector3

TIPS = slice(1, 3)
"""The fingertips among an `ArmProjection`'s parts: gripper, fingertips, wrist, point of the table below the gripper."""


class GraspStats(NamedTuple):
    """Statistics of the grasps of one skill in which something was held."""

    offset: Float64[np.ndarray, "2"]
    """Offset of the position read for an object from the fingertips that hold it, in the image."""
    height: float
    """Height of the gripper in the grasp [m]."""
    width: float
    """Gripper opening around an object."""
    carry_height: float
    """Height at which the gripper carries an object over everything else [m]."""
    lift: float
    """Height by which an object is lifted first [m]."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        attempts: Sequence[Attempt],
        projection: ArmProjection,
        height_quantile: float,
        config: CorrectionsConfig,
    ) -> GraspStats | None:
        """Compute them from successful attempts, else from all that held something; None without any.

        All carried objects count as similar, but for the offset.
        """
        handles = config.handle_motion
        similar = [a for a in attempts if a.held and _are_similar(a.kind, kind, handles)]
        good = [a for a in similar if a.succeeded] or similar
        if not good:
            return None
        own = [a for a in good if a.kind == kind]
        known = own if len(own) >= config.min_samples else good
        carried = [a.states[a.held[-1].start : a.held[-1].end] for a in good]
        highest = [float(c[:, 2].max()) for c in carried]
        rises = [h - a.grasp[2] for h, a in zip(highest, good, strict=True)]
        closed = config.closing_steps
        return cls(
            *_offset([(a.grasp, a.positions[0]) for a in known], projection, height_quantile),
            float(np.median([np.median(c[closed:, 6]) for c in carried])),
            float(np.median(highest)),
            float(np.median(rises)) if kind[0] in handles else config.lift_m,
        )


@dataclass(frozen=True)
class ManipulationStats:
    """Statistics of all grasps and releases before one camera."""

    grasps: dict[Kind, GraspStats]
    release_offset: Float64[np.ndarray, "2"]
    """Offset of the position read for a container from the fingertips that release an object over it, in the image."""
    release_height: float
    """Height of the gripper in such a release [m]."""
    carries: dict[Kind, list[tuple[Vector3, Vector3]]]
    """Positions of grasp and release in successful attempts [m]."""
    handle_motions: dict[Kind, Vector3]
    """Median displacement of a handle in successful attempts [m]."""
    low: Float64[np.ndarray, "2"]
    """Smallest x and y that the gripper has visited [m]."""
    high: Float64[np.ndarray, "2"]
    """Largest x and y that the gripper has visited [m]."""
    reach_margin_m: float

    def grasp_state(self, grasp: GraspStats, height: float, yaw: float) -> Float64[np.ndarray, "7"]:
        """Return the state of a gripper around an object, in the middle of the visited workspace."""
        return np.array([*(self.low + self.high) / 2, height, 0, 0, yaw, grasp.width])

    def is_reachable(self, position: Float64[np.ndarray, "2"]) -> bool:
        """Whether a position lies in the visited workspace or close to it."""
        margin = self.reach_margin_m
        return bool((position > self.low - margin).all() and (position < self.high + margin).all())

    @classmethod
    def of(
        cls,
        attempts: Sequence[Attempt],
        projection: ArmProjection,
        height_quantile: float,
        config: CorrectionsConfig,
    ) -> ManipulationStats:
        """Compute them. Raises ConfigError: nothing was ever held."""
        kinds = {a.kind for a in attempts}
        grasps = {
            k: found
            for k in kinds
            if (found := GraspStats.of(k, attempts, projection, height_quantile, config))
        }
        if not grasps:
            raise ConfigError(
                "the gripper never held anything: the positions of objects are unknown"
            )
        held = [a for a in attempts if a.held]
        good = [a for a in held if a.succeeded] or held
        released = [(a, a.release) for a in good if a.release is not None]
        drops = [(state, a.positions[1]) for a, state in released if a.skill == "put"]
        motions = {
            k: np.median([r[:3] - a.grasp[:3] for a, r in released if a.kind == k], axis=0)
            for k in {a.kind for a, _ in released if a.skill in config.handle_motion}
        }
        highest = max(grasp.height for grasp in grasps.values())
        offset, height = (
            _offset(drops, projection)
            if len(drops) >= config.min_samples
            else (np.zeros(2), highest + config.release_above_grasp_m)
        )
        visited = np.concatenate([a.states[:, :2] for a in attempts])
        return cls(
            grasps,
            offset,
            height,
            {k: [(a.grasp[:3], r[:3]) for a, r in released if a.kind == k] for k in kinds},
            motions,
            visited.min(0),
            visited.max(0),
            config.reach_margin_m,
        )


def _are_similar(one: Kind, other: Kind, handles: Collection[Skill]) -> bool:
    return one == other or (one[0] not in handles and other[0] not in handles)


def _offset(
    pairs: Sequence[tuple[Float64[np.ndarray, "7"], Float[np.ndarray, "2"]]],
    projection: ArmProjection,
    quantile: float = 0.5,
) -> tuple[Float64[np.ndarray, "2"], float]:
    """Return the median offset of the readings from the fingertips, and a quantile of the gripper's heights."""
    states = np.stack([state for state, _ in pairs])
    offsets = np.stack([read for _, read in pairs]) - projection(states)[:, TIPS].mean(1)
    return np.nanmedian(offsets, axis=0), float(np.quantile(states[:, 2], quantile))
