"""The doctor finds what is wrong with a robot or its camera, and says so."""

import numpy as np
import pytest

from soar.doctor.findings import CheckResult
from soar.doctor.station import (
    Exercise,
    check_box,
    check_camera,
    check_motion,
    check_picture,
    examine,
    exercise,
    gentle_moves,
)
from soar.errors import RobotFault
from soar.robots.safety import Limits, SafeRobot
from soar.robots.toy import ToyRobot
from soar.rollout.station_config import StationConfig
from soar.types import Action, Observation

BOX = Limits()


class Mirrored(ToyRobot):
    """A driver with y the wrong way round."""

    def execute(self, action: Action) -> Action:
        mirrored = action.copy()
        mirrored[1] *= -1
        super().execute(mirrored)
        return action


class Millimetres(ToyRobot):
    """A driver that takes metres for millimetres."""

    def execute(self, action: Action) -> Action:
        super().execute(action * np.float32(0.001))
        return action


class Frozen(ToyRobot):
    """A camera that always gives its first picture."""

    def observe(self) -> Observation:
        seen = super().observe()
        self.first = getattr(self, "first", seen.image)
        return Observation(self.first, seen.state, seen.time_s)


class Elsewhere(ToyRobot):
    """A camera that looks at another table, with a little noise."""

    def observe(self) -> Observation:
        seen = super().observe()
        noise = np.random.default_rng(int(10 * seen.time_s)).integers(0, 5, seen.image.shape)
        return Observation((np.full_like(seen.image, 90) + noise).astype(np.uint8), seen.state, 0)


class Dead(ToyRobot):
    """An arm without power."""

    def home(self) -> None:
        raise RobotFault("motor 2 doesn't answer")


def try_out(robot: ToyRobot, move: bool = True) -> Exercise:
    return exercise(robot, BOX, move, paced=False)


def test_a_healthy_robot_moves_inside_its_box_and_ends_at_home():
    robot = ToyRobot()
    done = exercise(SafeRobot(robot, BOX), BOX, move=True, paced=False)
    visited = np.array(robot.visited)
    assert (visited >= BOX.low).all()
    assert (visited <= BOX.high).all()
    assert np.abs(visited - visited[0]).max() < 0.05
    assert robot.homed == 2
    assert done.rest.state[:3] == pytest.approx((0.29, 0.0, 0.15))
    for finding in (
        check_picture("a", done.rest),
        check_camera("a", done),
        check_motion("a", done),
    ):
        assert finding.health == "ok"


def test_an_arm_that_shall_hold_still_holds_still():
    robot = ToyRobot()
    done = try_out(robot, move=False)
    assert not robot.visited
    assert not robot.homed
    finding = check_camera("a", done)
    assert finding.health == "warning"
    assert "--move" in finding.advice


@pytest.mark.parametrize(
    ("robot", "words"), [(Mirrored(), "y, left"), (Millimetres(), "z, up")], ids=["sign", "units"]
)
def test_motion_that_differs_from_what_was_told_is_found(robot, words):
    finding = check_motion("a", try_out(robot))
    assert finding.health == "failed"
    assert words in finding.advice


def test_an_arm_that_may_not_move_is_no_failure():
    tight = Limits((0.289, -0.001, 0.149), (0.291, 0.001, 0.151))
    done = exercise(SafeRobot(ToyRobot(), tight), tight, move=True, paced=False)
    assert check_motion("a", done).health == "warning"
    assert check_box("a", tight, done.rest.state).health == "warning"


def test_a_frozen_camera_is_found():
    finding = check_camera("a", try_out(Frozen()))
    assert finding.health == "failed"
    assert "frozen" in finding.advice


def test_a_camera_that_does_not_see_the_arm_is_suspicious():
    finding = check_camera("a", try_out(Elsewhere()))
    assert finding.health == "warning"
    assert "hardly seen" in finding.advice


def test_time_that_runs_backward_is_found():
    done = try_out(ToyRobot())
    backward = Exercise(done.seen[::-1], done.executed, done.steps_s, done.rest)
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
    ids=["black", "grey", "float", "dark", "good"],
)
def test_pictures_without_content_are_found(image, health):
    seen = ToyRobot().observe()
    object.__setattr__(seen, "image", image)
    assert check_picture("a", seen).health == health


def test_a_home_outside_of_the_box_is_named():
    high = Limits((0.2, -0.2, 0.3), (0.4, 0.2, 0.5))
    finding = check_box("a", high, ToyRobot().observe().state)
    assert finding.health == "warning"
    assert "15.0 cm outside" in finding.what


def test_moves_lead_towards_the_middle_of_the_box():
    state = ToyRobot().observe().state
    moves = np.stack(gentle_moves(state, BOX))
    middle = (np.array(BOX.low) + np.array(BOX.high)) / 2
    assert (np.sign(moves[:, :3].sum(0)) == np.sign(middle - state[:3])).all()
    assert (moves[:, 6] == 1).all()


def health_of(findings: tuple[CheckResult, ...], name: str) -> str:
    return next(f.health for f in findings if f.name == name)


def test_what_a_driver_raises_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / "lab.py").write_text("def make():\n    raise OSError('no /dev/ttyUSB0')\n")
    monkeypatch.syspath_prepend(tmp_path)
    exam = examine(
        StationConfig("arm", "lab:make", tasks=("open the drawer",), process=False), True
    )
    [finding] = exam.findings
    assert (finding.health, exam.exercise) == ("failed", None)
    assert "OSError: no /dev/ttyUSB0" in finding.what


def test_a_robots_own_fault_comes_with_what_to_look_at(monkeypatch):
    monkeypatch.setattr("soar.robots.toy.ToyRobot", Dead)
    [finding] = examine(StationConfig("arm", "toy"), True).findings
    assert finding.what == "motor 2 doesn't answer"
    assert "power" in finding.advice
    assert examine(StationConfig("arm", "toy"), move=False).exercise


def test_a_simulated_arm_goes_where_it_is_told():
    exam = examine(StationConfig("arm", options={"scene": "1", "image_size": 64}), True)
    assert [f.health for f in exam.findings] == ["ok"] * 5, exam.findings
    assert exam.rest.image.shape == (64, 64, 3)
