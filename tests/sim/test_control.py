import numpy as np
import pytest

from soar.sim.control import EndEffectorController, Target, roll_pitch_yaw, rotation


@pytest.fixture(scope="module")
def controller() -> EndEffectorController:
    return EndEffectorController()


def _reach(controller: EndEffectorController, target: Target) -> tuple[np.ndarray, np.ndarray]:
    data = controller._configuration.data
    controller.solve(target.position, target.rpy, target.joints, iterations=0)
    return data.site("hand").xpos.copy(), data.site("hand").xmat.reshape(3, 3).copy()


def test_neutral_pose_is_reached_and_points_down(controller):
    position, matrix = _reach(controller, controller.neutral)
    np.testing.assert_allclose(position, controller.config.neutral, atol=1e-4)
    np.testing.assert_allclose(matrix[:, 0], [0, 0, -1], atol=1e-4)


def test_roll_pitch_yaw_inverts_rotation():
    rng = np.random.default_rng(0)
    for rpy in rng.uniform(-1.5, 1.5, (50, 3)):
        np.testing.assert_allclose(roll_pitch_yaw(rotation(rpy)), rpy, atol=1e-9)


def test_target_stays_within_limits_and_executed_is_its_change(controller):
    rng, c, target = np.random.default_rng(1), controller.config, controller.neutral
    for _ in range(200):
        action = rng.normal(0, 0.3, 7).astype(np.float32)
        after, executed = controller.follow(target, action, target.position)
        assert (after.position >= c.low).all()
        assert (after.position <= c.high).all()
        assert np.abs(after.rpy[:2]).max() <= c.max_tilt_rad
        assert abs(after.rpy[2]) <= c.max_yaw_rad
        np.testing.assert_allclose(executed[:3], after.position - target.position, atol=1e-6)
        np.testing.assert_allclose(executed[3:6], after.rpy - target.rpy, atol=1e-6)
        assert np.abs(executed[3:6]).max() <= c.max_turn_rad + 1e-6
        assert 0 <= executed[6] <= 1
        target = after


def test_reachable_poses_are_reached_within_two_millimeters(controller):
    rng, c, target = np.random.default_rng(2), controller.config, controller.neutral
    for goal in rng.uniform(c.low, c.high, (12, 3)):
        yaw = rng.uniform(-1.5, 1.5)
        for _ in range(15):
            turn = np.array([0, 0, np.clip(yaw - target.rpy[2], -0.3, 0.3)])
            action = np.array([*(goal - target.position), *turn, 1], np.float32)
            target, _ = controller.follow(target, action, target.position)
        position, _ = _reach(controller, target)
        np.testing.assert_allclose(position, target.position, atol=2.1e-3)
        if np.linalg.norm(goal[:2]) < 0.42:
            np.testing.assert_allclose(position, goal, atol=1e-4)


def test_executed_action_of_a_blocked_arm_goes_to_zero(controller):
    target, blocked_at = controller.neutral, controller.neutral.position
    for _ in range(4):
        target, executed = controller.follow(
            target, np.array([0.03, 0, 0, 0, 0, 0, 1], np.float32), blocked_at
        )
    assert abs(executed[0]) < 1e-6
    assert target.position[0] - blocked_at[0] <= controller.config.leash_m + 0.03 + 1e-9


def test_no_commanded_motion_leads_out_of_the_box_on_its_way(controller):
    rng, c, target = np.random.default_rng(3), controller.config, controller.neutral
    for _ in range(150):
        action = np.r_[rng.normal(0, 0.05, 3), rng.normal(0, 0.3, 3), 1].astype(np.float32)
        after, _ = controller.follow(target, action, target.position)
        for share in (0.25, 0.5, 0.75, 1.0):
            joints = target.joints + share * (after.joints - target.joints)
            position, _ = _reach(controller, Target(after.position, after.rpy, 1.0, joints))
            assert (position > np.array(c.low) - 2.1e-3).all()
            assert (position < np.array(c.high) + 2.1e-3).all()
        target = after
