"""A clock that tests and benchmarks can accelerate, and the metronome of a control loop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

log = logging.getLogger(__name__)


class Clock:
    """Monotonic clock that runs `speed` times as fast as real time."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start = time.monotonic()

    def now(self) -> float:
        """Seconds since this clock was made."""
        return (time.monotonic() - self._start) * self.speed

    def sleep(self, seconds: float) -> None:
        """Wait for a number of this clock's seconds."""
        if seconds > 0:
            time.sleep(seconds / self.speed)


@dataclass
class Jitter:
    """Statistics of a period's lateness."""

    ticks: int = 0
    late_s: float = 0.0
    """Lateness summed over all ticks."""
    worst_s: float = 0.0
    """Largest lateness of a tick."""
    missed: int = 0
    """Ticks more than half a period late, because a model or the machine is too slow."""

    def __str__(self) -> str:
        return (
            f"{self.ticks} control steps, {1000 * self.mean_s:.1f} ms late on average, "
            f"{1000 * self.worst_s:.0f} ms at worst, {self.missed} by over half a period"
        )

    @property
    def mean_s(self) -> float:
        """Mean lateness of a tick."""
        return self.late_s / max(self.ticks, 1)


class Metronome:
    """Ticks at a fixed period. After a late tick it counts from there and doesn't catch up."""

    def __init__(self, clock: Clock, period_s: float) -> None:
        self.clock = clock
        self.period_s = period_s
        self.jitter = Jitter()
        self._next_s: float | None = None

    def reset(self) -> None:
        """Let the next tick come at once, after homing or waiting for a task."""
        self._next_s = None

    def tick(self) -> None:
        """Wait until the next control step is due, and record its lateness."""
        now = self.clock.now()
        due = now if self._next_s is None else self._next_s
        self.clock.sleep(due - now)
        late = max(0.0, self.clock.now() - due)
        jitter = self.jitter
        jitter.ticks, jitter.late_s = jitter.ticks + 1, jitter.late_s + late
        jitter.worst_s = max(jitter.worst_s, late)
        slow = late > self.period_s / 2
        jitter.missed += slow
        if slow and jitter.missed & (jitter.missed - 1) == 0:  # the 1st, 2nd, 4th, 8th ... time
            log.warning(
                "a control step came %.0f ms late (%d of %d so far); the period is %.0f ms: "
                "a model or the machine is too slow",
                1000 * late,
                jitter.missed,
                jitter.ticks,
                1000 * self.period_s,
            )
        self._next_s = (due + late if slow else due) + self.period_s
