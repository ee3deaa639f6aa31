"""Robots behind the real-robot interface, with a period of milliseconds, so that tests needn't wait for an arm."""

from __future__ import annotations

from soar.robots.simulated import SimRobot
from soar.robots.toy import ToyRobot
from soar.sim.scenes.catalog import load_scene


class FastToy(ToyRobot):
    """The toy robot at 500 Hz."""

    period_s = 0.002


class FastSimRobot(SimRobot):
    """The simulated robot as fast as it goes."""

    period_s = 0.002


def connect_toy(seed: int) -> FastToy:
    """Connect to a toy robot, as a lab's own function would to an arm."""
    return FastToy(seed)


def connect_simulator(scene: str, seed: int) -> FastSimRobot:
    """Connect to a simulated robot, of which the system knows no more than of a real one."""
    return FastSimRobot(load_scene(scene), seed)
