import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from soar.errors import RobotFault
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.process import ProcessRobot
from soar.robots.toy import ToyRobot

STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def hanging() -> FaultyRobot:
    return FaultyRobot(ToyRobot(3), FaultRates(hang=1.0, hang_s=60.0), seed=0)


class Crashing(ToyRobot):
    def execute(self, action):
        os._exit(3)


@pytest.fixture
def toy():
    robot = ProcessRobot(partial(ToyRobot, 3))
    yield robot
    robot.close()


def test_a_robot_in_a_process_behaves_the_same(toy):
    here = ToyRobot(3)
    assert np.array_equal(toy.execute(STILL), here.execute(STILL))
    assert np.array_equal(toy.observe().image, here.observe().image)
    assert toy.call("truth", "to the left") == here.truth("to the left")


def test_close_is_safe_to_call_twice(toy):
    toy.close()
    toy.close()
    with pytest.raises(RobotFault, match="recover"):
        toy.observe()


def test_a_hanging_robot_is_a_fault_in_time_and_recovers():
    robot = ProcessRobot(hanging, timeout_s=0.5)
    with pytest.raises(RobotFault, match=r"within 0\.5 s"):
        robot.execute(STILL)
    robot.recover()
    assert robot.observe().image.shape == (32, 32, 3)
    robot.close()


def test_a_crashing_robot_is_a_fault_and_recovers():
    robot = ProcessRobot(partial(Crashing, 3))
    with pytest.raises(RobotFault, match="died"):
        robot.execute(STILL)
    robot.recover()
    assert robot.observe().image.shape == (32, 32, 3)
    robot.close()


class Logging(ToyRobot):
    """A robot whose calls take a while, and which writes each call into a file when it has returned."""

    def __init__(self, log: Path, home_s: float = 0.0) -> None:
        super().__init__()
        self.log, self.home_s = log, home_s

    def home(self) -> None:
        self._write("homing")
        time.sleep(self.home_s)
        self._write("home")

    def close(self) -> None:
        time.sleep(0.2)
        self._write("close")

    def _write(self, word: str) -> None:
        with self.log.open("a") as file:
            file.write(word + "\n")


def wait_for(log: Path, word: str) -> None:
    end = time.monotonic() + 60
    while not log.exists() or word not in log.read_text():
        assert time.monotonic() < end, f"no '{word}' in the log"
        time.sleep(0.01)


def test_a_call_cut_off_by_a_signal_leaves_no_reply_to_the_next_and_close_is_waited_for(tmp_path):
    log = tmp_path / "log"
    robot = ProcessRobot(partial(Logging, log, 0.3))
    robot.send("home")  # a signal's exception cuts `receive` off
    assert robot.observe().image.shape == (32, 32, 3)
    robot.send("home")
    robot.close()
    assert log.read_text().split() == ["homing", "home", "homing", "home", "close"]


def test_a_close_that_is_cut_off_itself_still_releases_the_hardware(tmp_path, monkeypatch):
    log = tmp_path / "log"
    robot = ProcessRobot(partial(Logging, log))

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(robot, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        robot.close()
    assert log.read_text().split() == ["close"]


STATION = """
import signal, sys, time
from functools import partial
from pathlib import Path
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_process import Logging
from soar.robots.process import ProcessRobot

def stop(*_):
    raise KeyboardInterrupt

if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    robot = ProcessRobot(partial(Logging, Path(sys.argv[1]), 0.5))
    try:
        robot.home()
    except KeyboardInterrupt:
        if {closes}:
            robot.close()
"""


@pytest.mark.parametrize(
    ("number", "closes"),
    [
        (signal.SIGINT, True),
        (signal.SIGTERM, True),
        (signal.SIGHUP, True),
        (signal.SIGTERM, False),
        (signal.SIGKILL, False),
    ],
)
def test_a_signal_to_the_whole_group_still_ends_with_close(tmp_path, number, closes):
    """SIGKILL goes to the station's process alone: nothing survives it otherwise."""
    log, script = tmp_path / "log", tmp_path / "station.py"
    script.write_text(STATION.format(folder=str(Path(__file__).parent), closes=closes))
    process = subprocess.Popen([sys.executable, script, log], start_new_session=True)
    wait_for(log, "homing")
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    process.wait()
    wait_for(log, "close")
    assert log.read_text().split() == ["homing", "home", "close"]


class MotorFault(RobotFault):
    """A driver's own class of fault."""


class Peculiar(ToyRobot):
    def home(self) -> None:
        raise MotorFault("motor 3 is hot")

    def recover(self):
        return lambda: None


def test_faults_and_values_of_a_drivers_own_classes_are_faults():
    robot = ProcessRobot(Peculiar)
    with pytest.raises(RobotFault, match="motor 3 is hot"):
        robot.home()
    with pytest.raises(RobotFault, match="can't be sent"):
        robot.recover()
    robot.close()
