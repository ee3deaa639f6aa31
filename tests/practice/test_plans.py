import numpy as np

from soar.practice.plans import DONE, HOLDING, REACHING, Errand, plan

ERRAND = Errand(
    grasp=np.array([0.3, 0.1, 0.035]),
    yaw=0.4,
    drop=np.array([0.25, -0.1, 0.06]),
    width=0.4,
    clear=0.1,
)
HOME = np.array([0.2, 0.0, 0.15, 0, 0, 0, 1.0])


def test_a_plan_goes_to_the_grasp_closes_there_and_lets_go_over_the_drop() -> None:
    states, doing = plan(HOME, ERRAND, holding=False)
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


def test_a_hand_that_is_closed_on_nothing_opens_and_rises_first() -> None:
    low = np.array([0.28, 0.1, 0.035, 0, 0, 0.4, 0.0])
    states, _ = plan(low, ERRAND, holding=False)
    assert states[2, 6] > 0.6
    assert states[5, 2] > 0.06


def test_a_thing_in_the_hand_is_carried_on_and_one_without_a_destination_is_only_lifted() -> None:
    carried = plan(HOME, ERRAND, holding=True)
    assert carried.doing[0] == HOLDING
    lifted = plan(HOME, ERRAND._replace(drop=None), holding=False)
    assert lifted.doing[-1] == HOLDING
    assert 0.06 < lifted.states[-1, 2] < 0.09
