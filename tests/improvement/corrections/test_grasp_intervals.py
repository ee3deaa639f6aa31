import numpy as np
from tests.improvement.corrections.camera import CONFIG

from soar.improvement.methods.corrections.grasp_intervals import GraspInterval, grasp_intervals


def test_grasps_hold_something_or_nothing_and_short_closings_are_none() -> None:
    commands = np.ones(40)
    commands[[*range(5, 15), *range(20, 30), *range(34, 36)]] = 0
    states = np.ones((40, 7))
    states[5:15, 6] = 0.4
    states[20:30, 6] = 0.01
    assert grasp_intervals(states, commands, CONFIG) == [
        GraspInterval(5, 15, True),
        GraspInterval(20, 30, False),
    ]


def test_a_gripper_that_stays_closed_ends_with_the_episode() -> None:
    commands, states = np.ones(20), np.full((20, 7), 0.5)
    commands[12:] = 0
    assert grasp_intervals(states, commands, CONFIG) == [GraspInterval(12, 20, True)]
    assert grasp_intervals(states[:10], commands[:10], CONFIG) == []
