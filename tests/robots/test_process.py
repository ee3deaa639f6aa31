import os
from functools import partial

import numpy as np
import pytest

from soar.errors import RobotFault
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.process import ProcessRobot
from soar.robots.toy import ToyRobot

STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def hanging() -> FaultyRobot:
    return FaultyRobot(ToyRobot(3), FaultRates(hang=1.0, hang_s=60.0), seed=0)


class Crashing(ToyRobot):
    def execute(self, action):
        os._exit(3)


@pytest.fixture
def toy():
    robot = ProcessRobot(partial(ToyRobot, 3))
    yield robot
    robot.close()


def test_a_robot_in_a_process_behaves_the_same(toy):
    here = ToyRobot(3)
    assert np.array_equal(toy.execute(STILL), here.execute(STILL))
    assert np.array_equal(toy.observe().image, here.observe().image)
    assert toy.call("truth", "to the left") == here.truth("to the left")


def test_close_is_safe_to_call_twice(toy):
    toy.close()
    toy.close()
    with pytest.raises(RobotFault, match="recover"):
        toy.observe()


def test_a_hanging_robot_is_a_fault_in_time_and_recovers():
    robot = ProcessRobot(hanging, timeout_s=0.5)
    with pytest.raises(RobotFault, match=r"within 0\.5 s"):
        robot.execute(STILL)
    robot.recover()
    assert robot.observe().image.shape == (32, 32, 3)
    robot.close()


def test_a_crashing_robot_is_a_fault_and_recovers():
    robot = ProcessRobot(partial(Crashing, 3))
    with pytest.raises(RobotFault, match="died"):
        robot.execute(STILL)
    robot.recover()
    assert robot.observe().image.shape == (32, 32, 3)
    robot.close()
