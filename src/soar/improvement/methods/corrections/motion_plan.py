"""Scripted continuation of a pick-and-place motion from any state, in the robot's base frame.

It moves as the simulated expert does (`soar.utils.trajectories`): a gentle start, an approach by a funnel, two steps to
close the gripper, up, over, open, and up. It reads no simulator, so it plans the same for a real arm with the
same controller.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.utils.trajectories import Vector3, approach_waypoint

REACHING, HOLDING, DONE = 0, 1, 2
"""Phases of a plan."""

_Gripper: TypeAlias = Literal["open", "closed"]


class MotionPlan(NamedTuple):
    """Predicted states, one for each control step, beginning with the current one."""

    states: Float64[np.ndarray, "t 7"]
    phases: Int64[np.ndarray, " t"]
    """Phase of each step: REACHING, HOLDING or DONE."""
    gripper_open: Bool[np.ndarray, " t"]
    """Gripper command of each step: whether to open."""

    @property
    def action(self) -> Float64[np.ndarray, "7"]:
        """The first action: deltas in meters and radians, gripper 0 or 1. An empty plan stays in place."""
        step = np.zeros(6) if len(self.states) < 2 else self.states[1, :6] - self.states[0, :6]
        return np.append(step, float(self.gripper_open[0]))


class PickPlaceTarget(NamedTuple):
    """Grasp and release of one object, positions in the robot's base frame [m]."""

    grasp: Vector3
    yaw: float
    """Yaw of the gripper in the grasp [rad]."""
    release: Vector3 | None
    """Position at which the gripper opens; None where it is unknown: the plan then ends with the object lifted."""
    width: float
    """Gripper opening around the object."""
    carry_height: float
    """Height at which the gripper carries the object over everything else [m]; its own height for handles."""
    approach_height: float
    """Height at which the empty gripper passes over everything [m]."""
    lift: float
    """Height by which the grasped object is lifted first [m]."""


class ScriptedPlanner:
    """Predicts how the scripted expert would continue from a state."""

    def __init__(self, config: CorrectionsConfig) -> None:
        self.config = config

    def plan(
        self,
        state: Float[np.ndarray, "7"],
        target: PickPlaceTarget,
        holding: bool,
        speed_m: float = 0.0,
    ) -> MotionPlan:
        """Plan the whole motion to a target.

        Args:
            state: current state.
            target: grasp and release.
            holding: whether the object is in the gripper already.
            speed_m: translation of the previous control step [m].
        """
        c = self.config
        phase = HOLDING if holding else REACHING
        gripper = _GripperPath(np.asarray(state, np.float64), target.width, phase, speed_m, c)
        if not holding:
            if gripper.opening < c.open_gripper:
                gripper.stay("open", c.gripper_steps)
                gripper.rise(c.lift_m, "open")
            gripper.approach(
                target.grasp, target.yaw, "open", target.approach_height, c.grasp_tolerance_m
            )
            gripper.stay("closed", c.gripper_steps)
            gripper.phase = HOLDING
            gripper.rise(target.lift, "closed")
        if target.release is not None:
            gripper.approach(
                target.release, gripper.yaw, "closed", target.carry_height, c.release_tolerance_m
            )
            gripper.phase = DONE
            gripper.stay("open", c.gripper_steps)
            gripper.leave()
        return gripper.motion(opens=not holding)

    def retreat(self, state: Float[np.ndarray, "7"], speed_m: float = 0.0) -> MotionPlan:
        """Plan the motion after the release: straight up with an open gripper, and stay there."""
        gripper = _GripperPath(np.asarray(state, np.float64), 0.0, DONE, speed_m, self.config)
        gripper.leave()
        return gripper.motion(opens=True)


class _GripperPath:
    """Path of a gripper that follows motion commands exactly."""

    def __init__(
        self,
        state: Float64[np.ndarray, "7"],
        width: float,
        phase: int,
        speed_m: float,
        config: CorrectionsConfig,
    ) -> None:
        self.position, self.yaw, self.opening = state[:3].copy(), float(state[5]), float(state[6])
        self.width, self.phase = width, phase
        self._speed_m, self._tilt, self._config = speed_m, state[3:5], config
        self._states, self._phases = [state], [phase]
        self._opens: list[bool] = []

    def stay(self, gripper: _Gripper, steps: int) -> None:
        self._speed_m = 0.0
        for _ in range(steps):
            self._step(gripper)

    def rise(self, height: float, gripper: _Gripper) -> None:
        goal = self.position + np.array([0, 0, height])
        for _ in range(self._config.max_rise_steps):
            if self.position[2] > goal[2] - self._config.rise_tolerance_m:
                return
            self._move(goal, self.yaw, gripper)

    def approach(
        self, goal: Vector3, yaw: float, gripper: _Gripper, clear_z: float, tolerance_m: float
    ) -> None:
        for _ in range(self._config.max_approach_steps):
            turn = abs(yaw - self.yaw)
            distance = np.linalg.norm(goal - self.position)
            if distance < tolerance_m and turn < self._config.turn_tolerance_rad:
                return
            self._move(approach_waypoint(self.position, goal, turn, clear_z), yaw, gripper)

    def leave(self) -> None:
        """Rise with an open gripper, and stay."""
        self.rise(max(0.0, self._config.retreat_height_m - self.position[2]), "open")
        self.stay("open", self._config.hold_steps)

    def motion(self, opens: bool) -> MotionPlan:
        """Return the path so far. `opens`: the gripper command of an empty one."""
        commands = [*self._opens, self._opens[-1] if self._opens else opens]
        return MotionPlan(np.array(self._states), np.array(self._phases), np.array(commands))

    def _move(self, goal: Vector3, yaw: float, gripper: _Gripper) -> None:
        motion = self._config.motion
        offset = goal - self.position
        distance = float(np.linalg.norm(offset))
        self._speed_m = min(motion.step_m, self._speed_m + motion.gain_m, distance)
        self.position = self.position + offset / max(distance, 1e-9) * self._speed_m
        self._tilt = 0.5 * self._tilt
        self.yaw += float(np.clip(yaw - self.yaw, -motion.turn_rad, motion.turn_rad))
        self._step(gripper)

    def _step(self, gripper: _Gripper) -> None:
        step = self._config.gripper_step
        closed = max(self.width, self.opening - step)
        self.opening = min(1.0, self.opening + step) if gripper == "open" else closed
        self._states.append(np.array([*self.position, *self._tilt, self.yaw, self.opening]))
        self._phases.append(self.phase)
        self._opens.append(gripper == "open")
