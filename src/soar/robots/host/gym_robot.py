"""Gymnasium environments as robots, by a mapping of their actions and observations; also without soar, in a host.

A station file names an environment, and a family whose mapping is known, or the mapping itself:

    robot: gym
    simulator: true                    # faster than real time; info["success"] is the truth for evaluation
    options:
      env: metaworld:Meta-World/MT1    # module that registers it, and its id
      make: {env_name: reach-v3}       # arguments of gymnasium.make
      family: metaworld
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np

try:
    from soar.errors import CameraFault, ConfigError, RobotFault
except ImportError:  # in an environment without soar the host knows these by name

    class ConfigError(Exception):  # type: ignore[no-redef]
        """A setting isn't valid."""

    class RobotFault(Exception):  # type: ignore[no-redef]
        """The robot can't continue."""

    class CameraFault(RobotFault):  # type: ignore[no-redef]
        """The camera gives no image."""


_HOME_STEPS = 100
"""Maximum number of control steps to the home pose."""
_HOMED_M, _HOMED_RAD = 0.01, 0.05
"""Distance in meters along each axis, and of each angle, from which the arm counts as at home."""
_HOME_STEP_M, _HOME_STEP_RAD = 0.05, 0.35
"""Largest step toward home along each axis in meters, and of each angle."""
_GRIPPER = 6
"""Index of the gripper in actions and states."""


class ActionEntry(NamedTuple):
    """One number of the environment's action: action[dim] * scale + offset, then clipped to its Box."""

    dim: int
    """Index into the robot's action: 0-2 position [m], 3-5 roll, pitch, yaw [rad], 6 gripper (1 is open)."""
    scale: float = 1.0
    offset: float = 0.0


class StateEntry(NamedTuple):
    """One number of the robot's state: value[at] * scale + offset of the environment's value under a key."""

    key: str
    """Key in the observation, if that is a dict, else in the step's info; "" is the observation itself."""
    at: int
    """Index into the flattened value."""
    dim: int
    """Index into the robot's state, with the same meaning as in an action, but absolute."""
    scale: float = 1.0
    offset: float = 0.0


class RotationEntry(NamedTuple):
    """Roll, pitch and yaw of the robot's state, from the end effector's quaternion in the base frame."""

    key: str
    """Key of the value that holds the quaternion; "" is the observation itself."""
    at: int = 0
    """Index of its first number in the flattened value."""
    order: str = "wxyz"
    """"wxyz" as in MuJoCo, or "xyzw" as in SciPy and ROS."""
    down: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)
    """Quaternion, in the same order, with which the fingers point down at yaw zero."""


@dataclass(frozen=True)
class GymMapping:
    """Mapping between an environment's observations and actions and the robot's."""

    instruction: str = ""
    """The environment's task in words."""
    image_key: str | None = None
    """Key of the image in the observation; None takes an observation that is an image, else the rendered picture."""
    turned: bool = False
    """Whether the picture is upside down."""
    action: tuple[ActionEntry, ...] = tuple(ActionEntry(i) for i in range(7))
    """Entries for all numbers of the environment's action, in order."""
    state: tuple[StateEntry, ...] = tuple(StateEntry("state", i, i) for i in range(7))
    """Entries of the robot's state; numbers without one stay zero."""
    rotation: RotationEntry | None = None
    """Quaternion of the end effector; None where the entries give the angles, or the hand doesn't turn."""
    period_s: float = 0.2
    """Duration of a control step in seconds."""
    frame_skip: int = 1
    """Steps of the environment in one control step, each with its share of the motion."""
    success_keys: tuple[str, ...] = ("success", "is_success")
    """Keys of a step's info; the first one that is there says whether the task is done."""


FAMILIES = {
    "metaworld": GymMapping(
        turned=True,
        action=(
            ActionEntry(1, -100.0),
            ActionEntry(0, 100.0),
            ActionEntry(2, 100.0),
            ActionEntry(_GRIPPER, -2.0, 1.0),
        ),
        state=(
            StateEntry("", 1, 0),
            StateEntry("", 0, 1, -1.0),
            StateEntry("", 2, 2),
            StateEntry("", 3, _GRIPPER),
        ),
        frame_skip=16,
    ),
    "fetch": GymMapping(
        action=(
            ActionEntry(0, 31.8),
            ActionEntry(1, 31.8),
            ActionEntry(2, 31.8),
            ActionEntry(_GRIPPER, 2.0, -1.0),
        ),
        state=(
            StateEntry("observation", 0, 0, 1.0, -0.69),
            StateEntry("observation", 1, 1, 1.0, -0.744),
            StateEntry("observation", 2, 2),
            StateEntry("observation", 9, _GRIPPER, 20.0),
        ),
        frame_skip=5,
    ),
}
"""Known mappings. metaworld: x is the Sawyer's y; 16 steps of 12.5 ms; pictures of its corner cameras are upside down.
fetch: the base is at (0.69, 0.744, 0); in each of five steps of 40 ms the hand goes 0.63 of the way (measured)."""
_DEFAULTS: dict[str, dict[str, Any]] = {"metaworld": {"camera_name": "corner2"}}
"""Arguments of gymnasium.make that a family has unless the station file says otherwise."""


class GymRobot:
    """An environment behind the `Robot` protocol, without its rewards.

    Time limits of Gymnasium are lifted: a robot's episode is as long as the control loop's. An environment that ends by
    itself is a fault until `home()` or `recover()`, which reset it. Otherwise `home()` moves the gripper back to where
    it was after the last reset, in steps, and opens it.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], mapping: GymMapping | None = None, seed: int = 0
    ) -> None:
        """Wrap an environment, with `render_mode="rgb_array"` if its observations have no image."""
        self.env = without_time_limit(env)
        self.mapping = mapping or GymMapping()
        self.period_s = self.mapping.period_s
        self._box = _action_box(self.env, self.mapping)
        self._time_s = 0.0
        self.reset(seed)
        self._image()  # starts the renderer, which takes seconds

    def reset(self, seed: int | None = None) -> None:
        """Reset the environment."""
        self._obs, self._info = self.env.reset(seed=seed)
        self._over = ""
        self._home = self._state()

    def observe(self) -> Any:
        """Return the latest image and pose."""
        return Seen(self._image(), self._state(), self._time_s, {})

    def execute(self, action: np.ndarray) -> np.ndarray:
        """Step the environment, and return the action after clipping to its Box.

        Raises:
            RobotFault: the environment has ended.
        """
        if self._over:
            raise RobotFault(f"{self._name} has ended ({self._over}); home() resets it")
        self._time_s += self.period_s
        skip = self.mapping.frame_skip
        share = [1.0 if e.dim == _GRIPPER else 1.0 / skip for e in self.mapping.action]
        entries = zip(self.mapping.action, share, strict=True)
        mapped = np.array([action[e.dim] * e.scale * part + e.offset for e, part in entries])
        mapped = np.clip(mapped, self._box.low, self._box.high).astype(np.float32)
        done = 0
        while done < skip and not self._over:
            self._obs, _, terminated, truncated, self._info = self.env.step(mapped)
            done += 1
            if terminated:
                self._over = "terminated"
            elif truncated:
                self._over = (
                    "truncated: a time limit inside the environment, which must be turned off there"
                )
        return self._from_env(mapped, done)

    def home(self) -> None:
        """Move back to the pose after the last reset and open the gripper; reset an environment that ended.

        Raises:
            RobotFault: the environment ended on the way.
        """
        if self._over:
            self.reset()
        still = np.zeros(7, np.float32)
        still[_GRIPPER] = 1.0
        measured = {e.dim for e in self.mapping.state}
        if self.mapping.rotation is not None:
            measured |= {3, 4, 5}
        turning = [d for d in {e.dim for e in self.mapping.action} & measured if 3 <= d < 6]
        for _ in range(_HOME_STEPS):
            away = (self._home - self._state())[:6].astype(np.float64)
            away[3:] = (away[3:] + np.pi) % (2 * np.pi) - np.pi
            if np.abs(away[:3]).max() < _HOMED_M and (np.abs(away[turning]) < _HOMED_RAD).all():
                break
            step = still.copy()
            step[:3] = np.clip(away[:3], -_HOME_STEP_M, _HOME_STEP_M)
            step[3:6] = np.clip(away[3:], -_HOME_STEP_RAD, _HOME_STEP_RAD)
            self.execute(step)
        self.execute(still)

    def recover(self) -> None:
        """Reset the environment."""
        self.reset()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def truth(self, instruction: str) -> bool:
        """Return whether the environment finds its task done now, whatever the instruction; for evaluation alone.

        Raises:
            ConfigError: a step's info has none of the mapping's `success_keys`.
        """
        for key in self.mapping.success_keys:
            if key in self._info:
                return bool(self._info[key])
        if self._time_s == 0.0 or not self._info:
            return False  # no step was taken since the reset, whose info is empty in Meta-World and Fetch
        there, wanted = (
            ", ".join(sorted(self._info)) or "nothing",
            ", ".join(self.mapping.success_keys),
        )
        raise ConfigError(f"{self._name}: info has {there}, but none of success_keys: {wanted}")

    def _image(self) -> np.ndarray:
        key, observation = self.mapping.image_key, self._obs
        image = observation if key is None else observation[key]
        if key is None and np.ndim(observation) != 3:
            image = self.env.render() if self.env.render_mode == "rgb_array" else None
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8:
            raise CameraFault(
                f"{self._name} gave no uint8 image (image key {key!r}); valid: an image in the observation, or "
                'render_mode="rgb_array"'
            )
        return np.ascontiguousarray(image[::-1, ::-1] if self.mapping.turned else image)

    def _state(self) -> np.ndarray:
        state = np.zeros(7, np.float32)
        for entry in self.mapping.state:
            value = np.ravel(self._look_up(entry.key))[entry.at]
            state[entry.dim] = value * entry.scale + entry.offset
        if (rotation := self.mapping.rotation) is not None:
            numbers = np.ravel(self._look_up(rotation.key))[rotation.at : rotation.at + 4]
            state[3:6] = _angles(numbers, rotation)
        return state

    def _look_up(self, key: str) -> np.ndarray:
        if not key:
            return np.asarray(self._obs, np.float32)
        sources = [s for s in (self._obs, self._info) if isinstance(s, Mapping)]
        for source in sources:
            if key in source:
                return np.asarray(source[key], np.float32)
        valid = ", ".join(sorted(k for source in sources for k in source))
        raise ConfigError(f"{self._name} has no '{key}'; there is: {valid or 'only an image'}")

    def _from_env(self, mapped: np.ndarray, steps: int) -> np.ndarray:
        executed = np.zeros(7, np.float32)
        for value, entry in zip(mapped, self.mapping.action, strict=True):
            times = 1 if entry.dim == _GRIPPER else steps
            executed[entry.dim] = (value - entry.offset) / entry.scale * times
        return executed

    @property
    def _name(self) -> str:
        return self.env.spec.id if self.env.spec else type(self.env).__name__


class Seen(NamedTuple):
    """An observation, with the fields of `soar.types.Observation`."""

    image: np.ndarray
    state: np.ndarray
    time_s: float
    other_images: dict[str, np.ndarray]


def make(
    env: str,
    make: Mapping[str, Any] | None = None,
    family: str = "",
    seed: int = 0,
    size: int = 224,
    **mapping: Any,
) -> GymRobot:
    """Build the robot of a station file with `robot: gym`.

    Args:
        env: the environment's id, with the module that registers it before a colon where one must be imported.
        make: arguments of `gymnasium.make`.
        family: known mapping ("metaworld", "fetch") that `mapping` changes; "" for none.
        seed: seed of the first reset.
        size: height and width of the rendered picture in pixels.
        mapping: fields of `GymMapping`; entries are lists of numbers, or dicts by name of their fields.

    Raises:
        ConfigError: there is no such environment or family, or the mapping doesn't fit it.
    """
    if family and family not in FAMILIES:
        raise ConfigError(f"no family '{family}'; valid: {', '.join(FAMILIES)}")
    known = FAMILIES.get(family, GymMapping())
    names = {f.name for f in dataclasses.fields(GymMapping)}
    if unknown := sorted(mapping.keys() - names):
        raise ConfigError(f"no option '{unknown[0]}'; valid: {', '.join(sorted(names))}")
    for key, kind in (("action", ActionEntry), ("state", StateEntry)):
        if key in mapping:
            mapping[key] = tuple(_entry(kind, e) for e in mapping[key])
    if "rotation" in mapping:
        mapping["rotation"] = _entry(RotationEntry, mapping["rotation"])
    arguments = {"width": size, "height": size, **_DEFAULTS.get(family, {}), **(make or {})}
    return GymRobot(_made(env, arguments), dataclasses.replace(known, **mapping), seed)


def _made(env: str, arguments: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Make an environment that renders, without a picture's size where it takes none. Raises ConfigError."""
    for kept in (arguments, {k: v for k, v in arguments.items() if k not in ("width", "height")}):
        try:
            return gymnasium.make(env, render_mode="rgb_array", disable_env_checker=True, **kept)
        except TypeError as error:
            refused = error
        except (gymnasium.error.Error, ImportError) as error:
            raise ConfigError(f"env '{env}': {' '.join(str(error).split())}") from error
    raise ConfigError(f"env '{env}' doesn't take {dict(arguments)}: {refused}") from refused


def without_time_limit(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return an environment whose wrappers have no `TimeLimit`, and which has no `max_path_length` (Meta-World)."""
    if isinstance(env, gymnasium.wrappers.TimeLimit):
        return without_time_limit(env.env)
    if isinstance(env, gymnasium.Wrapper):
        env.env = without_time_limit(env.env)
    elif hasattr(env, "max_path_length"):
        env.max_path_length = sys.maxsize
    return env


def _entry(kind: Any, value: Any) -> Any:
    """Make an entry of a list or a dict. Raises ConfigError."""
    try:
        return kind(**value) if isinstance(value, Mapping) else kind(*value)
    except TypeError as error:
        raise ConfigError(f"{value!r} is no entry; valid: {', '.join(kind._fields)}") from error


def _angles(numbers: Sequence[float] | np.ndarray, entry: RotationEntry) -> np.ndarray:
    """Return roll, pitch and yaw of R(numbers) R(down)^T, where R = Rz(yaw) Ry(pitch) Rx(roll)."""
    r = _matrix(numbers, entry.order) @ _matrix(entry.down, entry.order).T
    pitch = np.arcsin(np.clip(-r[2, 0], -1, 1))
    return np.array([np.arctan2(r[2, 1], r[2, 2]), pitch, np.arctan2(r[1, 0], r[0, 0])])


def _matrix(numbers: Sequence[float] | np.ndarray, order: str) -> np.ndarray:
    if order not in ("wxyz", "xyzw"):
        raise ConfigError(f"quaternion order '{order}'; valid: wxyz, xyzw")
    q = np.asarray(numbers, np.float64) / max(float(np.linalg.norm(numbers)), 1e-12)
    w, x, y, z = q if order == "wxyz" else q[[3, 0, 1, 2]]
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _action_box(env: gymnasium.Env[Any, Any], mapping: GymMapping) -> gymnasium.spaces.Box:
    box = env.action_space
    if not isinstance(box, gymnasium.spaces.Box) or box.shape != (len(mapping.action),):
        raise ConfigError(
            f"the action space is {box}; the mapping needs a Box of {len(mapping.action)} numbers"
        )
    return box
