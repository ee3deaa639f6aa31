from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from soar.errors import CameraFault, ConfigError, RobotFault
from soar.robots.host.gym_robot import ActionEntry, GymMapping, GymRobot, StateEntry, make
from soar.robots.limits import Limits
from soar.robots.safety import SafeRobot
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


class TurningHand(gymnasium.Env[Any, Any]):
    """A hand whose pose an action changes by up to 1 cm a step, and which is only seen in rendered pictures."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Box(-9, 9, (5,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.yaw, self.steps = 0.0, 0.0, 0
        return self._observation(), {}

    def step(self, action):
        self.x, self.yaw, self.steps = (
            self.x + 0.01 * action[0],
            self.yaw + 0.1 * action[1],
            self.steps + 1,
        )
        return self._observation(), 0.0, False, False, {"success": float(self.x > 0.03)}

    def render(self):
        image = np.zeros((8, 8, 3), np.uint8)
        image[0, 0] = 200
        return image

    def _observation(self):
        half = self.yaw / 2  # Rz(yaw) Rx(pi): fingers down at yaw zero
        return np.array([self.x, 0, np.cos(half), np.sin(half), 0], np.float32)


gymnasium.register("TurningHand-v0", TurningHand)  # type: ignore[arg-type]
HAND: dict[str, Any] = {
    "env": "TurningHand-v0",
    "action": [[0, 100], {"dim": 5, "scale": 10}],
    "state": [["", 0, 0]],
    "rotation": {"key": "", "at": 1, "order": "wxyz", "down": [0, 1, 0, 0]},
    "frame_skip": 4,
}


def test_a_control_step_is_several_steps_that_share_its_motion():
    robot = make(**HAND)
    executed = robot.execute(np.array([0.02, 0, 0, 0, 0, 0.2, 1], np.float32))
    assert executed == pytest.approx([0.02, 0, 0, 0, 0, 0.2, 0], abs=1e-6)
    assert robot.env.unwrapped.steps == 4  # type: ignore[attr-defined]
    assert robot.observe().state == pytest.approx([0.02, 0, 0, 0, 0, 0.2, 0], abs=1e-6)
    assert robot.execute(push(1.0))[0] == pytest.approx(0.04)  # the Box allows 1 cm in each of four


def test_a_quaternion_becomes_angles_that_are_zero_with_fingers_down():
    robot = make(**HAND)
    for _ in range(20):
        robot.execute(np.array([0, 0, 0, 0, 0, 0.3, 1], np.float32))
    yaw = (20 * 0.3 + np.pi) % (2 * np.pi) - np.pi
    assert robot.observe().state[3:6] == pytest.approx([0, 0, yaw], abs=1e-5)
    robot.home()
    assert abs(robot.observe().state[5]) < 0.05


def test_an_environment_without_an_image_is_rendered():
    assert make(**HAND).observe().image[0, 0, 0] == 200
    assert make(**HAND, turned=True).observe().image[-1, -1, 0] == 200
    env = TurningHand()
    with pytest.raises(CameraFault, match='render_mode="rgb_array"'):
        GymRobot(env, GymMapping(action=MAPPING.action, state=())).observe()


def test_the_infos_success_is_the_truth():
    robot = make(**HAND)
    assert robot.truth("") is False
    robot.execute(push(0.04))
    assert robot.truth("") is True
    robot.reset(1)
    assert robot.truth("") is False
    silent = GymRobot(PointEnv(), MAPPING)
    silent.execute(push(0.04))
    silent._info = {"distance": 1.0}
    with pytest.raises(
        ConfigError, match="info has distance, but none of success_keys: success, is_"
    ):
        silent.truth("")


def test_mistakes_in_a_station_files_mapping_are_one_line():
    cases = [
        ({"env": "NoSuch-v0"}, "env 'NoSuch-v0': Environment `NoSuch` doesn't exist"),
        ({"env": "no_module:X-v0"}, "env 'no_module:X-v0'"),
        ({"env": "TurningHand-v0", "family": "x"}, "no family 'x'; valid: metaworld, fetch"),
        (HAND | {"actions": []}, "no option 'actions'; valid: action, frame_skip"),
        (HAND | {"action": [{"dims": 1}]}, "is no entry; valid: dim, scale, offset"),
        (HAND | {"make": {"speed": 1}}, "doesn't take"),
        (HAND | {"rotation": {"key": "", "at": 1, "order": "zyx"}}, "'zyx'; valid: wxyz, xyzw"),
    ]
    for options, message in cases:
        with pytest.raises(ConfigError, match=message):
            make(**options)


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
