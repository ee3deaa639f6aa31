"""A lab's own robot and models with faults, for `benchmarks.attack.evidence`; runs with soar 975160d, too."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from soar.robots.toy import ToyRobot

try:
    from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
except ImportError:  # 975160d
    from soar.toy import ToyPolicy, ToySubgoals, ToyVLM  # type: ignore[import-not-found, no-redef]

_STEP = 15
"""Control step at which a fault happens."""
_CLOSING_S = 2.0


class FaultyArm(ToyRobot):
    """The toy robot at 100 Hz with one fault, once: a file `marker` says that it has happened."""

    period_s = 0.01

    def __init__(self, fault: str, marker: str) -> None:
        """Make an arm. `fault`: "none", "size", "nan", "killed", "time", "close" or "lag"."""
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
        if self.steps != _STEP or self.fault not in ("size", "nan") or self.marker.exists():
            return seen
        self.marker.touch()
        if self.fault == "size":
            return replace(seen, image=np.zeros((48, 40, 3), np.uint8))
        state = np.array(seen.state)
        state[3] = np.nan
        return replace(seen, state=state)

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
