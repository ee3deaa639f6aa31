"""A robot of another package: an arm of a few numbers above a gray table. A station file names it: `robot: magnet`."""

from __future__ import annotations

import time

import numpy as np

from soar import Action, Observation

HOME = np.array([0.28, 0.0, 0.1, 0, 0, 0, 1], np.float32)


class Magnet:
    """An arm that goes exactly where it is told."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._pose = HOME.copy()

    def observe(self) -> Observation:
        """Show the hand as a light square on a table with some texture."""
        image = np.random.default_rng(0).integers(60, 90, (64, 64, 3), np.uint8)
        row = int(np.clip(320 * (0.43 - self._pose[0]), 2, 61))
        column = int(np.clip(32 - 120 * self._pose[1], 2, 61))
        image[row - 2 : row + 3, column - 2 : column + 3] = 230
        return Observation(image, self._pose.copy(), time.monotonic())

    def execute(self, action: Action) -> Action:
        """Move by the action at once."""
        self._pose[:6] += action[:6]
        self._pose[6] = action[6]
        return action

    def home(self) -> None:
        """Go to the neutral pose."""
        self._pose = HOME.copy()

    def recover(self) -> None:
        """Nothing can fail."""

    def close(self) -> None:
        """Nothing is held."""


def make_magnet(period_s: float = 0.2) -> Magnet:
    """Return the arm; the station file's `options` are these arguments."""
    return Magnet(period_s)
