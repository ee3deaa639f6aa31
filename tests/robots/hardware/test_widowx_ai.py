"""The example for the WidowX AI, around a simulated driver with the maker's interface."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from soar.contract.convert import as_widowx
from soar.errors import RobotFault
from soar.robots.converted import ConvertedRobot

sys.path.append(str(Path(__file__).parents[3] / "examples" / "robots"))
import widowx_ai


class Frame(NamedTuple):
    image: np.ndarray = np.zeros((8, 8, 3), np.uint8)
    time_s: float = 1.0


class Camera:
    closed = False

    def read(self) -> Frame:
        return Frame()

    def close(self) -> None:
        self.closed = True


class Driver:
    """Goes at once to every goal."""

    def __init__(self) -> None:
        self.pose, self.opening, self.goal_time, self.error = list(widowx_ai.HOME), 0.0, 0.0, ""

    def get_cartesian_positions(self) -> list[float]:
        return list(self.pose)

    def get_gripper_position(self) -> float:
        return self.opening

    def set_gripper_position(self, position, goal_time, blocking) -> None:
        self.opening = position

    def set_cartesian_positions(self, pose, space, goal_time, blocking) -> None:
        if self.error:
            raise RuntimeError("out of reach")
        self.pose, self.goal_time = pose, goal_time

    def get_error_information(self) -> str:
        return self.error

    def clear_error(self) -> None:
        self.error = ""

    def cleanup(self) -> None:
        pass


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def robot(driver):
    arm = widowx_ai.WidowXAI(driver, "cartesian", Camera())
    return ConvertedRobot(arm, arm.contract, as_widowx(arm.contract))


def test_at_home_the_fingers_point_down_at_rotation_zero(robot):
    robot.home()
    state = robot.observe().state
    assert state == pytest.approx([0.29, 0, 0.16, 0, 0, 0, 1], abs=1e-6)


def test_each_motion_ends_where_the_converted_state_says(robot, driver):
    robot.home()
    rng = np.random.default_rng(0)
    expected = robot.observe().state.astype(float)
    for _ in range(30):
        robot.observe()
        action = np.append(rng.normal(0, 0.01, 6), rng.uniform()).astype(np.float32)
        robot.execute(action)
        expected[:3] += action[:3]
        expected[3:6] += action[3:6]  # angles are added in soar's convention
        expected[6] = action[6]
    assert robot.observe().state == pytest.approx(expected, abs=2e-5)
    assert driver.opening == pytest.approx(0.04 * expected[6], abs=1e-6)
    assert driver.goal_time == 0.2


def test_a_yaw_turns_the_hand_about_the_vertical_axis(robot):
    robot.home()
    robot.observe()
    robot.execute(np.array([0, 0, 0, 0, 0, 0.3, 1], np.float32))
    assert robot.observe().state[3:6] == pytest.approx([0, 0, 0.3], abs=1e-6)


def test_the_drivers_error_is_a_fault_that_recover_clears(driver):
    arm = widowx_ai.WidowXAI(driver, "cartesian", Camera())
    driver.error = "joint 3\nover temperature"
    with pytest.raises(RobotFault, match="out of reach: joint 3 over temperature"):
        arm.execute(np.zeros(7, np.float32))
    arm.recover()
    arm.execute(np.zeros(7, np.float32))


def test_hold_makes_the_measured_pose_the_goal(driver):
    arm = widowx_ai.WidowXAI(driver, "cartesian", Camera())
    driver.pose[0] += 0.1  # on the way
    arm.hold()
    arm.execute(np.zeros(7, np.float32))
    assert driver.pose[0] == pytest.approx(0.39)
