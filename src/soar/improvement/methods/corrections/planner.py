"""Grasp and release targets of recorded attempts, failed ones included, estimated without labels.

The arm's image positions follow from its states (`ArmProjection`), so an image position is a position that the
gripper can reach; the offset between an object's read and true position follows from the grasps that held. No label
comes from a simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from soar.data.frame_cache import Frames
from soar.data.store.lance import LanceStore
from soar.errors import ConfigError
from soar.improvement.methods.corrections.arm_projection import ArmProjection
from soar.improvement.methods.corrections.attempts import (
    Attempt,
    KeypointReader,
    read_attempts,
)
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.grasp_stats import TIPS, GraspStats, ManipulationStats
from soar.improvement.methods.corrections.motion_plan import (
    HOLDING,
    REACHING,
    MotionPlan,
    PickPlaceTarget,
    ScriptedPlanner,
)
from soar.types import Query
from soar.utils.trajectories import Vector3

_ARM = [0, 2, 3, 4, 5]
"""The arm's parts among the keypoints `soar.subgoals.compact.keypoint_predictor.PREDICTED_POINTS`."""


def queries_by_scene(store: LanceStore, query: Query) -> list[Query]:
    """Split a query by scene, for episodes of any outcome. Raises ConfigError: there are no episodes."""
    every = replace(query, outcomes=())
    scenes = query.scenes or sorted({e.provenance.scene for e in store.query(every)})
    if not scenes:
        raise ConfigError(f"'{store.path}' holds no such episodes")
    return [replace(every, scenes=(scene,)) for scene in scenes]


_Labels = TypeVar("_Labels")


def from_each_scene(
    label: Callable[[Frames], _Labels], episodes: Sequence[Frames]
) -> list[_Labels]:
    """Return the labels of every scene that can be labeled. Raises ConfigError: none can."""
    labels, reasons = [], []
    for frames in episodes:
        try:
            labels.append(label(frames))
        except ConfigError as error:
            reasons.append(str(error))
    if not labels:
        raise ConfigError("; ".join(reasons))
    return labels


def fit_arm_projection(
    frames: Frames, reader: KeypointReader, rng: np.random.Generator, config: CorrectionsConfig
) -> ArmProjection:
    """Fit the projection of the arm into the camera of these frames."""
    count = min(config.projection_frames, len(frames))
    chosen = np.sort(rng.choice(len(frames), count, replace=False))
    words = [frames.episodes[i].instruction for i in frames.episode_of(chosen)]
    readings = reader.read_keypoints(frames.observations(chosen), words)
    return ArmProjection(frames.states[chosen], readings[:, _ARM], config)


class CorrectionPlanner:
    """Estimates, for the attempts before one camera, what should have been done."""

    def __init__(
        self,
        frames: Frames,
        reader: KeypointReader,
        config: CorrectionsConfig,
        grasp_height: float,
    ) -> None:
        """Read all attempts.

        Args:
            frames: all episodes of one scene, failures included.
            reader: reads the image positions of named objects and of the arm.
            config: constants.
            grasp_height: quantile of the observed grasp heights to aim at.

        Raises:
            ConfigError: there are too few attempts, or nothing was ever held.
        """
        self.frames, self.config = frames, config
        self.rng = np.random.default_rng(0)
        self.motion = ScriptedPlanner(config)
        self.projection = fit_arm_projection(frames, reader, self.rng, config)
        self.attempts = read_attempts(frames, reader, config)
        self._reader = reader
        self._stats = ManipulationStats.of(self.attempts, self.projection, grasp_height, config)

    def target(self, attempt: Attempt) -> PickPlaceTarget | None:
        """Return where the attempt should have grasped and released; None where that is unknown."""
        grasp, c = self._stats.grasps.get(attempt.kind), self.config
        if grasp is None:
            return None
        if attempt.succeeded:
            at, yaw = attempt.grasp[:2], float(attempt.grasp[5])
        elif np.isnan(attempt.positions[0]).any() or not attempt.grasps:
            return None
        else:
            yaw = float(attempt.states[attempt.grasps[0].start, 5])
            read = self._object_position(attempt) - grasp.offset
            around = self._stats.grasp_state(grasp, grasp.height, yaw)
            at = self.projection.solve_position(read, around, TIPS)
            if not self._stats.is_reachable(at):
                return None
        position = np.array([*at, grasp.height])
        handle = attempt.skill in c.handle_motion
        return PickPlaceTarget(
            grasp=position,
            yaw=yaw,
            release=self._release(attempt, grasp, position, yaw),
            width=grasp.width,
            carry_height=grasp.carry_height,
            approach_height=c.handle_approach_height_m
            if handle
            else grasp.carry_height - c.approach_margin_m,
            lift=grasp.lift,
        )

    def _release(
        self, attempt: Attempt, grasp: GraspStats, position: Vector3, yaw: float
    ) -> Vector3 | None:
        """Return the attempt's own release if it succeeded, else one over the container, or that of a nearby success.

        The success is the one whose grasp was nearest: a random one would give each attempt another place.
        """
        stats = self._stats
        if attempt.succeeded and attempt.release is not None:
            return attempt.release[:3]
        if attempt.skill == "put":
            around = stats.grasp_state(grasp, stats.release_height, yaw)
            read = attempt.positions[1] - stats.release_offset
            at = self.projection.solve_position(read, around, TIPS)
            return np.array([*at, stats.release_height])
        if attempt.skill in self.config.handle_motion:
            motion = stats.handle_motions.get(attempt.kind)
            return None if motion is None else position + motion
        carries = stats.carries[attempt.kind]
        distances = [np.linalg.norm(start - position) for start, _ in carries]
        return carries[int(np.argmin(distances))][1] if carries else None

    def _object_position(self, attempt: Attempt) -> Float64[np.ndarray, "2"]:
        """Return the object's image position: the median over all frames before the first grasp that show it."""
        times = np.arange(0, attempt.grasps[0].start, self.config.frame_stride)
        first: Float64[np.ndarray, "2"] = attempt.positions[0].astype(np.float64)
        tips = self.projection(attempt.states[times])[:, TIPS].mean(1)
        times = times[np.linalg.norm(tips - first, axis=1) > self.config.occlusion_radius]
        if not len(times):
            return first
        observations = self.frames.observations(attempt.first_frame + times)
        read = self._reader.locate_objects(observations, [attempt.instruction] * len(times))[:, 0]
        same = read[np.linalg.norm(read - first, axis=1) < self.config.same_object_radius]
        median: Float64[np.ndarray, "2"] = np.median([*same, first], axis=0)
        return median

    def predict(
        self,
        attempt: Attempt,
        target: PickPlaceTarget,
        plan: MotionPlan,
        steps: Int64[np.ndarray, " k"],
    ) -> Float64[np.ndarray, "k f 2"]:
        """Return the image positions of the predicted keypoints at some steps of a plan.

        Keypoints are in the order of `soar.subgoals.compact.keypoint_predictor.PREDICTED_POINTS`.
        """
        arm, phases = self.projection(plan.states[steps]), plan.phases[steps]
        initial = self.resting_position(target, target.grasp)
        final = initial if target.release is None else self.resting_position(target, target.release)
        held = np.where((phases == HOLDING)[:, None], arm[:, TIPS].mean(1), final)
        position = np.where((phases == REACHING)[:, None], initial, held)
        if (share := self.config.handle_motion.get(attempt.skill)) is not None:
            position = attempt.positions[0] + share * (position - initial)
        return np.concatenate([arm[:, :1], position[:, None], arm[:, 1:]], 1)

    def resting_position(
        self, target: PickPlaceTarget, position: Vector3
    ) -> Float64[np.ndarray, "2"]:
        """Return the image position of fingertips around an object that lies on the table, or slightly above it."""
        height = min(position[2], target.grasp[2] + self.config.rest_tolerance_m)
        state = np.array([*position[:2], height, 0, 0, target.yaw, target.width])
        return np.asarray(self.projection(state[None])[0, TIPS].mean(0))
