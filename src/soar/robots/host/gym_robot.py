"""Robots from Gymnasium environments with images, by a mapping of their actions and observations.

>>> mapping = GymMapping(                                    # OGBench's cube, for example
...     instruction="put the red cube on the target",
...     action=(ActionEntry(0, 20), ActionEntry(1, 20), ActionEntry(2, 20),
...             ActionEntry(5, 1 / 0.3), ActionEntry(6, -2, 1)),
...     state=(StateEntry("proprio/effector_pos", 0, 0), StateEntry("proprio/effector_pos", 1, 1)))
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float32

from soar.errors import CameraFault, ConfigError, RobotFault
from soar.types import ACTION_DIM, STATE_DIM, Action, Image, Observation, State

_HOME_STEPS = 100
"""Maximum number of steps to the home pose."""
_HOMED_M, _HOMED_RAD = 0.01, 0.05
"""Distance in meters along each axis, and of each angle, from which the arm counts as at home."""
_HOME_STEP_M, _HOME_STEP_RAD = 0.05, 0.35
"""Largest step toward home along each axis in meters, and of each angle."""


class ActionEntry(NamedTuple):
    """One number of the environment's action: action[dim] * scale + offset, then clipped to its Box."""

    dim: int
    """Index into the robot's action: 0-2 position [m], 3-5 roll, pitch, yaw [rad], 6 gripper (1 is open)."""
    scale: float = 1.0
    offset: float = 0.0


class StateEntry(NamedTuple):
    """One number of the robot's state: value[at] * scale + offset of the environment's value under a key."""

    key: str
    """Key in the observation, if that is a dict, else in the step's info."""
    at: int
    """Index into the flattened value."""
    dim: int
    """Index into the robot's state, with the same meaning as in an action, but absolute."""
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class GymMapping:
    """Mapping between an environment's observations and actions and the robot's."""

    instruction: str = ""
    """The environment's task in words."""
    image_key: str | None = None
    """Key of the image in the observation; None if the observation is the image."""
    action: tuple[ActionEntry, ...] = tuple(ActionEntry(i) for i in range(ACTION_DIM))
    """Entries for all numbers of the environment's action, in order."""
    state: tuple[StateEntry, ...] = tuple(StateEntry("state", i, i) for i in range(STATE_DIM))
    """Entries of the robot's state; numbers without one stay zero."""
    period_s: float = 0.2
    """Duration of a step in seconds."""


class GymRobot:
    """An environment behind the `Robot` protocol, without its rewards.

    Time limits of Gymnasium are lifted: a robot's episode is as long as the control loop's. An environment that ends by
    itself is a fault until `home()` or `recover()`, which reset it. Otherwise `home()` moves the gripper back to where
    it was after the last reset, in steps, and opens it.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], mapping: GymMapping | None = None, seed: int = 0
    ) -> None:
        self.env = without_time_limit(env)
        self.mapping = mapping or GymMapping()
        self.period_s = self.mapping.period_s
        self._box = _action_box(self.env, self.mapping)
        self._time_s = 0.0
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Reset the environment."""
        self._obs, self._info = self.env.reset(seed=seed)
        self._over = ""
        self._home = self._state()

    def observe(self) -> Observation:
        """Return the latest image and pose."""
        return Observation(self._image(), self._state(), self._time_s)

    def execute(self, action: Action) -> Action:
        """Step the environment, and return the action after clipping to its Box.

        Raises:
            RobotFault: the environment has ended.
        """
        if self._over:
            raise RobotFault(f"{self._name} has ended ({self._over}); home() resets it")
        self._time_s += self.period_s
        mapped = np.array([action[e.dim] * e.scale + e.offset for e in self.mapping.action])
        mapped = np.clip(mapped, self._box.low, self._box.high).astype(np.float32)
        self._obs, _, terminated, truncated, self._info = self.env.step(mapped)
        if terminated:
            self._over = "terminated"
        elif truncated:
            self._over = (
                "truncated: a time limit inside the environment, which must be turned off there"
            )
        return self._from_env(mapped)

    def home(self) -> None:
        """Move back to the pose after the last reset and open the gripper; reset an environment that ended.

        Raises:
            RobotFault: the environment ended on the way.
        """
        if self._over:
            self.reset()
        still = np.zeros(ACTION_DIM, np.float32)
        still[6] = 1.0
        driven = {e.dim for e in self.mapping.action} & {e.dim for e in self.mapping.state}
        turning = [dim for dim in driven if 3 <= dim < 6]
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

    def _image(self) -> Image:
        key = self.mapping.image_key
        image = self._obs if key is None else self._obs[key]
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8:
            raise CameraFault(f"{self._name} gave no uint8 image (image key {key!r})")
        return np.ascontiguousarray(image)

    def _state(self) -> State:
        state = np.zeros(STATE_DIM, np.float32)
        for entry in self.mapping.state:
            value = np.ravel(self._look_up(entry.key))[entry.at]
            state[entry.dim] = value * entry.scale + entry.offset
        return state

    def _look_up(self, key: str) -> Float32[np.ndarray, "..."]:
        sources = [s for s in (self._obs, self._info) if isinstance(s, Mapping)]
        for source in sources:
            if key in source:
                return np.asarray(source[key], np.float32)
        valid = ", ".join(sorted(k for source in sources for k in source))
        raise ConfigError(f"{self._name} has no '{key}'; there is: {valid or 'only an image'}")

    def _from_env(self, mapped: Float32[np.ndarray, "_n"]) -> Action:
        executed = np.zeros(ACTION_DIM, np.float32)
        for value, entry in zip(mapped, self.mapping.action, strict=True):
            executed[entry.dim] = (value - entry.offset) / entry.scale
        return executed

    @property
    def _name(self) -> str:
        return self.env.spec.id if self.env.spec else type(self.env).__name__


def without_time_limit(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return an environment whose wrappers have no `TimeLimit`, and which has no `max_path_length` (Meta-World)."""
    if isinstance(env, gymnasium.wrappers.TimeLimit):
        return without_time_limit(env.env)
    if isinstance(env, gymnasium.Wrapper):
        env.env = without_time_limit(env.env)
    elif hasattr(env, "max_path_length"):
        env.max_path_length = sys.maxsize
    return env


def _action_box(env: gymnasium.Env[Any, Any], mapping: GymMapping) -> gymnasium.spaces.Box:
    box = env.action_space
    if not isinstance(box, gymnasium.spaces.Box) or box.shape != (len(mapping.action),):
        raise ConfigError(
            f"the action space is {box}; the mapping needs a Box of {len(mapping.action)} numbers"
        )
    return box
