"""A dry run: a robot that looks and takes actions, and moves nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

from soar.interfaces import Robot
from soar.robots.safety import SafeRobot
from soar.types import Action, Observation

R = TypeVar("R", bound=Robot)


class DryRunRobot(SafeRobot[R]):
    """A robot behind its safety limits, of which only `observe` is called.

    The executed action is the one that would be sent from where the arm stands. Where the robot's clock stands still
    while nothing moves, as a simulated one's does, a period passes between two observations.
    """

    _last_s = -math.inf
    """Time of the last observation."""

    def observe(self) -> Observation:
        """See `Robot.observe`."""
        seen = super().observe()
        if seen.time_s <= self._last_s:
            seen = replace(seen, time_s=self._last_s + self.period_s)
        self._last_s = seen.time_s
        return seen

    def execute(self, action: Any) -> Action:
        """Return the nearest allowed action from the pose last observed, without motion. Raises UnsafeAction."""
        self._arm.release()
        self._commanded.release()
        return super().execute(action)

    def _call(self, method: str, *args: Any) -> Any:
        if method in ("home", "recover"):
            return None
        return args[0] if method == "execute" else super()._call(method, *args)
