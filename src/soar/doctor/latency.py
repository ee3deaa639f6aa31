"""Latency of a station: time from a command to the first picture, and to the first measured pose, that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from soar.doctor.results import CheckResult, ms
from soar.interfaces import Robot
from soar.types import Action, Image, Observation

_STILL = 6
"""Observations of the resting arm, whose differences are noise."""
_PERIODS = 5.0
"""Periods within which the motion must be seen."""
_BLOCK = 8
"""Side in pixels of the blocks whose mean brightness is compared: a single pixel is noisy."""
_LEAST_BLOCKS = 16
"""Least number of blocks along a side, as far as there are pixels: in a small picture the arm is small, too."""
_NOISE, _LEAST = 4.0, 2.0
"""A change counts from this many times the largest noise, and from this much of 255."""
_PAUSE_S = 0.002
"""Pause between two observations in seconds."""
_MOVED = 0.1
"""Share of the commanded motion from which the measured pose has changed."""


@dataclass(frozen=True)
class Latency:
    """Times from a command until it is seen, in seconds; None where it wasn't."""

    picture_s: float | None
    pose_s: float | None
    resolution_s: float
    """Mean duration between two observations, below which times can't be told apart."""


def measure_latency(
    robot: Robot, action: Action, number: int, clock: Callable[[], float] = time.monotonic
) -> Latency:
    """Command one motion of a resting arm and observe as fast as the robot can.

    Args:
        robot: the robot, at rest for at least a period.
        action: a small motion, large enough to be seen.
        number: index of the number that it changes, in action and state.
        clock: clock.

    Raises:
        RobotFault: the robot's.
    """
    still = [_Sample.of(robot.observe(), number, 0.0) for _ in range(_STILL)]
    began = clock()
    robot.execute(action)
    seen: list[_Sample] = []
    while not seen or seen[-1].time_s < _PERIODS * robot.period_s:
        time.sleep(_PAUSE_S)
        observation = robot.observe()
        seen.append(_Sample.of(observation, number, clock() - began))
    return _latency(still, seen)


class _Sample(NamedTuple):
    """What is compared of an observation."""

    blocks: Float64[np.ndarray, "_r _c 3"]
    number: float
    """The number of the state that the motion changes."""
    time_s: float
    """Time since the command in seconds."""

    @classmethod
    def of(cls, observation: Observation, number: int, time_s: float) -> _Sample:
        """Take the sample of an observation."""
        return cls(_blocks(observation.image), float(observation.state[number]), time_s)


def _latency(still: Sequence[_Sample], seen: Sequence[_Sample]) -> Latency:
    """Find the first observations that show a motion. `still`: before it; `seen`: after its command."""
    rest = still[-1]
    noise = max(float(np.abs(s.blocks - rest.blocks).max()) for s in still)
    least = max(_LEAST, _NOISE * noise)
    enough = max(_MOVED * max(abs(s.number - rest.number) for s in seen), 1e-4)
    pictures = (s.time_s for s in seen if np.abs(s.blocks - rest.blocks).max() >= least)
    poses = (s.time_s for s in seen if abs(s.number - rest.number) >= enough)
    return Latency(next(pictures, None), next(poses, None), seen[-1].time_s / len(seen))


def check_latency(name: str, latency: Latency, period_s: float) -> CheckResult:
    """Judge a station's latency by its control period."""
    title = f"{name}: latency"
    if latency.picture_s is None:
        return CheckResult(
            title,
            "warning",
            f"no picture within {_PERIODS:g} periods showed a motion of the arm",
            "does the camera see this arm, and does its driver give the newest frame?",
        )
    pose = "never" if latency.pose_s is None else f"after {ms(latency.pose_s)}"
    what = (
        f"a motion is seen after {ms(latency.picture_s)} and measured {pose} (to "
        f"{ms(latency.resolution_s)})"
    )
    if latency.pose_s is None:
        advice = "does the driver give the arm's measured pose, and not its first one?"
        return CheckResult(title, "warning", what, advice)
    behind = latency.picture_s - latency.pose_s
    if behind > period_s + latency.resolution_s:
        advice = (
            "the picture is more than a period behind the pose: read the newest frame "
            "(soar.robots.hardware.camera), not one from a queue"
        )
        return CheckResult(title, "warning", what, advice)
    return CheckResult(title, "ok", what)


def _blocks(image: Image) -> Float64[np.ndarray, "_r _c 3"]:
    """Return the mean colors of blocks of pixels."""
    height, width = image.shape[:2]
    rows, columns = (max(n // _BLOCK, min(n, _LEAST_BLOCKS)) for n in (height, width))
    high, wide = height // rows, width // columns
    parts = image[: rows * high, : columns * wide].astype(np.float64)
    return np.asarray(parts.reshape(rows, high, columns, wide, 3).mean((1, 3)))
