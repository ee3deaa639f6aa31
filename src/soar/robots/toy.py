"""The smallest robot there is: a hand over a painted table. It takes microseconds, so it is for tests and drills.

The hand goes exactly where it is told, within no box at all. A block can be carried to the left or right
side. The picture shows everything, so that even eyes of a few lines (`soar.robots.toy_models`) can tell what is true.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from soar.types import Action, Image, Observation
from soar.utils.clock import Clock

SIZE = 32
"""Pixels of the picture's side."""
X, Y = (0.156, 0.423), (-0.205, 0.283)
"""Extent of the picture [m]: x from bottom to top, y from right to left."""
HOME = (0.29, 0.0, 0.15)
BLOCK, HAND, TABLE = (40, 170, 60), (200, 40, 40), (205, 190, 165)
_GRASP_M = 0.03
_EMPTY = np.full((SIZE, SIZE, 3), TABLE, np.uint8)


class ToyRobot:
    """A hand that carries one green block. `visited` holds every position the hand ever had."""

    period_s = 0.2

    def __init__(self, seed: int = 0) -> None:
        self.visited: list[tuple[float, float, float]] = []
        self.homed = 0
        self._time_s = 0.0
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """The hand of a person: the block lies somewhere."""
        rng = np.random.default_rng(seed)
        self.block: Float64[np.ndarray, "2"] = rng.uniform((0.2, -0.15), (0.38, 0.15))
        self._hand, self._angles, self._open = np.array(HOME), np.zeros(3), True
        self._held = False

    def observe(self) -> Observation:
        """The table from above."""
        state = np.array([*self._hand, *self._angles, float(self._open)], np.float32)
        return Observation(self._paint(), state, self._time_s)

    def execute(self, action: Action) -> Action:
        """Go exactly there."""
        self._time_s += self.period_s
        self._hand = self._hand + action[:3]
        self._angles = self._angles + action[3:6]
        near = float(np.abs(self._hand[:2] - self.block).max()) < _GRASP_M
        closing = self._open and action[6] < 0.5
        self._open = bool(action[6] >= 0.5)
        self._held = not self._open and (self._held or (closing and near))
        if self._held:
            self.block = self._hand[:2].copy()
        self.visited.append((float(self._hand[0]), float(self._hand[1]), float(self._hand[2])))
        return action.copy()

    def home(self) -> None:
        """Let go and return."""
        self._hand, self._angles = np.array(HOME), np.zeros(3)
        self._open, self._held = True, False
        self.homed += 1

    def recover(self) -> None:
        """Nothing breaks."""

    def close(self) -> None:
        """Nothing to release."""

    def truth(self, instruction: str) -> bool:
        """Whether the block is on the side that the instruction names, to the pixel."""
        return (pixel(self.block)[1] < SIZE / 2) == ("left" in instruction)

    def _paint(self) -> Image:
        image = _EMPTY.copy()
        for at, color, half in ((self._hand[:2], HAND, 4), (self.block, BLOCK, 2)):
            row, column = pixel(at)
            image[
                max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1
            ] = color
        image[0, 0] = round(255 * float(np.clip(self._hand[2] / 0.3, 0, 1)))
        return image


def pixel(at: Float64[np.ndarray, "2"]) -> tuple[int, int]:
    """Row and column of a place on the table, x forward and y left [m]."""
    row = (X[1] - at[0]) / (X[1] - X[0]) * (SIZE - 1)
    column = (Y[1] - at[1]) / (Y[1] - Y[0]) * (SIZE - 1)
    return min(max(round(row), 0), SIZE - 1), min(max(round(column), 0), SIZE - 1)


def make_toy_robot(*, seed: int, realtime: bool, clock: Clock | None) -> ToyRobot:
    """Build the robot of a station file with `robot: toy`."""
    return ToyRobot(seed)
