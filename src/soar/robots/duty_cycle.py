"""Measurement of a robot's duty cycle."""

from __future__ import annotations

from soar.interfaces import Robot
from soar.types import Action, Observation
from soar.utils.clock import Clock


class MeteredRobot:
    """A real-time robot that measures its duty cycle: the share of time in which its arm moves.

    An action moves the arm for one period, or until the next one; homing moves it all the time.
    """

    def __init__(self, robot: Robot, clock: Clock) -> None:
        self.robot = robot
        self.period_s = robot.period_s
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Restart the measurement."""
        self._since_s = self._clock.now()
        self._moved_s = 0.0
        self._moving_until_s = self._since_s

    def duty_cycle(self) -> float:
        """Return the share of time in which the arm moved since `start`."""
        now = self._clock.now()
        moved = self._moved_s - max(0.0, self._moving_until_s - now)
        return moved / max(now - self._since_s, 1e-9)

    def observe(self) -> Observation:
        """See `Robot.observe`."""
        return self.robot.observe()

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`; counts as motion for one period from now."""
        now = self._clock.now()
        executed = self.robot.execute(action)
        until = now + self.period_s
        self._moved_s += until - max(now, self._moving_until_s)
        self._moving_until_s = until
        return executed

    def home(self) -> None:
        """See `Robot.home`; counts as motion."""
        start = max(self._clock.now(), self._moving_until_s)
        self.robot.home()
        self._moving_until_s = max(self._clock.now(), start)
        self._moved_s += self._moving_until_s - start

    def recover(self) -> None:
        """See `Robot.recover`; doesn't count as motion."""
        self.robot.recover()

    def close(self) -> None:
        """See `Robot.close`."""
        self.robot.close()
