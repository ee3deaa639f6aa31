"""Values that drivers return, through the safety wrapper: copied and valid, or one fault that says what came."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from soar.errors import CameraFault, ConfigError, RobotFault, UnsafeAction
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.types import Observation

OPEN = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
GOOD: dict[str, Any] = {
    "image": np.zeros((4, 6, 3), np.uint8),
    "state": np.array([0.3, 0, 0.1, 0, 0, 0, 1], np.float32),
    "time_s": 1.0,
}
NOT_SEVEN = {
    "None": None,
    "six": np.zeros(6),
    "eight": np.zeros(8),
    "column": np.zeros((7, 1)),
    "nan": np.full(7, np.nan),
    "inf": np.full(7, np.inf),
    "huge": np.full(7, 1e300),
    "text": "abc",
    "texts": ["a"] * 7,
    "bool": np.ones(7, bool),
    "complex": np.ones(7, complex),
    "ragged": [[1], [1, 2]],
    "object": object(),
    "gradient": torch.zeros(7, requires_grad=True),
    "masked": np.ma.masked_array(np.zeros(7), np.arange(7) == 0),
    "never written": np.full(7, 1e30),
    "dict": {"x": 1},
}
NO_IMAGE = {
    "None": None,
    "gray": np.zeros((4, 6), np.uint8),
    "alpha": np.zeros((4, 6, 4), np.uint8),
    "planes": np.zeros((3, 4, 6), np.uint8),
    "float": np.zeros((4, 6, 3)),
    "batch": np.zeros((1, 4, 6, 3), np.uint8),
    "empty": np.zeros((0, 6, 3), np.uint8),
    "text": "image.png",
    "tensor": torch.zeros(3, 4, 6),
}
NO_TIME = {
    "None": None,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "12:00",
    "vector": np.zeros(2),
    "bool": True,
}


class Driver(ToyRobot):
    """A toy whose return values are set by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.observation: Any = SimpleNamespace(**GOOD)
        self.executed: Any = OPEN

    def observe(self) -> Any:
        return self.observation

    def execute(self, action: Any) -> Any:
        return self.executed


def driver(**changes: Any) -> Driver:
    made = Driver()
    made.observation = SimpleNamespace(**(GOOD | changes))
    return made


@pytest.mark.parametrize("state", NOT_SEVEN.values(), ids=NOT_SEVEN)
def test_a_state_that_is_not_seven_finite_numbers_is_a_fault(state):
    with pytest.raises(RobotFault, match=r"state of observe\(\) is .*valid: 7 finite numbers"):
        SafeRobot(driver(state=state)).observe()
    with pytest.raises(RobotFault, match="valid: 7 finite"):
        SafeRobot(driver(state=state)).execute(OPEN)


@pytest.mark.parametrize("image", NO_IMAGE.values(), ids=NO_IMAGE)
def test_an_image_that_is_not_uint8_rgb_is_a_fault_of_the_camera(image):
    with pytest.raises(CameraFault, match="the image of observe"):
        SafeRobot(driver(image=image)).observe()


@pytest.mark.parametrize("time_s", NO_TIME.values(), ids=NO_TIME)
def test_a_time_that_is_not_a_number_is_a_fault(time_s):
    with pytest.raises(RobotFault, match=r"time_s of observe\(\) is .*never decrease"):
        SafeRobot(driver(time_s=time_s)).observe()


@pytest.mark.parametrize("executed", NOT_SEVEN.values(), ids=NOT_SEVEN)
def test_an_executed_action_that_is_not_seven_finite_numbers_is_a_fault(executed):
    robot = Driver()
    robot.executed = executed
    with pytest.raises(RobotFault, match=r"returned by execute\(\) is .*valid: 7 finite numbers"):
        SafeRobot(robot).execute(OPEN)


def test_an_executed_step_that_no_arm_makes_is_a_fault():
    """Millimeters in place of meters: ten of them for one centimeter."""
    robot = Driver()
    robot.executed = np.array([10, 0, 0, 0, 0, 0, 1], np.float32)
    with pytest.raises(RobotFault, match=r"execute\(\) returned the step \[10.0, .*exceed 0.5"):
        SafeRobot(robot).execute(OPEN)


@pytest.mark.parametrize("action", NOT_SEVEN.values(), ids=NOT_SEVEN)
def test_a_commanded_action_of_any_wrong_type_is_refused(action):
    if isinstance(action, np.ndarray) and action.dtype == float and 1e6 < action.max() < np.inf:
        pytest.skip("finite, and clipped")
    with pytest.raises(UnsafeAction, match="7 finite numbers"):
        SafeRobot(Driver()).execute(action)


@pytest.mark.parametrize("observation", [None, {"image": 1}, (1, 2, 3), np.zeros(3), {}])
def test_something_else_than_an_observation_is_a_fault(observation):
    robot = Driver()
    robot.observation = observation
    with pytest.raises(RobotFault, match=r"valid: Observation\(image, state, time_s\)"):
        SafeRobot(robot).observe()


def test_a_property_that_fails_is_a_fault_with_its_reason():
    class Lazy:
        state, time_s = GOOD["state"], 1.0

        @property
        def image(self):
            raise OSError("camera 3 is gone")

    robot = Driver()
    robot.observation = Lazy()
    with pytest.raises(RobotFault, match=r"returned a Lazy \(camera 3 is gone\)"):
        SafeRobot(robot).observe()


def test_numbers_of_other_libraries_are_converted():
    state = torch.tensor([0.3, 0, 0.1, 0, 0, 0, 1])
    image = torch.zeros(4, 6, 3, dtype=torch.uint8)
    observation = SafeRobot(driver(state=state, image=image, time_s=np.float32(2))).observe()
    assert isinstance(observation, Observation)
    assert isinstance(observation.image, np.ndarray)
    assert observation.state.dtype == np.float32
    assert observation.time_s == 2.0


def test_a_reused_buffer_is_copied():
    robot = driver(image=GOOD["image"].copy(), state=GOOD["state"].copy())
    safe = SafeRobot(robot)
    first = safe.observe()
    robot.observation.image[:] = 9
    robot.observation.state[:] = 0.2
    second = safe.observe()
    assert (first.image.max(), second.image.max()) == (0, 9)
    assert first.state[0] == np.float32(0.3)
    executed = safe.execute(OPEN)
    assert executed is not robot.executed


def test_time_that_goes_back_is_a_fault_until_recovery():
    robot = driver(time_s=5.0)
    safe = SafeRobot(robot)
    safe.observe()
    robot.observation.time_s = 4.0
    with pytest.raises(RobotFault, match="4 s after 5 s"):
        safe.observe()
    safe.recover()
    assert safe.observe().time_s == 4.0


def test_a_camera_that_changes_its_size_within_an_episode_is_a_fault_that_names_both():
    robot = Driver()
    safe = SafeRobot(robot)
    safe.observe()
    robot.observation.image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(CameraFault, match="8 x 8 pixels, in an episode that began with 6 x 4"):
        safe.observe()
    safe.home()
    assert safe.observe().image.shape == (8, 8, 3)


@pytest.mark.parametrize("method", ["observe", "execute", "home", "recover"])
def test_any_exception_of_a_driver_is_a_fault_of_one_line(method, monkeypatch):
    def broken(*_: Any) -> None:
        raise OSError("no\n/dev/ttyUSB0")

    robot = Driver()
    monkeypatch.setattr(robot, method, broken)
    safe = SafeRobot(robot)
    arguments = [OPEN] if method == "execute" else []
    with pytest.raises(RobotFault, match=rf"^{method}\(\) raised OSError: no /dev/ttyUSB0$"):
        getattr(safe, method)(*arguments)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopIteration()])
def test_what_is_no_exception_of_python_s_own_is_a_fault_too(error, monkeypatch):
    def broken(*_: Any) -> None:
        raise error

    robot = Driver()
    monkeypatch.setattr(robot, "home", broken)
    with pytest.raises(RobotFault, match=type(error).__name__):
        SafeRobot(robot).home()


def test_a_close_that_fails_is_logged(monkeypatch, caplog):
    def broken(*_: Any) -> None:
        raise OSError("no\n/dev/ttyUSB0")

    robot = Driver()
    monkeypatch.setattr(robot, "close", broken)
    SafeRobot(robot).close()
    assert "close() raised OSError: no /dev/ttyUSB0" in caplog.text


@pytest.mark.parametrize("period", [0, -1, None, np.nan, np.inf, "0.2"])
def test_a_period_that_is_not_positive_is_refused(period, monkeypatch):
    monkeypatch.setattr(Driver, "period_s", period)
    with pytest.raises(ConfigError, match="period_s"):
        SafeRobot(Driver())
