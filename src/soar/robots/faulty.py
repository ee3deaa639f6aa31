"""Fault injection: a robot that fails at random, for tests."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from soar.errors import CameraFault, RobotFault
from soar.interfaces import Robot
from soar.types import Action, Observation


@dataclass(frozen=True)
class FaultRates:
    """Probability of each fault in a call, and of its recovery."""

    motor: float = 0.0
    """Probability that a motor fails in `execute`."""
    frozen: float = 0.0
    """Probability that the camera's image is frozen from an `observe` on."""
    gone: float = 0.0
    """Probability that the camera is gone from an `observe` on."""
    hang: float = 0.0
    """Probability that `execute` hangs."""
    hang_s: float = 1.0
    """Duration of a hang in seconds."""
    latency_s: float = 0.0
    """Mean duration of `observe` in seconds, uniform between 0 and twice as long."""
    recovery: float = 0.7
    """Probability that a `recover()` clears the fault."""


class FaultyRobot:
    """A robot with injected faults, each of which lasts until `recover()` succeeds."""

    def __init__(self, robot: Robot, rates: FaultRates, seed: int) -> None:
        self.robot = robot
        self.rates = rates
        self.period_s = robot.period_s
        self.injected: list[str] = []
        """Faults so far, by name of their rate."""
        self._rng = np.random.default_rng(seed)
        self._fault = ""
        self._last: Observation | None = None

    def observe(self) -> Observation:
        """Return an observation, with a stale image if it is frozen. Raises CameraFault if the camera is gone."""
        if self.rates.latency_s:
            time.sleep(2 * self.rates.latency_s * self._rng.random())
        self._inject("gone")
        self._inject("frozen")
        if self._fault == "gone":
            raise CameraFault("the camera is gone (injected)")
        observation = self.robot.observe()
        if self._fault == "frozen" and self._last is not None:
            return replace(observation, image=self._last.image)
        self._last = observation
        return observation

    def execute(self, action: Action) -> Action:
        """Execute an action. Raises RobotFault if a motor failed."""
        self._inject("motor")
        if self._fault == "motor":
            raise RobotFault("motor 3 reports an overload (injected)")
        if self._rng.random() < self.rates.hang:
            self.injected.append("hang")
            time.sleep(self.rates.hang_s)
        return self.robot.execute(action)

    def home(self) -> None:
        """Home the arm. Raises RobotFault if a motor failed."""
        if self._fault == "motor":
            raise RobotFault("motor 3 reports an overload (injected)")
        self.robot.home()

    def recover(self) -> None:
        """Clear the fault with probability `rates.recovery`, else raise RobotFault."""
        if self._fault and self._rng.random() >= self.rates.recovery:
            raise RobotFault(f"still broken: {self._fault} (injected)")
        self._fault = ""
        self.robot.recover()

    def close(self) -> None:
        """See `Robot.close`."""
        self.robot.close()

    def _inject(self, fault: str) -> None:
        """Draw a fault, unless there is one already."""
        if not self._fault and self._rng.random() < getattr(self.rates, fault):
            self._fault = fault
            self.injected.append(fault)
