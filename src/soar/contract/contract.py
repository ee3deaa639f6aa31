"""The contract: what the numbers of an action and a state, the images and the control period mean.

Every robot, episode, checkpoint, served policy and data card carries one. Nothing is guessed: two sides that meet are
compared field by field (`soar.contract.compare`), and only declared conversions are made (`soar.contract.convert`).
The defaults are those of the packaged WidowX, as in BridgeData V2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt

from soar.errors import ConfigError

Space: TypeAlias = Literal["end_effector", "joints"]
Rotation: TypeAlias = Literal[
    "rpy", "rotvec", "quaternion_xyzw", "quaternion_wxyz", "rotation_6d", "yaw", "none"
]
"""Numbers of a rotation R. rpy: roll, pitch, yaw of Rz(yaw) Ry(pitch) Rx(roll). rotvec: axis times angle.
quaternion_xyzw, quaternion_wxyz: a unit quaternion with its scalar last or first. rotation_6d: the first two columns of
R, one after the other. yaw: Rz(yaw). none: an arm that doesn't turn."""
ROTATION_NAMES: Mapping[Rotation, tuple[str, ...]] = {
    "rpy": ("roll", "pitch", "yaw"),
    "rotvec": ("rx", "ry", "rz"),
    "quaternion_xyzw": ("qx", "qy", "qz", "qw"),
    "quaternion_wxyz": ("qw", "qx", "qy", "qz"),
    "rotation_6d": ("r11", "r21", "r31", "r12", "r22", "r32"),
    "yaw": ("yaw",),
    "none": (),
}
"""Names of a rotation's numbers, in order."""
LENGTHS_M: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Units of length, in meters."""


@dataclass(frozen=True)
class Gripper:
    """Values of the gripper's opening, linear in between."""

    closed: float = 0.0
    """Value of the closed gripper."""
    open: float = 1.0
    """Value of the open gripper. (1, 0) is inverted; (-1, 1), (0, 100) and (0, 0.08) in meters are others' ranges."""

    def __post_init__(self) -> None:
        if self.closed == self.open:
            raise ConfigError(f"gripper: closed and open are both {self.open}; valid: two numbers")


@dataclass(frozen=True)
class Numbers:
    """Meaning of the numbers of an action or a state: a motion or pose, then the gripper."""

    space: Space = "end_effector"
    """Pose of the end effector (x, y, z and a rotation), or joints."""
    joints: tuple[str, ...] = ()
    """Names of the joints, in order, the gripper not among them; empty for an end effector."""
    length: Literal["m", "cm", "mm"] = "m"
    """Unit of positions."""
    angle: Literal["rad", "deg"] = "rad"
    """Unit of angles and rotation vectors."""
    wrap: Literal["signed", "unsigned", "continuous"] = "signed"
    """Range of absolute angles: from -half a turn to half a turn, from 0 to a turn, or no jump. A hand's angles are
    brought into it; joints never are, because a turn more is another place of the joint."""
    frame: Literal["base", "end_effector"] = "base"
    """Frame of motions; absolute poses are in the base frame."""
    axes: Literal["x_forward_y_left", "x_right_y_forward"] = "x_forward_y_left"
    """Axes of the base frame as seen from behind the arm; z points up."""
    rotation: Rotation = "rpy"
    zero_rotation: Literal["fingers_down", "fingers_up", "fingers_forward"] = "fingers_down"
    """Direction of the fingers at rotation zero. fingers_down: R_down. fingers_up: R_down Rx(pi), so that a hand that
    points down has roll pi. fingers_forward: R_down Ry(-pi/2), so that it has pitch pi/2."""
    gripper: Gripper | None = field(default_factory=Gripper)
    """Range of the gripper; None for an arm without one."""
    scale: tuple[float, ...] = ()
    """Physical value of 1.0, for each number before the gripper; empty for physical units."""

    def __post_init__(self) -> None:
        if (self.space == "joints") != bool(self.joints):
            raise ConfigError(
                f"space '{self.space}' with joints {self.joints}; valid: joints are named in space 'joints' alone"
            )
        if self.scale and (len(self.scale) != self.motion_dim or 0 in self.scale):
            raise ConfigError(
                f"scale is {self.scale}; valid: {self.motion_dim} numbers other than 0, or none"
            )

    @property
    def motion_dim(self) -> int:
        """Numbers before the gripper."""
        return len(self.motion_names)

    @property
    def dim(self) -> int:
        """Numbers, that of the gripper included."""
        return self.motion_dim + (self.gripper is not None)

    @property
    def gripper_index(self) -> int | None:
        """Index of the gripper; None for an arm without one."""
        return None if self.gripper is None else self.motion_dim

    @property
    def angle_indices(self) -> tuple[int, ...]:
        """Indices of the numbers that are angles: of all joints, or of roll, pitch, yaw."""
        if self.space == "joints":
            return tuple(range(self.motion_dim))
        return tuple(range(3, self.motion_dim)) if self.rotation in ("rpy", "yaw") else ()

    @property
    def motion_names(self) -> tuple[str, ...]:
        """Names of the numbers before the gripper."""
        if self.space == "joints":
            return self.joints
        return ("x", "y", "z", *ROTATION_NAMES[self.rotation])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all numbers."""
        return self.motion_names + (("gripper",) if self.gripper is not None else ())


@dataclass(frozen=True)
class ActionNumbers(Numbers):
    """Meaning of an action. The gripper's number is always absolute."""

    reference: Literal["delta", "absolute"] = "delta"
    """Change within one control step, or the pose or joints to go to."""
    delta_from: Literal["commanded", "measured"] = "commanded"
    """Pose that a delta changes: the one commanded last, or the one measured."""
    turn: Literal["angles_added", "left", "right"] = "angles_added"
    """Delta of a rotation. angles_added: the angles are added, for rpy and yaw. left: R' = dR R, about the base's axes.
    right: R' = R dR, about the hand's axes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        added = self.turn == "angles_added" and self.reference == "delta"
        if self.space == "end_effector" and added and self.rotation not in ("rpy", "yaw", "none"):
            raise ConfigError(
                f"turn 'angles_added' doesn't fit rotation '{self.rotation}'; valid: left, right"
            )


@dataclass(frozen=True)
class Camera:
    """A camera's images: uint8, rows from the top, three channels last."""

    name: str = "primary"
    height: int | None = None
    """Pixels; None for any number."""
    width: int | None = None
    """Pixels; None for any number."""
    color: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels. Only RGB is stored and shown to models."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"camera {self.name!r}; valid: letters, digits and _ from a letter")


@dataclass(frozen=True)
class Contract:
    """Meaning of what a robot takes and gives, or of what a model learned from."""

    action: ActionNumbers = field(default_factory=ActionNumbers)
    state: Numbers = field(default_factory=Numbers)
    cameras: tuple[Camera, ...] = (Camera(),)
    """Cameras by name; the first is the one that success detectors and subgoal generators see."""
    period_s: Annotated[float, Gt(0)] = 0.2
    """Control period in seconds."""
    chunk: Annotated[int, Ge(1)] = 1
    """Actions that a policy gives at once."""

    def __post_init__(self) -> None:
        names = self.camera_names
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"cameras {names}; valid: at least one, each with its own name")

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, the primary one first."""
        return tuple(c.name for c in self.cameras)


WIDOWX = Contract()
"""Contract of the packaged arm and of BridgeData V2."""
