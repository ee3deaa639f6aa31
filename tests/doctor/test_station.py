"""Trials and checks of a station."""

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from soar.collection.lease import robot_held
from soar.collection.status import StatusFolder, beat_all
from soar.contract.contract import WIDOWX, Gripper, Numbers
from soar.contract.convert import as_widowx
from soar.data.store.lance import open_store
from soar.doctor.checks import CheckConfig, run_checks
from soar.doctor.station import gentle_probes, try_robot, try_station
from soar.doctor.station_checks import (
    RobotTrial,
    check_box,
    check_camera,
    check_contract,
    check_gripper,
    check_image,
    check_motion,
    check_pose,
)
from soar.errors import RobotFault
from soar.robots.converted import ConvertedRobot
from soar.robots.limits import Limits
from soar.robots.operation.guard import beat
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.rollout.station_config import StationConfig
from soar.types import Action, Observation

BOX = Limits()


class Mirrored(ToyRobot):
    """A driver with the wrong sign of y."""

    def execute(self, action: Action) -> Action:
        mirrored = action.copy()
        mirrored[1] *= -1
        super().execute(mirrored)
        return action


class Millimeters(ToyRobot):
    """A driver that takes meters for millimeters."""

    def execute(self, action: Action) -> Action:
        super().execute(action * np.float32(0.001))
        return action


class Frozen(ToyRobot):
    """A camera that always gives its first image."""

    def observe(self) -> Observation:
        observation = super().observe()
        self.first = getattr(self, "first", observation.image)
        return Observation(self.first, observation.state, observation.time_s)


class Elsewhere(ToyRobot):
    """A camera that shows another table, with a little noise."""

    def observe(self) -> Observation:
        observation = super().observe()
        image, rng = observation.image, np.random.default_rng(int(10 * observation.time_s))
        noisy = np.full_like(image, 90) + rng.integers(0, 5, image.shape)
        return Observation(noisy.astype(np.uint8), observation.state, observation.time_s)


class Dead(ToyRobot):
    """An arm without power."""

    def home(self) -> None:
        raise RobotFault("motor 2 doesn't answer")


def trial_of(robot: ToyRobot, move: bool = True) -> RobotTrial:
    return try_robot(robot, BOX, move, keeps_period=False)


def test_a_working_robot_moves_inside_its_box_and_ends_at_home():
    robot = ToyRobot()
    trial = try_robot(SafeRobot(robot, BOX), BOX, move=True, keeps_period=False)
    visited = np.array(robot.visited)
    assert (visited >= BOX.low).all()
    assert (visited <= BOX.high).all()
    assert np.abs(visited - visited[0]).max() < 0.05
    assert robot.homed == 2
    assert trial.rest.state[:3] == pytest.approx((0.29, 0.0, 0.15))
    for result in (
        check_image("a", trial.rest),
        check_camera("a", trial),
        check_motion("a", trial),
    ):
        assert result.health == "ok"


def test_an_arm_that_may_not_move_holds_still():
    robot = ToyRobot()
    trial = trial_of(robot, move=False)
    assert not robot.visited
    assert not robot.homed
    result = check_camera("a", trial)
    assert result.health == "warning"
    assert "--move" in result.advice


class Turned(ToyRobot):
    """A driver with the wrong sign of yaw."""

    def execute(self, action: Action) -> Action:
        turned = action.copy()
        turned[5] *= -1
        super().execute(turned)
        return action


class Degrees(ToyRobot):
    """A driver that reports its rotation as it is not asked for."""

    added: tuple[float, ...] = (np.pi, 0, 0, 0)
    factor = 1.0

    def observe(self) -> Observation:
        observation = super().observe()
        state = observation.state.copy()
        state[3:6] *= self.factor
        state[3:] += np.array(self.added, np.float32)
        return Observation(observation.image, state, observation.time_s)


class Inverted(ToyRobot):
    """A driver whose gripper is closed by 1."""

    def execute(self, action: Action) -> Action:
        inverted = action.copy()
        inverted[6] = 1 - inverted[6]
        super().execute(inverted)
        return action


def reporting(added: tuple[float, ...], factor: float = 1.0) -> Degrees:
    robot = Degrees()
    robot.added, robot.factor = added, factor
    return robot


def test_a_hand_that_points_down_with_roll_180_is_warned_of():
    result = check_pose("a", trial_of(reporting((np.pi, 0, 0, 0))))
    assert result.health == "warning"
    assert "180 degrees away from down" in result.what
    assert "fingers_up" in result.advice
    quarter = check_pose("a", trial_of(reporting((0, np.pi / 2, 0, 0))))
    assert "fingers_forward" in quarter.advice


def test_declared_and_converted_that_hand_is_at_zero():
    declared = replace(WIDOWX, state=Numbers(zero_rotation="fingers_up"))
    robot = ConvertedRobot(reporting((np.pi, 0, 0, 0)), declared, as_widowx(declared))
    trial = try_robot(SafeRobot(robot, BOX), BOX, move=True, keeps_period=False)
    assert trial.rest.state[3:6] == pytest.approx([0, 0, 0], abs=1e-6)
    for result in (check_pose("a", trial), check_motion("a", trial), check_gripper("a", trial)[0]):
        assert result.health == "ok"


def test_degrees_and_grippers_out_of_range_fail():
    degrees = check_pose("a", trial_of(reporting((0, 0, 90, 0), 180 / np.pi), move=False))
    assert (degrees.health, "angle: deg" in degrees.advice) == ("failed", True)
    percent = check_pose("a", trial_of(reporting((0, 0, 0, 99)), move=False))
    assert (percent.health, "closed: ..." in percent.advice) == ("failed", True)


def test_a_gripper_that_is_closed_at_home_is_warned_of():
    result = check_pose("a", trial_of(reporting((0, 0, 0, -1)), move=False))
    assert (result.health, "open the gripper" in result.advice) == ("warning", True)


def test_a_gripper_that_opens_when_told_to_close_fails():
    [result] = check_gripper("a", trial_of(Inverted()))
    assert result.health == "failed"
    assert "opening 0.00, closed 1.00, opened 0.00" in result.what
    [fine] = check_gripper("a", trial_of(ToyRobot()))
    assert (fine.health, fine.what) == ("ok", "opening 1.00, closed 0.00, opened 1.00")


def test_a_gripper_of_another_range_works_once_it_is_declared():
    class Percent(Inverted):
        def observe(self) -> Observation:
            observation = super().observe()
            state = observation.state.copy()
            state[6] *= 100
            return Observation(observation.image, state, observation.time_s)

    action = replace(WIDOWX.action, gripper=Gripper(1, 0))
    declared = replace(WIDOWX, action=action, state=Numbers(gripper=Gripper(0, 100)))
    robot = ConvertedRobot(Percent(), declared, as_widowx(declared))
    trial = try_robot(SafeRobot(robot, BOX), BOX, move=True, keeps_period=False)
    assert check_gripper("a", trial)[0].health == "ok"
    assert check_pose("a", trial).health == "ok"


def test_a_contract_that_nobody_declared_is_a_warning():
    robot = ToyRobot()
    robot.contract = None  # type: ignore[assignment]
    assert check_contract("a", trial_of(robot, move=False)).health == "warning"
    assert check_contract("a", trial_of(ToyRobot(), move=False)).health == "ok"


@pytest.mark.parametrize(
    ("robot", "axis"),
    [(Mirrored(), "y, left"), (Millimeters(), "z, up"), (Turned(), "yaw")],
    ids=["sign", "unit", "turn"],
)
def test_motion_that_differs_from_the_commanded_one_fails(robot, axis):
    result = check_motion("a", trial_of(robot))
    assert result.health == "failed"
    assert axis in result.advice


def test_a_box_without_room_to_move_is_a_warning():
    tight = Limits((0.289, -0.001, 0.149), (0.291, 0.001, 0.151))
    trial = try_robot(SafeRobot(ToyRobot(), tight), tight, move=True, keeps_period=False)
    assert check_motion("a", trial).health == "warning"
    assert check_box("a", tight, trial.rest.state).health == "warning"


def test_a_frozen_camera_fails():
    result = check_camera("a", trial_of(Frozen()))
    assert result.health == "failed"
    assert "frozen" in result.advice


def test_a_camera_that_does_not_show_the_arm_is_a_warning():
    result = check_camera("a", trial_of(Elsewhere()))
    assert result.health == "warning"
    assert "hardly seen" in result.advice


def test_time_that_runs_backward_fails():
    trial = trial_of(ToyRobot())
    backward = replace(trial, observations=trial.observations[::-1])
    assert "backward" in check_camera("a", backward).what


@pytest.mark.parametrize(
    ("image", "health"),
    [
        (np.zeros((8, 8, 3), np.uint8), "failed"),
        (np.zeros((8, 8), np.uint8), "failed"),
        (np.random.default_rng(0).random((8, 8, 3)), "failed"),
        (np.random.default_rng(0).integers(0, 20, (8, 8, 3), np.uint8), "warning"),
        (np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), "ok"),
    ],
    ids=["black", "gray", "float", "dark", "good"],
)
def test_images_without_content_are_reported(image, health):
    observation = ToyRobot().observe()
    object.__setattr__(observation, "image", image)
    assert check_image("a", observation).health == health


def test_a_home_pose_outside_of_the_box_is_a_warning():
    high = Limits((0.2, -0.2, 0.3), (0.4, 0.2, 0.5))
    result = check_box("a", high, ToyRobot().observe().state)
    assert result.health == "warning"
    assert "15.0 cm outside" in result.what


def test_test_moves_lead_toward_the_middle_of_the_box():
    state = ToyRobot().observe().state
    probes = gentle_probes(WIDOWX, state, BOX)
    moves = np.stack([action for p, actions in probes if p.name in "xyz" for action in actions])
    middle = (np.array(BOX.low) + np.array(BOX.high)) / 2
    assert (np.sign(moves[:, :3].sum(0)) == np.sign(middle - state[:3])).all()
    assert (moves[:, 6] == 1).all()


def test_an_exception_of_a_driver_is_reported(tmp_path, monkeypatch):
    (tmp_path / "lab.py").write_text("def make():\n    raise OSError('no /dev/ttyUSB0')\n")
    monkeypatch.syspath_prepend(tmp_path)
    tried = try_station(
        StationConfig("arm", "lab:make", tasks=("open the drawer",), process=False), True
    )
    [result] = tried.results
    assert (result.health, tried.trial) == ("failed", None)
    assert "OSError" in result.what
    assert "lab.py:2: no /dev/ttyUSB0" in result.what


def test_an_arm_that_another_program_drives_is_left_alone(monkeypatch):
    config = StationConfig("arm", "soar.robots.toy:ToyRobot", tasks=("open the drawer",))
    monkeypatch.setattr("soar.doctor.station.open_station", None)  # which isn't called
    with robot_held(config):
        [result] = try_station(config, True).results
    assert result.health == "failed"
    assert f"in use by process {os.getpid()}" in result.what
    assert result.advice == "two programs can't drive one arm"


def test_a_fault_of_a_robot_comes_with_advice(monkeypatch):
    monkeypatch.setattr("soar.robots.toy.ToyRobot", Dead)
    [result] = try_station(StationConfig("arm", "toy"), True).results
    assert result.what == "motor 2 doesn't answer"
    assert "power" in result.advice
    assert try_station(StationConfig("arm", "toy"), move=False).trial


def test_a_simulated_arm_passes_all_checks():
    tried = try_station(StationConfig("arm", options={"scene": "1", "image_size": 64}), True)
    assert [r.health for r in tried.results] == ["ok"] * 8, tried.results
    assert tried.rest.image.shape == (64, 64, 3)


def test_an_arm_that_a_person_holds_is_not_moved(tmp_path, monkeypatch):
    robot, folder = ToyRobot(), StatusFolder(tmp_path, "arm")
    monkeypatch.setattr("soar.robots.toy.ToyRobot", lambda *_: robot)
    config = CheckConfig(tmp_path, [StationConfig("arm", "toy", process=False)])
    folder.request("emergency", "space bar")
    first = next(run_checks(config))
    assert (first.health, first.what[:26]) == ("failed", "emergency stop (space bar ")
    assert "a person holds the arm" in first.advice
    assert (robot.visited, robot.homed) == ([], 0)
    folder.request("release")
    folder.request("run")
    assert next(run_checks(config)).health == "ok"


def test_an_arm_that_asks_for_a_heartbeat_waits_for_one(tmp_path, monkeypatch):
    config = StationConfig("arm", "toy", process=False, heartbeat_s=60.0)
    monkeypatch.setattr("soar.doctor.station._OPERATOR_S", 0.1)
    [result] = try_station(config, True, tmp_path).results
    assert "no heartbeat of the operator" in result.what
    monkeypatch.setattr("soar.doctor.station._OPERATOR_S", 60.0)
    told = SimpleNamespace(print=lambda _: beat(tmp_path))
    monkeypatch.setattr("soar.doctor.station.console", told)
    assert try_station(config, True, tmp_path).trial


def test_where_there_is_no_store_yet_the_keys_of_the_doctor_make_none(tmp_path, monkeypatch):
    places: list[Path] = []

    def press(folders):
        beat_all(folders)
        places.extend(folder.folder for folder in folders)
        return nullcontext()

    monkeypatch.setattr("soar.doctor.checks.operator_keys", press)
    config = CheckConfig(tmp_path / "new", [StationConfig("arm", "toy", process=False)])
    assert next(run_checks(config)).health == "ok"
    assert len(places) == 1
    assert not places[0].exists()
    open_store(tmp_path / "new", create=True)
