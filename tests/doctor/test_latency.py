from collections import deque

import numpy as np
import pytest

from soar.doctor.latency import check_latency, measure_latency
from soar.types import Observation


class Delayed:
    """An arm whose pose follows after 60 ms, behind a camera with a queue; an observation takes 10 ms."""

    period_s = 0.2

    def __init__(self, picture_s: float, pose_s: float = 0.06, noise: float = 1.0) -> None:
        self.now, self.moved_at = 0.0, np.inf
        self._picture_s, self._pose_s, self._noise = picture_s, pose_s, noise
        self._rng = np.random.default_rng(0)
        self.queue: deque[float] = deque()

    def observe(self) -> Observation:
        self.now += 0.01
        moved = 0.01 * (self.now >= self.moved_at + self._pose_s)
        image = np.full((48, 64, 3), 100.0)
        if self.now >= self.moved_at + self._picture_s:
            image[16:32, 16:32] = 160
        image += self._rng.normal(0, self._noise, image.shape)
        state = np.array([0.3 + moved, 0, 0.1, 0, 0, 0, 1], np.float32)
        return Observation(image.clip(0, 255).astype(np.uint8), state, self.now)

    def execute(self, action):
        self.moved_at = self.now
        return action

    def home(self) -> None:
        pass

    recover = close = home

    def clock(self) -> float:
        return self.now


ACTION = np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32)


@pytest.mark.parametrize("noise", [0.0, 1.0, 8.0])
def test_the_latencies_of_picture_and_pose_are_measured_to_one_observation(noise):
    robot = Delayed(0.15, noise=noise)
    latency = measure_latency(robot, ACTION, 0, robot.clock)
    assert latency.picture_s == pytest.approx(0.15, abs=0.011)
    assert latency.pose_s == pytest.approx(0.06, abs=0.011)
    assert latency.resolution_s == pytest.approx(0.01)
    assert check_latency("arm1", latency, 0.2).health == "ok"


def test_a_picture_far_behind_the_pose_is_a_warning():
    robot = Delayed(0.5)
    latency = measure_latency(robot, ACTION, 0, robot.clock)
    result = check_latency("arm1", latency, 0.2)
    assert result.health == "warning"
    assert "a motion is seen after 500 ms and measured after" in result.what
    assert "newest frame" in result.advice


def test_a_motion_that_no_picture_shows_is_a_warning():
    robot = Delayed(9.0)
    latency = measure_latency(robot, ACTION, 0, robot.clock)
    assert latency.picture_s is None
    assert "does the camera see this arm" in check_latency("arm1", latency, 0.2).advice


def test_pictures_smaller_than_a_block_are_compared_too():
    class Tiny(Delayed):
        def observe(self) -> Observation:
            seen = super().observe()
            return Observation(seen.image[14:19, 14:17], seen.state, seen.time_s)

    robot = Tiny(0.1, noise=0.0)
    latency = measure_latency(robot, ACTION, 0, robot.clock)
    assert latency.picture_s == pytest.approx(0.1, abs=0.011)


def test_a_small_arm_in_a_small_picture_is_seen():
    class Small(Delayed):
        def observe(self) -> Observation:
            seen = super().observe()
            image = np.full((32, 32, 3), 90, np.uint8)
            row = 17 if seen.image[20, 20, 0] > 140 else 16
            image[row : row + 3, 10:13] = 200
            return Observation(image, seen.state, seen.time_s)

    robot = Small(0.1, noise=0.0)
    assert measure_latency(robot, ACTION, 0, robot.clock).picture_s == pytest.approx(0.1, abs=0.011)


def test_a_pose_that_never_moves_is_a_warning_about_the_pose():
    robot = Delayed(0.5, pose_s=9.0)
    result = check_latency("arm1", measure_latency(robot, ACTION, 0, robot.clock), 0.2)
    assert result.health == "warning"
    assert "measured never" in result.what
    assert "does the driver give the arm's measured pose" in result.advice
