"""Faults on purpose: a robot that breaks at random, from a seed, for tests and for drills."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from soar.errors import CameraFault, RobotFault
from soar.interfaces import Robot
from soar.types import Action, Observation


@dataclass(frozen=True)
class FaultRates:
    """Probabilities per call, and how stubborn a fault is."""

    motor: float = 0.0
    """A motor fails in `execute`."""
    frozen: float = 0.0
    """The camera shows one picture from then on."""
    gone: float = 0.0
    """The camera is gone from then on."""
    hang: float = 0.0
    """`execute` hangs for `hang_s`."""
    hang_s: float = 1.0
    latency_s: float = 0.0
    """Every `observe` takes up to twice so long, uniformly."""
    recovery: float = 0.7
    """Probability that one `recover()` clears the fault."""


class FaultyRobot:
    """A robot inside which things break. What breaks stays broken until `recover()` succeeds."""

    def __init__(self, robot: Robot, rates: FaultRates, seed: int) -> None:
        self.robot = robot
        self.rates = rates
        self.period_s = robot.period_s
        self.injected: list[str] = []
        """What broke so far, by name of its rate."""
        self._rng = np.random.default_rng(seed)
        self._broken = ""
        self._last: Observation | None = None

    def observe(self) -> Observation:
        """The picture, unless the camera broke."""
        if self.rates.latency_s:
            time.sleep(2 * self.rates.latency_s * self._rng.random())
        self._maybe("gone")
        self._maybe("frozen")
        if self._broken == "gone":
            raise CameraFault("the camera is gone (injected)")
        seen = self.robot.observe()
        if self._broken == "frozen" and self._last is not None:
            return replace(seen, image=self._last.image)
        self._last = seen
        return seen

    def execute(self, action: Action) -> Action:
        """The motion, unless a motor fails."""
        self._maybe("motor")
        if self._broken == "motor":
            raise RobotFault("motor 3 reports an overload (injected)")
        if self._rng.random() < self.rates.hang:
            self.injected.append("hang")
            time.sleep(self.rates.hang_s)
        return self.robot.execute(action)

    def home(self) -> None:
        """Home, unless a motor has failed."""
        if self._broken == "motor":
            raise RobotFault("motor 3 reports an overload (injected)")
        self.robot.home()

    def recover(self) -> None:
        """Clears the fault with probability `rates.recovery`."""
        if self._broken and self._rng.random() >= self.rates.recovery:
            raise RobotFault(f"still broken: {self._broken} (injected)")
        self._broken = ""
        self.robot.recover()

    def close(self) -> None:
        """Release the robot inside."""
        self.robot.close()

    def _maybe(self, what: str) -> None:
        if not self._broken and self._rng.random() < getattr(self.rates, what):
            self._broken = what
            self.injected.append(what)
