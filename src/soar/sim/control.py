"""Delta end-effector control: from actions to commanded poses and joint angles.

Actions accumulate from the *commanded* pose, so that the arm's lag causes no drift. The commanded position stays
within a short distance of the measured one, so that the executed action of a blocked arm goes to zero. The executed
action is the change of the commanded pose after all limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mink
import mujoco
import numpy as np
from jaxtyping import Float64

from soar.sim.arm import END_EFFECTOR_SITE, FINGER_TRAVEL_M, JOINTS, add_arm
from soar.types import WORKSPACE_HIGH, WORKSPACE_LOW, Action

Vector3 = Float64[np.ndarray, "3"]
Joints = Float64[np.ndarray, "6"]

DOWN: Float64[np.ndarray, "3 3"] = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
"""Rotation of the end effector at roll = pitch = yaw = 0: fingers straight down, opening along y."""

_REACH_TOLERANCE_M = 0.002
_SMALLER = 0.3
"""Share of a step that is tried where the whole one leads outside."""
_BACK_M = (0.01, 0.03)
"""Steps back into the box, where holding still leads outside."""
_ON_THE_WAY = (0.25, 0.5, 0.75, 1.0)
"""Shares of a joint motion at which the end effector's position is checked."""
_CLOSE_ENOUGH = 3e-5
"""Error at which the solver stops [m, rad]."""


@dataclass(frozen=True)
class ControlConfig:
    """Limits of the end effector's motion."""

    low: tuple[float, float, float] = WORKSPACE_LOW
    high: tuple[float, float, float] = WORKSPACE_HIGH
    """Workspace box of the end effector [m]."""
    max_step_m: float = 0.05
    """Largest change of the commanded position per control step, along each axis [m]."""
    max_turn_rad: float = 0.35
    """Largest change of each commanded angle per control step [rad]."""
    max_tilt_rad: float = 0.6
    """Largest absolute roll and pitch [rad]; keeps the fingers pointing down."""
    max_yaw_rad: float = 1.75
    """Largest absolute yaw [rad]."""
    leash_m: float = 0.03
    """Largest distance of the commanded from the measured position, along each axis [m]."""
    neutral: tuple[float, float, float] = (0.21, 0.0, 0.16)
    """Position after `home()` [m], fingers straight down."""


@dataclass(frozen=True, eq=False)
class Target:
    """Commanded pose of the end effector and the joint angles that reach it."""

    position: Vector3
    rpy: Vector3
    gripper: float
    """Opening, from 0 (closed) to 1 (open)."""
    joints: Joints

    @property
    def finger_m(self) -> float:
        """Stroke of each finger [m]."""
        return self.gripper * FINGER_TRAVEL_M


def rotation(rpy: Vector3) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation matrix of the end effector in the base frame: Rz(yaw) Ry(pitch) Rx(roll) `DOWN`."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x @ DOWN)


def roll_pitch_yaw(matrix: Float64[np.ndarray, "3 3"]) -> Vector3:
    """Invert `rotation`. Returns angles in [-pi, pi]."""
    r = matrix @ DOWN.T
    return np.array(
        [
            np.arctan2(r[2, 1], r[2, 2]),
            np.arcsin(np.clip(-r[2, 0], -1, 1)),
            np.arctan2(r[1, 0], r[0, 0]),
        ]
    )


class EndEffectorController:
    """Conversion of actions to commanded poses by inverse kinematics. Holds no state but the solver's scratch space."""

    config = ControlConfig()

    def __init__(self) -> None:
        spec = mujoco.MjSpec()
        add_arm(spec)
        self._configuration = mink.Configuration(spec.compile())
        self._task = mink.FrameTask(
            END_EFFECTOR_SITE, "site", position_cost=1.0, orientation_cost=0.1, lm_damping=1e-4
        )
        self._limits = [mink.ConfigurationLimit(self._configuration.model, gain=0.95)]
        self.neutral = self._find_neutral()

    def follow(self, target: Target, action: Action, measured: Vector3) -> tuple[Target, Action]:
        """Apply an action to a commanded pose.

        A pose out of the arm's reach (a far corner of the box) becomes the one that the arm reaches. Where that, or
        the way there, lies outside of the box, the arm doesn't turn, takes a smaller step, or holds still. Momentum or
        a contact may still lead the hand out, for which `World.step` tries the `smaller` actions.

        Args:
            target: present commanded pose.
            action: delta [m, rad] and gripper opening in [0, 1]; must be finite.
            measured: measured position of the end effector [m].

        Returns:
            The next commanded pose, and the executed action.
        """
        c, a = self.config, np.asarray(action, np.float64)
        step = np.clip(a[:3], -c.max_step_m, c.max_step_m)
        held = np.clip(target.position, measured - c.leash_m, measured + c.leash_m)
        position = np.clip(held + step, c.low, c.high)
        bound = np.array([c.max_tilt_rad, c.max_tilt_rad, c.max_yaw_rad])
        rpy = np.clip(target.rpy + np.clip(a[3:6], -c.max_turn_rad, c.max_turn_rad), -bound, bound)
        gripper = float(np.clip(a[6], 0, 1))
        part = target.position + _SMALLER * (position - target.position)
        tries = ((position, rpy), (position, target.rpy), (part, target.rpy))
        for position, rpy in tries:
            joints, reached = self._reach(position, rpy, target.joints)
            if self._outside_on_the_way(target.joints, joints) <= _REACH_TOLERANCE_M:
                break
        else:
            position, joints, reached = target.position, target.joints, target.position
        if np.abs(reached - position).max() > _REACH_TOLERANCE_M:
            position = np.clip(reached, c.low, c.high)
        executed = np.concatenate([position - target.position, rpy - target.rpy, [gripper]])
        return Target(position, rpy, gripper, joints), executed.astype(np.float32)

    def smaller(self, action: Action, hand: Vector3) -> Iterator[Action]:
        """Yield an action, then the same without its turn, with a part of its step, without motion, and motions back.

        Args:
            action: delta [m, rad] and gripper opening in [0, 1].
            hand: live view of the end effector's position [m]; the motions back lead from where it is by then.
        """
        yield action
        c = self.config
        step = np.clip(action[:3], -c.max_step_m, c.max_step_m)
        for share in (1.0, _SMALLER, 0.0):
            yield np.array([*(share * step), 0, 0, 0, action[6]], np.float32)
        back = np.sign(np.clip(hand, c.low, c.high) - hand)
        for length in _BACK_M:
            yield np.array([*(length * back), 0, 0, 0, action[6]], np.float32)

    def outside(self, position: Vector3) -> float:
        """Return by how much a position lies outside of the box [m]; at most 0 inside."""
        low, high = np.asarray(self.config.low), np.asarray(self.config.high)
        return float(np.maximum(low - position, position - high).max())

    def _reach(
        self, position: Vector3, rpy: Vector3, start: Joints
    ) -> tuple[Joints, Float64[np.ndarray, "3"]]:
        """Return the joint angles for a pose, and the position [m] to which they really lead."""
        joints = self.solve(position, rpy, start)
        return joints, np.array(self._configuration.data.site(END_EFFECTOR_SITE).xpos)

    def _outside_on_the_way(self, start: Joints, end: Joints) -> float:
        """Return by how much a straight joint motion leads outside of the box [m]; at most 0 inside."""
        q = np.zeros(self._configuration.model.nq)
        worst = -np.inf
        for share in _ON_THE_WAY:
            q[: len(JOINTS)] = start + share * (end - start)
            self._configuration.update(q)
            worst = max(worst, self.outside(self._configuration.data.site(END_EFFECTOR_SITE).xpos))
        return float(worst)

    def solve(self, position: Vector3, rpy: Vector3, start: Joints, iterations: int = 6) -> Joints:
        """Solve for the joint angles [rad] near `start` that reach a pose, its position before its orientation."""
        q = np.zeros(self._configuration.model.nq)
        q[: len(JOINTS)] = start
        self._configuration.update(q)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation(rpy), position
        self._task.set_target(mink.SE3.from_matrix(pose))
        for _ in range(iterations):
            if np.abs(self._task.compute_error(self._configuration)).max() < _CLOSE_ENOUGH:
                break
            velocity = mink.solve_ik(
                self._configuration, [self._task], 1.0, "daqp", damping=1e-6, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity.clip(-0.25, 0.25), 1.0)
        return np.array(self._configuration.q[: len(JOINTS)])

    def _find_neutral(self) -> Target:
        position, rpy = np.array(self.config.neutral), np.zeros(3)
        elbow_up = np.array([0, -0.5, 0.6, 0, 1.5, 0])
        return Target(position, rpy, 1.0, self.solve(position, rpy, elbow_up, iterations=50))
