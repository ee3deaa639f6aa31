from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from soar.errors import CameraFault, ConfigError, RobotFault
from soar.robots.gym import ActionEntry, GymMapping, GymRobot, StateEntry
from soar.robots.safety import Limits, SafeRobot
from soar.types import Action


class PointEnv(gymnasium.Env[Any, Any]):
    """A point that an action in -1..1 moves by up to 10 cm; over after 20 steps."""

    def __init__(self) -> None:
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (8, 8, 3), np.uint8),
                "point": spaces.Box(-9, 9, (2,), np.float32),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.steps = np.zeros(2, np.float32), 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.position, self.steps = self.position + 0.1 * action, self.steps + 1
        return self._observation(), 0.0, False, self.steps >= 20, {}

    def _observation(self) -> dict[str, Any]:
        image = np.full((8, 8, 3), self.steps, np.uint8)
        return {"camera": image, "point": self.position.copy()}


MAPPING = GymMapping(
    instruction="move the point",
    image_key="camera",
    action=(ActionEntry(0, 10), ActionEntry(1, 10)),
    state=(StateEntry("point", 0, 0), StateEntry("point", 1, 1)),
)


def push(x: float, y: float = 0.0) -> Action:
    return np.array([x, y, 0, 0, 0, 0, 1], np.float32)


def test_actions_and_states_go_through_the_mapping():
    robot = GymRobot(PointEnv(), MAPPING)
    executed = robot.execute(push(0.04, -0.02))
    assert executed == pytest.approx([0.04, -0.02, 0, 0, 0, 0, 0], abs=1e-6)
    observation = robot.observe()
    assert observation.state == pytest.approx([0.04, -0.02, 0, 0, 0, 0, 0], abs=1e-6)
    assert observation.time_s == pytest.approx(0.2)


def test_the_executed_action_is_clipped_to_the_action_box():
    robot = GymRobot(PointEnv(), MAPPING)
    assert robot.execute(push(5.0))[0] == pytest.approx(0.1)


def test_home_moves_back_to_the_start():
    robot = GymRobot(PointEnv(), MAPPING)
    for _ in range(6):
        robot.execute(push(0.05, 0.05))
    robot.home()
    assert np.abs(robot.observe().state[:3]).max() < 0.01


def test_an_environment_that_ends_is_a_fault_until_home():
    robot = GymRobot(PointEnv(), MAPPING)
    for _ in range(20):
        robot.execute(push(0.05))
    with pytest.raises(RobotFault, match=r"PointEnv has ended \(truncated: .*home\(\) resets it"):
        robot.execute(push(0.05))
    robot.home()
    assert robot.execute(push(0.05))[0] == pytest.approx(0.05)


class EndlessEnv(PointEnv):
    """A point that never ends by itself, with an angle that wraps."""

    max_path_length = 20

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-99, 99, (3,), np.float32)
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed=None, options=None):
        self.yaw = 3.0
        return super().reset(seed=seed)

    def step(self, action):
        self.actions.append(action)
        self.position, self.steps = self.position + action[:2], self.steps + 1
        self.yaw = (self.yaw + action[2] + np.pi) % (2 * np.pi) - np.pi
        return self._observation(), 0.0, False, self.steps >= self.max_path_length, {}

    def _observation(self) -> dict[str, Any]:
        return super()._observation() | {"yaw": np.array([self.yaw], np.float32)}


TURNING = GymMapping(
    image_key="camera",
    action=(ActionEntry(0), ActionEntry(1), ActionEntry(5)),
    state=(*MAPPING.state, StateEntry("yaw", 0, 5)),
)


def test_time_limits_of_gymnasium_and_meta_world_are_lifted():
    limited = gymnasium.wrappers.OrderEnforcing(
        gymnasium.wrappers.TimeLimit(EndlessEnv(), max_episode_steps=5)
    )
    robot = GymRobot(limited, TURNING)
    for _ in range(100):
        robot.execute(push(0.001))
    assert robot.observe().state[0] == pytest.approx(0.1, abs=1e-4)


def test_homing_takes_steps_within_limits_and_turns_the_short_way():
    env = EndlessEnv()
    robot = GymRobot(env, TURNING)
    robot.execute(np.array([0.8, -0.4, 0, 0, 0, 0.7, 1], np.float32))  # yaw 3.7 is -2.58
    env.actions.clear()
    robot.home()
    actions = np.array(env.actions)
    assert np.abs(actions[:, :2]).max() <= np.float32(0.05)
    assert np.abs(actions[:, 2]).max() <= np.float32(0.35)
    assert actions[:, 2].sum() == pytest.approx(-0.7, abs=0.06)
    state = robot.observe().state
    assert np.abs(state[:2]).max() < 0.01
    assert state[5] == pytest.approx(3.0, abs=0.06)


def test_errors_name_what_the_mapping_lacks():
    with pytest.raises(ConfigError, match="needs a Box of 7 numbers"):
        GymRobot(PointEnv())
    with pytest.raises(ConfigError, match="no 'pose'; there is: camera, point"):
        GymRobot(PointEnv(), GymMapping(action=MAPPING.action, state=(StateEntry("pose", 0, 0),)))
    with pytest.raises(CameraFault, match="image key"):
        GymRobot(PointEnv(), GymMapping(action=MAPPING.action, state=())).observe()


@pytest.mark.slow
def test_ogbench_cube_is_driven_inside_a_box():
    pytest.importorskip("ogbench")
    import runpy

    example = runpy.run_path("examples/drive_ogbench.py")
    env = gymnasium.make("visual-cube-single-v0")
    box: Limits = example["BOX"]
    robot = SafeRobot(GymRobot(env, example["CUBE"], seed=0), box)
    observation = robot.observe()
    assert observation.image.shape == (64, 64, 3)
    start = observation.state[:3]
    toward = np.sign(np.array([0.42, 0.0, 0.15]) - start)
    for _ in range(3):
        robot.execute(np.array([*(0.03 * toward), 0, 0, 0, 1], np.float32))
    moved = robot.observe().state[:3] - start
    assert np.abs(moved).max() > 0.02
    far = np.abs(moved) > 0.01
    assert (np.sign(moved)[far] == toward[far]).all()
    robot.close()
