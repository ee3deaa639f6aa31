"""Arms that are driven by joints, driven by poses of the end effector: kinematics from a URDF or MJCF file, by mink.

The result has the WidowX's contract: deltas of position, roll, pitch, yaw in the base frame, fingers down at rotation
zero. The file's base frame must be x forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from annotated_types import Gt
from jaxtyping import Float64

from soar.contract.contract import WIDOWX, Contract
from soar.contract.convert import Pose, apply, decode, encode, express
from soar.contract.rotations import from_matrix, turned
from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.returned import DriverReader
from soar.types import Action, Observation
from soar.utils.config import check_ranges

if TYPE_CHECKING:
    import mujoco

Axis: TypeAlias = Literal["x", "-x", "y", "-y", "z", "-z"]
_ITERATIONS = 12
_STEP_RAD = 0.25
"""Largest change of a joint in one iteration of the solver, in radians."""
_CLOSE_ENOUGH = 3e-5
"""Error at which the solver stops [m, rad]."""


@dataclass(frozen=True)
class Kinematics:
    """Kinematics of an arm, for its station's file."""

    model: str
    """URDF or MJCF file, whose joints are named as in the contract."""
    frame: str
    """Site or body between the fingers."""
    frame_kind: Literal["site", "body"] = "body"
    """Kind of that frame; a URDF has bodies alone."""
    fingers: Axis = "x"
    """Axis of the frame along which the fingers point."""
    opening: Axis = "y"
    """Axis of the frame along which they open."""
    orientation_cost: Annotated[float, Gt(0)] = 0.1
    """Weight of the rotation against the position; 0.01 for an arm of five joints, which can't meet both."""
    max_turn_rad: Annotated[float, Gt(0)] = 0.35
    """Largest change of a joint in one control step, in radians."""
    leash_m: Annotated[float, Gt(0)] = 0.03
    """Largest distance of the commanded from the measured position, along each axis, in meters."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.fingers[-1] == self.opening[-1]:
            raise ConfigError("kinematics: fingers and opening need different axes")


class PoseRobot:
    """A robot that is driven by joints, behind the contract of a pose."""

    def __init__(self, robot: Robot, source: Contract, kinematics: Kinematics) -> None:
        """Load the kinematics.

        Args:
            robot: the robot.
            source: meaning of its numbers: joints in actions and states.
            kinematics: the arm.

        Raises:
            ConfigError: the robot isn't driven by joints, the file can't be read, or a name isn't in it.
        """
        import mink

        if not source.action.joints or source.action.joints != source.state.joints:
            raise ConfigError("kinematics need a contract of the same joints in actions and states")
        self.robot, self.period_s = robot, robot.period_s
        self._source, self._kinematics = source, kinematics
        gripper = WIDOWX.action.gripper if source.action.gripper else None
        self.contract = Contract(
            replace(WIDOWX.action, gripper=gripper),
            replace(WIDOWX.state, gripper=WIDOWX.state.gripper if source.state.gripper else None),
            source.cameras,
            robot.period_s,
        )
        self._returned = DriverReader(source)
        model = _load(kinematics.model)
        self._at = _addresses(model, source.action.joints, kinematics.model)
        self._arm = mink.Configuration(model)
        _check_frame(model, kinematics)
        self._task = mink.FrameTask(
            kinematics.frame,
            kinematics.frame_kind,
            1.0,
            kinematics.orientation_cost,
            lm_damping=1e-4,
        )
        self._limits = [mink.ConfigurationLimit(model, gain=0.95)]
        self._down = _down(kinematics)
        self._measured: Pose | None = None
        """Joints that were observed last."""
        self._target: Pose | None = None
        """Pose that was commanded last; None at home."""

    def observe(self) -> Observation:
        """See `Robot.observe`; the state is the pose that the joints lead to."""
        seen = self._returned.observation(self.robot.observe())
        joints = decode(seen.state.astype(np.float64), self._source.state)
        self._measured = joints
        state = encode(self._pose(joints), self.contract.state)
        return replace(seen, state=state.astype(np.float32))

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`; returns the motion of the commanded pose, which may be out of reach."""
        if self._measured is None:
            self.observe()
        assert self._measured is not None
        joints, measured = self._measured, self._pose(self._measured)
        start = self._target or measured
        leash = self._kinematics.leash_m
        held = np.clip(start.motion, measured.motion - leash, measured.motion + leash)
        start = Pose(held, start.rotation, start.opening)
        goal = apply(action.astype(np.float64), start, self.contract.action)
        wanted = Pose(self._solve(goal, joints.motion), joints.rotation, goal.opening)
        sent = express(wanted, joints, self._source.action).astype(np.float32)
        executed = self._returned.action(self.robot.execute(sent))
        led = apply(executed.astype(np.float64), joints, self._source.action)
        self._target = reached = self._pose(led)
        return _change(start, reached, self.contract).astype(np.float32)

    def home(self) -> None:
        """See `Robot.home`."""
        self._measured = self._target = None
        self._returned.new_episode()
        self.robot.home()

    def recover(self) -> None:
        """See `Robot.recover`."""
        self._measured = self._target = None
        self._returned.restart()
        self.robot.recover()

    def close(self) -> None:
        """See `Robot.close`."""
        self.robot.close()

    def _pose(self, joints: Pose) -> Pose:
        """Return the end effector's pose for joints [rad]."""
        self._update(joints.motion)
        kind, name = self._kinematics.frame_kind, self._kinematics.frame
        frame = self._arm.get_transform_frame_to_world(name, kind).as_matrix()
        return Pose(frame[:3, 3].copy(), frame[:3, :3] @ self._down.T, joints.opening)

    def _solve(self, goal: Pose, start: Float64[np.ndarray, " j"]) -> Float64[np.ndarray, " j"]:
        """Return joints [rad] near `start` for a pose; position takes precedence over rotation."""
        import mink

        self._update(start)
        frame = np.eye(4)
        frame[:3, :3], frame[:3, 3] = goal.rotation @ self._down, goal.motion
        self._task.set_target(mink.SE3.from_matrix(frame))
        moving = np.zeros(self._arm.model.nv, bool)
        moving[self._at[1]] = True
        for _ in range(_ITERATIONS):
            if np.abs(self._task.compute_error(self._arm)).max() < _CLOSE_ENOUGH:
                break
            velocity = mink.solve_ik(
                self._arm, [self._task], 1.0, "daqp", damping=1e-6, limits=self._limits
            )
            self._arm.integrate_inplace(
                np.where(moving, velocity, 0).clip(-_STEP_RAD, _STEP_RAD), 1.0
            )
        most = self._kinematics.max_turn_rad
        solved: Float64[np.ndarray, " j"] = self._arm.q[self._at[0]]
        return solved.clip(start - most, start + most)

    def _update(self, joints: Float64[np.ndarray, " j"]) -> None:
        q = self._arm.model.qpos0.copy()
        q[self._at[0]] = joints
        self._arm.update(q)


def _change(start: Pose, reached: Pose, contract: Contract) -> Float64[np.ndarray, " a"]:
    """Return an action that leads from a pose to another; angles that wrap go the short way."""
    turn = turned(from_matrix(reached.rotation, "rpy"), from_matrix(start.rotation, "rpy"))
    gripper = [float(reached.opening)] if contract.action.gripper else []
    return np.array([*(reached.motion - start.motion), *turn, *gripper])


def _load(path: str) -> mujoco.MjModel:
    import mujoco

    try:
        spec = mujoco.MjSpec.from_file(path)
        spec.compiler.fusestatic = (
            False  # it would drop a URDF's fixed links, the hand's frame among them
        )
        return spec.compile()
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"kinematics '{path}' can't be read: {text}") from error


def _addresses(
    model: mujoco.MjModel, joints: tuple[str, ...], path: str
) -> tuple[list[int], list[int]]:
    """Return where the joints are in positions and in velocities. Raises ConfigError: the model lacks one."""
    known = [model.joint(i).name for i in range(model.njnt)]
    if missing := [name for name in joints if name not in known]:
        raise ConfigError(f"'{path}' has no joint '{missing[0]}'; valid: {', '.join(known)}")
    found: list[Any] = [model.joint(name) for name in joints]
    return [int(j.qposadr[0]) for j in found], [int(j.dofadr[0]) for j in found]


def _check_frame(model: mujoco.MjModel, kinematics: Kinematics) -> None:
    count, get = (
        (model.nsite, model.site) if kinematics.frame_kind == "site" else (model.nbody, model.body)
    )
    names = [get(i).name for i in range(count)]
    if kinematics.frame not in names:
        raise ConfigError(
            f"'{kinematics.model}' has no {kinematics.frame_kind} '{kinematics.frame}'; valid: {', '.join(names)}"
        )


def _down(kinematics: Kinematics) -> Float64[np.ndarray, "3 3"]:
    """Return the frame's rotation with the fingers down and opening along y."""
    fingers, opening = _axis(kinematics.fingers), _axis(kinematics.opening)
    frame = np.stack([fingers, opening, np.cross(fingers, opening)], 1)
    world = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    down: Float64[np.ndarray, "3 3"] = world @ frame.T
    return down


def _axis(name: Axis) -> Float64[np.ndarray, "3"]:
    axis = np.zeros(3)
    axis["xyz".index(name[-1])] = -1.0 if name.startswith("-") else 1.0
    return axis
