"""A minimal simulated robot for tests: a gripper over a table with one block, whose steps take microseconds.

The gripper moves exactly as commanded, without limits, and can carry the block to the left or right side. The image
shows the whole state, so that simple models (`soar.robots.toy_models`) can solve every task.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from soar.contract.contract import WIDOWX
from soar.types import WORKSPACE_HIGH, WORKSPACE_LOW, Action, Image, Observation
from soar.utils.clock import Clock

SIZE = 32
"""Height and width of the image in pixels."""
X, Y = (WORKSPACE_LOW[0], WORKSPACE_HIGH[0]), (WORKSPACE_LOW[1], WORKSPACE_HIGH[1])
"""Extent of the image in meters: x from bottom to top, y from right to left."""
HOME = (0.29, 0.0, 0.15)
"""Home position of the gripper in meters."""
BLOCK, GRIPPER, TABLE = (40, 170, 60), (200, 40, 40), (205, 190, 165)
"""RGB colors."""
_GRASP_M = 0.03
"""Distance along x and y from which the gripper grasps the block."""
_EMPTY = np.full((SIZE, SIZE, 3), TABLE, np.uint8)


class ToyRobot:
    """A gripper and a green block."""

    period_s = 0.2
    contract = WIDOWX

    def __init__(self, seed: int = 0) -> None:
        self.visited: list[tuple[float, float, float]] = []
        """All positions of the gripper."""
        self.homed = 0
        """Number of calls of `home`."""
        self._time_s = 0.0
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Place the block at random, and home the gripper."""
        rng = np.random.default_rng(seed)
        self.block: Float64[np.ndarray, "2"] = rng.uniform((0.2, -0.15), (0.38, 0.15))
        self._position, self._angles, self._open = np.array(HOME), np.zeros(3), True
        self._held = False

    def observe(self) -> Observation:
        """Return an image from above, and the gripper's pose and opening."""
        state = np.array([*self._position, *self._angles, float(self._open)], np.float32)
        return Observation(self._render(), state, self._time_s)

    def execute(self, action: Action) -> Action:
        """Move exactly as commanded."""
        self._time_s += self.period_s
        self._position = self._position + action[:3]
        self._angles = self._angles + action[3:6]
        near = float(np.abs(self._position[:2] - self.block).max()) < _GRASP_M
        closing = self._open and action[6] < 0.5
        self._open = bool(action[6] >= 0.5)
        self._held = not self._open and (self._held or (closing and near))
        if self._held:
            self.block = self._position[:2].copy()
        self.visited.append(
            (float(self._position[0]), float(self._position[1]), float(self._position[2]))
        )
        return action.copy()

    def home(self) -> None:
        """Open the gripper and return to the home position."""
        self._position, self._angles = np.array(HOME), np.zeros(3)
        self._open, self._held = True, False
        self.homed += 1

    def recover(self) -> None:
        """Do nothing: there are no faults."""

    def close(self) -> None:
        """Do nothing."""

    def truth(self, instruction: str) -> bool:
        """Whether the block is on the side that the instruction names."""
        return (pixel(self.block)[1] < SIZE / 2) == ("left" in instruction)

    def _render(self) -> Image:
        image = _EMPTY.copy()
        for at, color, half in ((self._position[:2], GRIPPER, 4), (self.block, BLOCK, 2)):
            row, column = pixel(at)
            image[
                max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1
            ] = color
        image[0, 0] = round(255 * float(np.clip(self._position[2] / 0.3, 0, 1)))
        return image


def pixel(at: Float64[np.ndarray, "2"]) -> tuple[int, int]:
    """Return the row and column of a position on the table, x forward and y left in meters."""
    row = (X[1] - at[0]) / (X[1] - X[0]) * (SIZE - 1)
    column = (Y[1] - at[1]) / (Y[1] - Y[0]) * (SIZE - 1)
    return min(max(round(row), 0), SIZE - 1), min(max(round(column), 0), SIZE - 1)


def make_toy_robot(*, seed: int, realtime: bool, clock: Clock | None) -> ToyRobot:
    """Build the robot of a station file with `robot: toy`."""
    return ToyRobot(seed)
