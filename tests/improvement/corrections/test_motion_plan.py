import numpy as np
from tests.improvement.corrections.camera import PLANNER

from soar.improvement.methods.corrections.motion_plan import (
    DONE,
    HOLDING,
    REACHING,
    PickPlaceTarget,
)

TARGET = PickPlaceTarget(
    grasp=np.array([0.3, 0.1, 0.035]),
    yaw=0.4,
    release=np.array([0.25, -0.1, 0.06]),
    width=0.4,
    carry_height=0.1,
    approach_height=0.08,
    lift=0.04,
)
HOME = np.array([0.2, 0.0, 0.15, 0, 0, 0, 1.0])


def test_a_plan_grasps_at_the_target_and_releases_over_it() -> None:
    states, phases, opens = PLANNER.plan(HOME, TARGET, holding=False)
    assert (np.diff(phases) >= 0).all()
    assert set(phases) == {REACHING, HOLDING, DONE}
    assert TARGET.release is not None
    held, released = np.flatnonzero(phases == HOLDING)[0], np.flatnonzero(phases == DONE)[0]
    np.testing.assert_allclose(states[held - 1, :3], TARGET.grasp, atol=0.01)
    np.testing.assert_allclose(states[held - 1, 5], TARGET.yaw, atol=0.15)
    assert states[held, 6] == TARGET.width
    np.testing.assert_allclose(states[released, :3], TARGET.release, atol=0.015)
    assert states[held:released, 2].max() > TARGET.carry_height - 0.02
    assert np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1).max() < 0.03
    assert opens[0]
    assert not opens[held - 1 : released - 1].any()
    assert opens[released - 1 :].all()


def test_a_closed_empty_gripper_opens_and_rises_first() -> None:
    low = np.array([0.28, 0.1, 0.035, 0, 0, 0.4, 0.0])
    states, *_ = PLANNER.plan(low, TARGET, holding=False)
    assert states[2, 6] > 0.6
    assert states[5, 2] > 0.06


def test_a_held_object_is_carried_on_and_one_without_a_release_is_only_lifted() -> None:
    carried = PLANNER.plan(HOME, TARGET, holding=True)
    assert carried.phases[0] == HOLDING
    lifted = PLANNER.plan(HOME, TARGET._replace(release=None), holding=False)
    assert lifted.phases[-1] == HOLDING
    assert 0.06 < lifted.states[-1, 2] < 0.09


def test_the_first_action_continues_at_the_speed_of_the_last_one() -> None:
    gentle, fast = (
        PLANNER.plan(HOME, TARGET, False).action,
        PLANNER.plan(HOME, TARGET, False, 0.028).action,
    )
    assert np.linalg.norm(gentle[:3]) < 0.013 < 0.027 < np.linalg.norm(fast[:3])
    assert gentle[6] == fast[6] == 1
    tilted = HOME + np.array([0, 0, 0, 0.1, -0.2, 0, 0])
    np.testing.assert_allclose(PLANNER.plan(tilted, TARGET, False).action[3:5], [-0.05, 0.1])
    there = np.array([*TARGET.grasp, 0, 0, TARGET.yaw, 1.0])
    np.testing.assert_allclose(PLANNER.plan(there, TARGET, False).action, 0)


def test_the_gripper_rises_open_after_the_release_and_stays() -> None:
    low = np.array([0.25, -0.1, 0.06, 0, 0, 0.4, 0.9])
    path = PLANNER.retreat(low)
    assert path.gripper_open.all()
    assert set(path.phases) == {DONE}
    assert path.states[-1, 2] > 0.12
    np.testing.assert_allclose(path.states[-1, :2], low[:2])
    np.testing.assert_allclose(PLANNER.retreat(path.states[-1]).action, [0] * 6 + [1])
