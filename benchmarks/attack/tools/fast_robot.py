"""A toy robot with a period of milliseconds behind the interface of a real arm, for attacks on fleets."""

from __future__ import annotations

from soar.robots.toy import ToyRobot


class FastToy(ToyRobot):
    """The toy robot at 1,000 Hz."""

    period_s = 0.001


def connect(seed: int) -> FastToy:
    """Connect to the robot, as a lab's own function would to an arm."""
    return FastToy(seed)
