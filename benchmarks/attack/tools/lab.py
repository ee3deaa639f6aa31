"""A lab's own robot and models with faults, for `benchmarks.attack.evidence`; runs with soar 975160d, too."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from soar.robots.toy import ToyRobot

try:
    from soar.robots.host.gym_robot import GymMapping, GymRobot
    from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
except ImportError:  # 975160d
    from soar.robots.gym import GymRobot  # type: ignore[import-not-found, no-redef]
    from soar.robots.gym import Mapping as GymMapping  # type: ignore[no-redef]
    from soar.toy import ToyPolicy, ToySubgoals, ToyVLM  # type: ignore[import-not-found, no-redef]

_STEP = 15
"""Control step at which a fault happens."""
_CLOSING_S = 2.0
_WRONG: dict[str, dict[str, Any]] = {
    "size": {"image": np.zeros((48, 40, 3), np.uint8)},
    "none_state": {"state": None},
    "wide": {"state": np.zeros(8, np.float32)},
    "text": {"state": "0 0 0 0 0 0 1"},
    "no_image": {"image": None},
}
"""Wrong values of one observation."""


class FaultyArm(ToyRobot):
    """The toy robot at 100 Hz with one fault, once: a file `marker` says that it has happened."""

    period_s = 0.01

    def __init__(self, fault: str, marker: str) -> None:
        """Make an arm. `fault`: "none", "killed", "time", "close", "lag", or one of `_WRONG`."""
        super().__init__(0)
        self.fault, self.marker, self.steps = fault, Path(marker), 0
        self.target = np.array(self._now())

    def _now(self) -> np.ndarray[Any, Any]:
        return np.asarray(super().observe().state[:3], np.float64)

    def observe(self) -> Any:
        """Return an observation, or a wrong one."""
        seen = super().observe()
        if self.fault == "time":
            return replace(seen, time_s=1.0)
        if self.steps != _STEP or self.fault not in _WRONG or self.marker.exists():
            return seen
        self.marker.touch()
        return replace(seen, **_WRONG[self.fault])

    def execute(self, action: Any) -> Any:
        """Move; "lag" goes half of the way to the sum of all commands, and notes where it is."""
        self.steps += 1
        if self.fault == "killed" and self.steps == _STEP and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault != "lag":
            return super().execute(action)
        self.target = self.target + action[:3]
        way = np.array(action)
        way[:3] = 0.5 * (self.target - self._now())
        super().execute(way)
        with self.marker.open("a") as file:
            print(*self._now(), file=file)
        return action.copy()

    def home(self) -> None:
        """Return to the home position."""
        super().home()
        self.target = np.array(self._now())

    def close(self) -> None:
        """Release the hardware, which takes a while."""
        if self.fault == "close":
            time.sleep(_CLOSING_S)
            self.marker.touch()


class WildPolicy(ToyPolicy):
    """A policy that pushes in one direction for a while."""

    def act(self, observations: Any, goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
        """Return steps of 5 cm."""
        actions = super().act(observations, goals, rng, noise=noise)
        actions[:, :3] = np.sign(np.sin(time.monotonic() * np.array([9.0, 7.0, 5.0]))) * 0.05
        return actions.astype(np.float32)


class Table(gymnasium.Env[Any, Any]):
    """The toy robot as a Gymnasium environment without limits of its own; notes its actions in a file."""

    action_space = gymnasium.spaces.Box(-99, 99, (7,), np.float32)
    observation_space = gymnasium.spaces.Dict(
        {
            "camera": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8),
            "state": gymnasium.spaces.Box(-9, 9, (7,), np.float32),
        }
    )

    def __init__(self, marker: str) -> None:
        self._robot, self._marker = ToyRobot(0), Path(marker)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Place the block at random."""
        super().reset(seed=seed)
        self._robot.reset(seed or 0)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        """Move."""
        with self._marker.open("a") as file:
            print(*action, file=file)
        self._robot.execute(np.asarray(action, np.float32))
        return self._seen(), 0.0, False, False, {}

    def _seen(self) -> dict[str, Any]:
        seen = self._robot.observe()
        return {"camera": np.asarray(seen.image), "state": np.asarray(seen.state)}


class FailingPolicy(ToyPolicy):
    """A policy whose tenth call fails."""

    calls = 0

    def act(self, observations: Any, goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
        """Return actions, or run out of memory."""
        self.calls += 1
        if self.calls == 10:
            raise RuntimeError("CUDA out of memory")
        return super().act(observations, goals, rng, noise=noise)


def environment(marker: str, limit: int) -> GymRobot:
    """Return a Gymnasium environment as a robot. `limit`: steps until it is truncated; 0 is never."""
    env: gymnasium.Env[Any, Any] = Table(marker)
    if limit:
        env = gymnasium.wrappers.TimeLimit(env, limit)
    return GymRobot(env, GymMapping(image_key="camera", period_s=0.01))


def arm(fault: str, marker: str) -> FaultyArm:
    """Connect to the robot."""
    return FaultyArm(fault, marker)


def vlm() -> ToyVLM:
    """Return the toy's VLM."""
    return ToyVLM()


def subgoals() -> ToySubgoals:
    """Return the toy's subgoal generator."""
    return ToySubgoals()


def policy() -> ToyPolicy:
    """Return the toy's policy."""
    return ToyPolicy()


def wild() -> WildPolicy:
    """Return a policy without sense."""
    return WildPolicy()


def failing() -> FailingPolicy:
    """Return a policy that fails once."""
    return FailingPolicy()
