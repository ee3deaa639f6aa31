"""Any Gymnasium environment with a camera as a robot: a small mapping says which number is which.

>>> mapping = Mapping(                                       # OGBench's cube, for example
...     instruction="put the red cube on the target",
...     action=(ActionEntry(0, 20), ActionEntry(1, 20), ActionEntry(2, 20),
...             ActionEntry(5, 1 / 0.3), ActionEntry(6, -2, 1)),
...     state=(StateEntry("proprio/effector_pos", 0, 0), StateEntry("proprio/effector_pos", 1, 1)))
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float32

from soar.errors import CameraFault, ConfigError
from soar.types import ACTION_DIM, STATE_DIM, Action, Image, Observation, State

_HOME_STEPS = 50
_HOMED_M = 0.01


class ActionEntry(NamedTuple):
    """One number of the environment's action: ours[dim] * scale + offset, then clipped to its Box."""

    dim: int
    """Index into our action: 0-2 position [m], 3-5 roll, pitch, yaw [rad], 6 gripper (1 is open)."""
    scale: float = 1.0
    offset: float = 0.0


class StateEntry(NamedTuple):
    """One number of our state: theirs[key][at] * scale + offset."""

    key: str
    """Where to look: in the observation when that is a dict, else in the step's info."""
    at: int
    dim: int
    """Index into our state, same meaning as in an action but absolute."""
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Mapping:
    """How an environment's observations and actions become ours."""

    instruction: str = ""
    """What the environment's own task is in words; what a station may be asked to do there."""
    image_key: str | None = None
    """The observation's key that holds the picture; None where the observation is the picture."""
    action: tuple[ActionEntry, ...] = tuple(ActionEntry(i) for i in range(ACTION_DIM))
    """One entry for each number of the environment's action."""
    state: tuple[StateEntry, ...] = tuple(StateEntry("state", i, i) for i in range(STATE_DIM))
    """Numbers that no entry names stay zero."""
    period_s: float = 0.2


class GymRobot:
    """An environment driven as a robot. It never sees a reward.

    When the environment says that it is over, the robot holds still until `home()`, which then resets
    it; else `home()` drives the hand back to where it was after the last reset, gripper open.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], mapping: Mapping | None = None, seed: int = 0
    ) -> None:
        self.env = env
        self.mapping = mapping or Mapping()
        self.period_s = self.mapping.period_s
        self._box = _action_box(env, self.mapping)
        self._time_s = 0.0
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin the environment anew."""
        self._seen, self._info = self.env.reset(seed=seed)
        self._over = False
        self._home = self._state()

    def observe(self) -> Observation:
        """The newest picture and pose."""
        return Observation(self._image(), self._state(), self._time_s)

    def execute(self, action: Action) -> Action:
        """Step the environment; the action as its Box allows it, in our units."""
        self._time_s += self.period_s
        if self._over:
            held = np.zeros(ACTION_DIM, np.float32)
            held[6] = action[6]
            return held
        theirs = np.array([action[e.dim] * e.scale + e.offset for e in self.mapping.action])
        theirs = np.clip(theirs, self._box.low, self._box.high).astype(np.float32)
        self._seen, _, ended, cut, self._info = self.env.step(theirs)
        self._over = bool(ended or cut)
        return self._ours(theirs)

    def home(self) -> None:
        """Back to where the hand was after the last reset; a new reset when the environment is over."""
        for _ in range(_HOME_STEPS):
            if self._over:
                self.reset()
            away = self._home[:6] - self._state()[:6]
            if np.abs(away[:3]).max() < _HOMED_M:
                return
            self.execute(np.concatenate([away, [1.0]]).astype(np.float32))

    def recover(self) -> None:
        """Begin anew: a simulated environment has nothing else to recover."""
        self.reset()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _image(self) -> Image:
        key = self.mapping.image_key
        image = self._seen if key is None else self._seen[key]
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8:
            raise CameraFault(f"{self._name} gave no uint8 picture (image key {key!r})")
        return np.ascontiguousarray(image)

    def _state(self) -> State:
        state = np.zeros(STATE_DIM, np.float32)
        for entry in self.mapping.state:
            value = np.ravel(self._look_up(entry.key))[entry.at]
            state[entry.dim] = value * entry.scale + entry.offset
        return state

    def _look_up(self, key: str) -> Float32[np.ndarray, "..."]:
        places = [p for p in (self._seen, self._info) if isinstance(p, MappingABC)]
        for place in places:
            if key in place:
                return np.asarray(place[key], np.float32)
        valid = ", ".join(sorted(k for place in places for k in place))
        raise ConfigError(
            f"{self._name} has no '{key}'; there is: {valid or 'nothing but a picture'}"
        )

    def _ours(self, theirs: Float32[np.ndarray, "_n"]) -> Action:
        executed = np.zeros(ACTION_DIM, np.float32)
        for value, entry in zip(theirs, self.mapping.action, strict=True):
            executed[entry.dim] = (value - entry.offset) / entry.scale
        return executed

    @property
    def _name(self) -> str:
        return self.env.spec.id if self.env.spec else type(self.env).__name__


def _action_box(env: gymnasium.Env[Any, Any], mapping: Mapping) -> gymnasium.spaces.Box:
    box = env.action_space
    if not isinstance(box, gymnasium.spaces.Box) or box.shape != (len(mapping.action),):
        raise ConfigError(
            f"the action space is {box}; the mapping needs a Box of {len(mapping.action)} numbers"
        )
    return box
