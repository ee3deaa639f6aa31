import numpy as np

from soar.improvement.methods.corrections.motion_plan import (
    DONE,
    HOLDING,
    REACHING,
    PickPlaceTarget,
    plan_motion,
    retreat,
)

ERRAND = PickPlaceTarget(
    grasp=np.array([0.3, 0.1, 0.035]),
    yaw=0.4,
    drop=np.array([0.25, -0.1, 0.06]),
    width=0.4,
    clear=0.1,
    above=0.08,
    lift=0.04,
)
HOME = np.array([0.2, 0.0, 0.15, 0, 0, 0, 1.0])


def test_a_plan_goes_to_the_grasp_closes_there_and_lets_go_over_the_drop() -> None:
    states, doing, opens = plan_motion(HOME, ERRAND, holding=False)
    assert (np.diff(doing) >= 0).all()
    assert set(doing) == {REACHING, HOLDING, DONE}
    assert ERRAND.drop is not None
    held, let_go = np.flatnonzero(doing == HOLDING)[0], np.flatnonzero(doing == DONE)[0]
    np.testing.assert_allclose(states[held - 1, :3], ERRAND.grasp, atol=0.01)
    np.testing.assert_allclose(states[held - 1, 5], ERRAND.yaw, atol=0.15)
    assert states[held, 6] == ERRAND.width
    np.testing.assert_allclose(states[let_go, :3], ERRAND.drop, atol=0.015)
    assert states[held:let_go, 2].max() > ERRAND.clear - 0.02
    assert np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max() < 0.03
    assert opens[0]
    assert not opens[held - 1 : let_go - 1].any()
    assert opens[let_go - 1 :].all()


def test_a_hand_that_is_closed_on_nothing_opens_and_rises_first() -> None:
    low = np.array([0.28, 0.1, 0.035, 0, 0, 0.4, 0.0])
    states, *_ = plan_motion(low, ERRAND, holding=False)
    assert states[2, 6] > 0.6
    assert states[5, 2] > 0.06


def test_a_thing_in_the_hand_is_carried_on_and_one_without_a_destination_is_only_lifted() -> None:
    carried = plan_motion(HOME, ERRAND, holding=True)
    assert carried.doing[0] == HOLDING
    lifted = plan_motion(HOME, ERRAND._replace(drop=None), holding=False)
    assert lifted.doing[-1] == HOLDING
    assert 0.06 < lifted.states[-1, 2] < 0.09


def test_the_first_action_goes_on_as_fast_as_the_hand_was() -> None:
    gentle, bold = (
        plan_motion(HOME, ERRAND, False).action,
        plan_motion(HOME, ERRAND, False, 0.028).action,
    )
    assert np.linalg.norm(gentle[:3]) < 0.013 < 0.027 < np.linalg.norm(bold[:3])
    assert gentle[6] == bold[6] == 1
    tilted = HOME + np.array([0, 0, 0, 0.1, -0.2, 0, 0])
    np.testing.assert_allclose(plan_motion(tilted, ERRAND, False).action[3:5], [-0.05, 0.1])
    there = np.array([*ERRAND.grasp, 0, 0, ERRAND.yaw, 1.0])
    np.testing.assert_allclose(plan_motion(there, ERRAND, False).action, 0)


def test_a_hand_that_is_done_rises_with_open_fingers_and_stays() -> None:
    low = np.array([0.25, -0.1, 0.06, 0, 0, 0.4, 0.9])
    path = retreat(low)
    assert path.opens.all()
    assert set(path.doing) == {DONE}
    assert path.states[-1, 2] > 0.12
    np.testing.assert_allclose(path.states[-1, :2], low[:2])
    np.testing.assert_allclose(retreat(path.states[-1]).action, [0] * 6 + [1])
