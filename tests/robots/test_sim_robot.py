import time

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.limits import Limits
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.sim.arm import END_EFFECTOR_SITE
from soar.sim.scenes.paper_scenes import SCENES
from soar.utils.clock import Clock

STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


@pytest.fixture(scope="module")
def robot():
    robot = SimRobot(SCENES["1"], seed=1, image_size=64)
    yield robot
    robot.close()


def test_simulated_robot_satisfies_the_protocol(robot):
    assert isinstance(robot, Robot)
    assert isinstance(SafeRobot(robot), Robot)


def test_time_increases(robot):
    times = [robot.observe().time_s]
    robot.execute(STILL)
    times.append(robot.observe().time_s)
    robot.home()
    times.append(robot.observe().time_s)
    assert times[0] < times[1] < times[2]


def test_random_actions_never_leave_the_box(robot):
    """The commanded pose never leaves; momentum and contacts lead the arm out by less than 3 mm."""
    robot.home()
    safe, rng, limits = (
        SafeRobot(robot, Limits(stuck_steps=10_000)),
        np.random.default_rng(0),
        Limits(),
    )
    low, high = np.array(limits.low), np.array(limits.high)
    for step in range(300):
        if step % 10 == 0:
            heading = rng.normal(0, 0.03, 7)
        safe.execute((heading + rng.normal(0, 0.02, 7)).astype(np.float32))
        target, state = robot.world.target.position, robot.world.state()[:3]
        assert (target >= low - 1e-9).all()
        assert (target <= high + 1e-9).all()
        assert (state > low - 0.003).all()
        assert (state < high + 0.003).all()


def test_wild_actions_never_command_joints_that_lead_out_of_the_box(robot):
    """Nor do momentum and contacts lead the arm out by more than 3 mm, where it was 13."""
    robot.reset(3)
    limits, rng = Limits(stuck_steps=10_000, frozen_motion_m=1.0), np.random.default_rng(0)
    safe, control = SafeRobot(robot, limits), robot.world.controller
    low, high = np.array(limits.low), np.array(limits.high)
    for _ in range(100):
        safe.execute(rng.normal(0, 1.0, 7).astype(np.float32))
        target = robot.world.target
        control.solve(target.position, target.rpy, target.joints, iterations=0)
        reached = control._configuration.data.site(END_EFFECTOR_SITE).xpos
        assert (reached > low - 0.0025).all()
        assert (reached < high + 0.0025).all()
        state = robot.world.state()[:3]
        assert (state > low - 0.003).all()
        assert (state < high + 0.003).all()


def test_truth_is_the_scenes_predicate(robot):
    task = SCENES["1"].tasks[0]
    assert robot.truth(task.instruction) == robot.world.fulfilled(task.goal)
    with pytest.raises(ConfigError, match="no task 'fly'"):
        robot.truth("fly")


def test_homing_in_real_time_takes_as_long_as_on_the_real_arm():
    clock = Clock(speed=10)
    robot = SimRobot(SCENES["1"], seed=1, realtime=True, image_size=32, clock=clock)
    start = time.monotonic()
    robot.home()
    assert time.monotonic() - start >= 0.15
    assert robot.observe().time_s >= 1.5
    robot.close()
