"""How a scripted hand moves: one smooth, slightly wavering action at a time towards a pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from soar.errors import ConfigError
from soar.types import Action

if TYPE_CHECKING:
    from soar.sim.world import World

_PATIENCE = 5
"""Actions without motion that make a hand stuck."""

Vector3 = Float64[np.ndarray, "3"]


def funnel(here: Vector3, goal: Vector3, turn_rad: float, clear_z: float) -> Vector3:
    """Where a hand goes next on its way down to a goal: high above `clear_z` while far to the side, or still to turn
    by `turn_rad`; down when over the goal."""
    away = goal[:2] - here[:2]
    aside = float(np.linalg.norm(away)) + 0.06 * max(0.0, turn_rad - 0.15)
    height = float(np.clip(goal[2] + 2.5 * (aside - 0.015), goal[2], max(clear_z, goal[2])))
    too_low = height - here[2] - 0.01
    if too_low > 0 and aside > 0.02:
        share = np.clip((0.03 - too_low) / aside, 0.0, 1.0)
        return np.array([*(here[:2] + away * share), height])
    return np.array([*goal[:2], height])


@dataclass(frozen=True)
class MotionConfig:
    """Speed and waver of a scripted hand."""

    step_m: float = 0.028
    """Longest motion in one control step."""
    turn_rad: float = 0.22
    """Largest turn in one control step."""
    gain_m: float = 0.012
    """How much longer a step may be than the one before it: the hand starts gently."""
    waver_m: float = 0.005
    """Standard deviation of the smooth noise on each step, far from the goal."""
    waver_rad: float = 0.03
    memory: float = 0.7
    """Correlation of the noise from one step to the next."""

    def __post_init__(self) -> None:
        if (
            min(self.step_m, self.turn_rad, self.gain_m) <= 0
            or min(self.waver_m, self.waver_rad) < 0
        ):
            raise ConfigError("a motion's speeds must be positive and its waver not negative")
        if not 0 <= self.memory < 1:
            raise ConfigError(f"memory must lie in [0, 1), not {self.memory}")


class Hand:
    """The arm's hand, moved by a script. Remembers only its last pace and its present waver."""

    def __init__(self, world: World, config: MotionConfig, rng: np.random.Generator) -> None:
        self.world = world
        self.meant: Action = np.zeros(7, np.float32)
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
        self._waver = c.memory * self._waver + np.sqrt(1 - c.memory**2) * self._rng.normal(size=6)
        waver = self._waver.clip(-2, 2) * np.clip(distance / 0.06, 0.08, 1.0)
        step = away / max(distance, 1e-9) * self._pace
        turn = turn.clip(-c.turn_rad, c.turn_rad)
        self.meant = np.array([*step, *turn, gripper], np.float32)
        step, turn = step + waver[:3] * c.waver_m, turn + waver[3:] * c.waver_rad
        return np.array([*step, *turn, gripper], np.float32)

    def hold(self, gripper: float) -> Action:
        """Stay where the hand was told to be."""
        self._pace, self._trail = 0.0, []
        self.meant = np.array([0, 0, 0, 0, 0, 0, gripper], np.float32)
        return self.meant

    def approach(self, position: Vector3, yaw: float, gripper: float, clear_z: float) -> Action:
        """One step along a funnel: high above `clear_z` while far to the side, down when over the goal."""
        here = self.world.target
        waypoint = funnel(here.position, position, abs(yaw - here.rpy[2]), clear_z)
        return self.towards(waypoint, yaw, gripper)

    def is_stuck(self) -> bool:
        """Whether the hand hasn't moved for a few actions, though it was told to. Ask before each action."""
        pose = np.concatenate([*self.world.hand_pose()])
        self._trail = [*self._trail, pose][-_PATIENCE:]
        moved = np.abs(self._trail[0] - pose)
        return len(self._trail) == _PATIENCE and bool(moved[:3].max() < 0.004 and moved[5] < 0.08)

    def at(self, position: Vector3, yaw: float, within_m: float = 0.008) -> bool:
        """Whether the measured hand is at a pose."""
        here, rpy = self.world.hand_pose()
        return bool(np.linalg.norm(position - here) < within_m and abs(yaw - rpy[2]) < 0.12)
