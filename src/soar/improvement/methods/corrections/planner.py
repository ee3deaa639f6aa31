"""What a robot's own attempts say should have been done in each of them, failed ones too.

Where a thing was doesn't have to come from what already works: the arm's places in the image are known from what it
feels (`ArmProjection`), so a place in the image is a place that the hand can reach, and how far beside a thing is read from
where the fingers really find it is felt in the grasps that hold. No label comes from the simulator.
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
    PlaceReader,
    observations_at,
    read_attempts,
)
from soar.improvement.methods.corrections.grasp_stats import (
    HANDLES,
    TIPS,
    GraspStats,
    ManipulationStats,
)
from soar.improvement.methods.corrections.motion_plan import (
    HOLDING,
    REACHING,
    MotionPlan,
    PickPlaceTarget,
)
from soar.utils.trajectories import Vector3
from soar.types import Query

LOOKS = 2000
"""Most frames that the arm's view is learned from."""
EVERY = 2
"""Of an episode's frames, each so manyth is looked at."""
_ARM = [0, 2, 3, 4, 5]
"""Of what foresight reads, those parts."""
_ABOVE_HANDLES_M = 0.1
"""Height at which an empty hand passes above drawers and cloths."""
_CLEAR_VIEW, _SAME = 0.25, 0.12
"""Fingertips farther off than the first don't hide a thing; readings nearer together than the second are of one place."""


def queries_by_scene(store: LanceStore, query: Query) -> list[Query]:
    """The query for each scene of its episodes, of whatever outcome. Raises ConfigError: there are none."""
    every = replace(query, outcomes=())
    scenes = query.scenes or sorted({e.provenance.scene for e in store.query(every)})
    if not scenes:
        raise ConfigError(f"'{store.path}' holds no such episodes")
    return [replace(every, scenes=(scene,)) for scene in scenes]


_Made = TypeVar("_Made")


def from_each_scene(make: Callable[[Frames], _Made], episodes: Sequence[Frames]) -> list[_Made]:
    """What is made of those scenes of which anything is known. Raises ConfigError: there are none."""
    made, reasons = [], []
    for frames in episodes:
        try:
            made.append(make(frames))
        except ConfigError as error:
            reasons.append(str(error))
    if not made:
        raise ConfigError("; ".join(reasons))
    return made


def fit_arm_projection(
    frames: Frames, reader: PlaceReader, rng: np.random.Generator
) -> ArmProjection:
    """Where the camera of these frames sees the arm."""
    chosen = np.sort(rng.choice(len(frames), min(LOOKS, len(frames)), replace=False))
    episode = np.searchsorted(frames.starts, chosen, side="right") - 1
    words = [frames.episodes[i].instruction for i in episode]
    seen = reader.read(observations_at(frames, chosen), words)
    return ArmProjection(frames.states[chosen], seen[:, _ARM])


class CorrectionPlanner:
    """Knows, of the episodes before one camera, what should have been done."""

    def __init__(
        self, frames: Frames, reader: PlaceReader, seed: int = 0, height: float = 0.5
    ) -> None:
        """Read all attempts.

        Args:
            frames: all episodes, failures too, of one scene.
            reader: finds the named things, and reads where the arm is seen.
            height: quantile of the heights of hands that held something, which grasps aim at.

        Raises:
            ConfigError: too little was tried, or nothing was ever held.
        """
        self.frames, self.rng = frames, np.random.default_rng(seed)
        self.view = fit_arm_projection(frames, reader, self.rng)
        self.attempts = read_attempts(frames, reader)
        self._reader = reader
        self._feeling = ManipulationStats.of(self.attempts, self.view, height)

    def errand(self, attempt: Attempt) -> PickPlaceTarget | None:
        """What should have been done; None where that isn't known."""
        knack = self._feeling.knacks.get(attempt.skill)
        if knack is None:
            return None
        if attempt.good:
            at, yaw = attempt.grasp[:2], float(attempt.grasp[5])
        elif np.isnan(attempt.found[0]).any() or not attempt.grasps:
            return None
        else:
            yaw = float(attempt.states[attempt.grasps[0].start, 5])
            place = self._steady(attempt) - knack.off
            at = self.view.reach(place, self._feeling.pose(knack, knack.height, yaw), TIPS)
            if not self._feeling.within_reach(at):
                return None
        grasp = np.array([*at, knack.height])
        above = _ABOVE_HANDLES_M if attempt.skill in HANDLES else knack.clear - 0.02
        drop = self._drop(attempt, knack, grasp, yaw)
        return PickPlaceTarget(grasp, yaw, drop, knack.width, knack.clear, above, knack.lift)

    def _drop(
        self, attempt: Attempt, knack: GraspStats, grasp: Vector3, yaw: float
    ) -> Vector3 | None:
        """Where this attempt rightly let go; else over the container, or as another one did; None: nobody did."""
        feeling = self._feeling
        if attempt.good and attempt.release is not None:
            return attempt.release[:3]
        if attempt.skill == "put":
            off, height = feeling.drop
            at = self.view.reach(attempt.found[1] - off, feeling.pose(knack, height, yaw), TIPS)
            return np.array([*at, height])
        if attempt.skill in HANDLES:
            move = feeling.moves.get(attempt.skill)
            return None if move is None else grasp + move
        others = feeling.releases[attempt.skill]
        return others[int(self.rng.integers(len(others)))][:3] if others else None

    def _steady(self, attempt: Attempt) -> Float64[np.ndarray, "2"]:
        """The thing's place in the image, from all looks before the first grip in which the hand was elsewhere."""
        times = np.arange(0, attempt.grasps[0].start, EVERY)
        first: Float64[np.ndarray, "2"] = attempt.found[0].astype(np.float64)
        tips = self.view(attempt.states[times])[:, TIPS].mean(1)
        times = times[np.linalg.norm(tips - first, axis=1) > _CLEAR_VIEW]
        if not len(times):
            return first
        seen = observations_at(self.frames, attempt.first + times)
        read = self._reader.find(seen, [attempt.instruction] * len(times))[:, 0]
        same = read[np.linalg.norm(read - first, axis=1) < _SAME]
        steady: Float64[np.ndarray, "2"] = np.median([*same, first], axis=0)
        return steady

    def foresees(
        self,
        attempt: Attempt,
        errand: PickPlaceTarget,
        path: MotionPlan,
        at: Int64[np.ndarray, " k"],
    ) -> Float64[np.ndarray, "k f 2"]:
        """What is seen at some steps of a plan, in the order of `soar.subgoals.compact.keypoint_predictor.FORESEEN`."""
        arm, doing = self.view(path.states[at]), path.doing[at]
        lying = self.lies(errand, errand.grasp)
        left = lying if errand.drop is None else self.lies(errand, errand.drop)
        held = np.where((doing == HOLDING)[:, None], arm[:, TIPS].mean(1), left)
        thing = np.where((doing == REACHING)[:, None], lying, held)
        if attempt.skill in HANDLES:
            thing = attempt.found[0] + HANDLES[attempt.skill] * (thing - lying)
        return np.concatenate([arm[:, :1], thing[:, None], arm[:, 1:]], 1)

    def lies(self, errand: PickPlaceTarget, place: Vector3) -> Float64[np.ndarray, "2"]:
        """Where fingertips around something on the table, or a little above it, are seen."""
        height = min(place[2], errand.grasp[2] + 0.01)
        state = np.array([*place[:2], height, 0, 0, errand.yaw, errand.width])
        return np.asarray(self.view(state[None])[0, TIPS].mean(0))
