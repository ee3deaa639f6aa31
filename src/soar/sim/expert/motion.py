"""How a scripted hand moves: one smooth, slightly wavering action at a time towards a pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from soar.types import Action
from soar.utils.trajectories import MotionConfig, Vector3, approach_waypoint

if TYPE_CHECKING:
    from soar.sim.world import World

_PATIENCE = 5
"""Actions without motion that make a hand stuck."""


class Hand:
    """The arm's hand, moved by a script. Remembers only its last pace and its present waver."""

    def __init__(self, world: World, config: MotionConfig, rng: np.random.Generator) -> None:
        self.world = world
        self.commanded: Action = np.zeros(7, np.float32)
        """The last action without its waver."""
        self._config = config
        self._rng = rng
        self._pace = 0.0
        self._waver = np.zeros(6)
        self._trail: list[Float64[np.ndarray, "6"]] = []

    def towards(self, position: Vector3, yaw: float, gripper: float) -> Action:
        """One step straight towards a pose with level hand. The waver fades near the goal, never quite."""
        c, target = self._config, self.world.target
        away = position - target.position
        distance = float(np.linalg.norm(away))
        self._pace = min(c.step_m, self._pace + c.gain_m, distance)
        turn = np.array([*(-0.5 * target.rpy[:2]), yaw - target.rpy[2]])
        self._waver = c.noise_correlation * self._waver + np.sqrt(
            1 - c.noise_correlation**2
        ) * self._rng.normal(size=6)
        waver = self._waver.clip(-2, 2) * np.clip(distance / 0.06, 0.08, 1.0)
        step = away / max(distance, 1e-9) * self._pace
        turn = turn.clip(-c.turn_rad, c.turn_rad)
        self.commanded = np.array([*step, *turn, gripper], np.float32)
        step, turn = step + waver[:3] * c.noise_m, turn + waver[3:] * c.noise_rad
        return np.array([*step, *turn, gripper], np.float32)

    def hold(self, gripper: float) -> Action:
        """Stay where the hand was told to be."""
        self._pace, self._trail = 0.0, []
        self.commanded = np.array([0, 0, 0, 0, 0, 0, gripper], np.float32)
        return self.commanded

    def approach(self, position: Vector3, yaw: float, gripper: float, clear_z: float) -> Action:
        """One step along a approach_waypoint: high above `clear_z` while far to the side, down when over the goal."""
        here = self.world.target
        waypoint = approach_waypoint(here.position, position, abs(yaw - here.rpy[2]), clear_z)
        return self.towards(waypoint, yaw, gripper)

    def is_stuck(self) -> bool:
        """Whether the hand hasn't moved for a few actions, though it was told to. Ask before each action."""
        pose = np.concatenate([*self.world.gripper_pose()])
        self._trail = [*self._trail, pose][-_PATIENCE:]
        moved = np.abs(self._trail[0] - pose)
        return len(self._trail) == _PATIENCE and bool(moved[:3].max() < 0.004 and moved[5] < 0.08)

    def at(self, position: Vector3, yaw: float, within_m: float = 0.008) -> bool:
        """Whether the measured hand is at a pose."""
        here, rpy = self.world.gripper_pose()
        return bool(np.linalg.norm(position - here) < within_m and abs(yaw - rpy[2]) < 0.12)
