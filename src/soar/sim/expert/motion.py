"""Smooth, noisy motions of the scripted gripper, one action at a time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from soar.sim.world import World
from soar.types import Action
from soar.utils.trajectories import MotionConfig, Vector3, approach_waypoint

_STUCK_STEPS = 5
"""Control steps without motion after which the gripper counts as stuck."""


class ScriptedGripper:
    """Actions that move the gripper to poses. Remembers its last speed and noise, and its last few poses."""

    def __init__(self, world: World, config: MotionConfig, rng: np.random.Generator) -> None:
        self.world = world
        self.commanded: Action = np.zeros(7, np.float32)
        """The last action without its noise."""
        self._config = config
        self._rng = rng
        self._step_m = 0.0
        self._noise = np.zeros(6)
        self._poses: list[Float64[np.ndarray, "6"]] = []

    def move(self, position: Vector3, yaw: float, gripper: float) -> Action:
        """Return one step straight to an upright pose. The noise fades near the goal, but not to zero."""
        c, target = self._config, self.world.target
        offset = position - target.position
        distance = float(np.linalg.norm(offset))
        self._step_m = min(c.step_m, self._step_m + c.gain_m, distance)
        turn = np.array([*(-0.5 * target.rpy[:2]), yaw - target.rpy[2]])
        self._noise = c.noise_correlation * self._noise + np.sqrt(
            1 - c.noise_correlation**2
        ) * self._rng.normal(size=6)
        noise = self._noise.clip(-2, 2) * np.clip(distance / 0.06, 0.08, 1.0)
        step = offset / max(distance, 1e-9) * self._step_m
        turn = turn.clip(-c.turn_rad, c.turn_rad)
        self.commanded = np.array([*step, *turn, gripper], np.float32)
        step, turn = step + noise[:3] * c.noise_m, turn + noise[3:] * c.noise_rad
        return np.array([*step, *turn, gripper], np.float32)

    def hold(self, gripper: float) -> Action:
        """Return the action that keeps the commanded pose."""
        self._step_m, self._poses = 0.0, []
        self.commanded = np.array([0, 0, 0, 0, 0, 0, gripper], np.float32)
        return self.commanded

    def approach(self, position: Vector3, yaw: float, gripper: float, clear_z: float) -> Action:
        """Return one step of an approach from above, at height `clear_z` [m] while far to the side of the goal."""
        here = self.world.target
        waypoint = approach_waypoint(here.position, position, abs(yaw - here.rpy[2]), clear_z)
        return self.move(waypoint, yaw, gripper)

    def is_stuck(self) -> bool:
        """Return whether the gripper hasn't moved for a few control steps. Call before each action of a motion."""
        pose = np.concatenate([*self.world.gripper_pose()])
        self._poses = [*self._poses, pose][-_STUCK_STEPS:]
        moved = np.abs(self._poses[0] - pose)
        return len(self._poses) == _STUCK_STEPS and bool(
            moved[:3].max() < 0.004 and moved[5] < 0.08
        )

    def is_at(self, position: Vector3, yaw: float, within_m: float = 0.008) -> bool:
        """Return whether the measured gripper is at a pose."""
        here, rpy = self.world.gripper_pose()
        return bool(np.linalg.norm(position - here) < within_m and abs(yaw - rpy[2]) < 0.12)
