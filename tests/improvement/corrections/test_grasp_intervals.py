import numpy as np

from soar.improvement.methods.corrections.grasp_intervals import GraspInterval, grasp_intervals


def test_a_grip_that_holds_one_on_nothing_and_one_that_is_too_short() -> None:
    orders = np.ones(40)
    orders[[*range(5, 15), *range(20, 30), *range(34, 36)]] = 0
    states = np.ones((40, 7))
    states[5:15, 6] = 0.4
    states[20:30, 6] = 0.01
    assert grasp_intervals(states, orders) == [
        GraspInterval(5, 15, True),
        GraspInterval(20, 30, False),
    ]


def test_a_hand_that_stays_closed_ends_with_the_episode() -> None:
    orders, states = np.ones(20), np.full((20, 7), 0.5)
    orders[12:] = 0
    assert grasp_intervals(states, orders) == [GraspInterval(12, 20, True)]
    assert grasp_intervals(states[:10], orders[:10]) == []
