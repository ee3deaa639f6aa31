"""Station files whose robot is in another Python, at another address, or a simulator of others."""

import sys
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.robots.host.client import RemoteRobot
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.rollout.station import Simulator
from soar.rollout.station_config import StationConfig, build_robot, open_station

ARMS = Path(__file__).parents[1] / "robots" / "host"
TASKS = "tasks: [move the green block to the left side]\n"
STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def read(folder: Path, text: str) -> StationConfig:
    path = folder / "arm.yaml"
    path.write_text(text + TASKS)
    return StationConfig.read(path)


def test_a_robot_in_another_python_is_driven_behind_the_same_safety(tmp_path, monkeypatch):
    monkeypatch.chdir(ARMS)
    config = read(
        tmp_path, f"robot: plain_arm:Simulator\nhost: [{sys.executable}]\nsimulator: true\n"
    )
    assert not config.separate_process
    assert not config.keeps_period
    station = open_station(config, folder=tmp_path / "stations" / "arm")
    assert isinstance(station.robot, SafeRobot)
    assert isinstance(station.simulation, RemoteRobot)
    assert isinstance(station.simulation, Simulator)
    station.simulation.reset(3)
    assert station.simulation.truth("done") is True
    assert station.robot.execute(STILL) == pytest.approx(STILL)
    station.robot.close()


def test_a_robot_that_is_no_simulator_is_refused_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(ARMS)
    config = read(tmp_path, f"robot: plain_arm:Arm\nhost: [{sys.executable}]\nsimulator: true\n")
    with pytest.raises(ConfigError, match="'plain_arm:Arm' is no simulator, which has truth"):
        open_station(config)


def test_a_real_robot_behind_a_host_keeps_its_period(tmp_path):
    config = read(tmp_path, "robot: remote\noptions: {url: 'ws://127.0.0.1:1'}\n")
    assert config.keeps_period
    assert not config.separate_process
    with pytest.raises(
        ConfigError, match=r"station arm: no robot host answers at ws://127\.0\.0\.1:1"
    ):
        open_station(config)


def test_the_files_time_limits_are_those_of_the_hosted_robots_calls(tmp_path, monkeypatch):
    made = []

    def make(*args, **limits):
        made.append(limits)
        return ToyRobot()

    monkeypatch.setattr("soar.rollout.station_config.HostedRobot", make)
    monkeypatch.setattr("soar.robots.host.client.connect_robot", lambda **options: make(**options))
    limits = "timeout_s: 1.5\nhome_timeout_s: 300\n"
    for text in (
        f"robot: my_arm:make\nhost: [python3]\n{limits}",
        f"robot: remote\noptions: {{url: 'ws://a:1'}}\n{limits}",
        f"robot: remote\noptions: {{url: 'ws://a:1', timeout_s: 9, slow_timeout_s: 1}}\n{limits}",
    ):
        build_robot(read(tmp_path, text))
    found = [(m["timeout_s"], m["slow_timeout_s"]) for m in made]
    assert found == [(1.5, 300), (1.5, 300), (9, 1)]


def test_an_interpreter_beside_the_station_file_is_found_from_anywhere(tmp_path):
    config = read(tmp_path, "robot: gym\nhost: [env/bin/python, -X, utf8]\n")
    assert config.host == (str(tmp_path / "env/bin/python"), "-X", "utf8")
    assert read(tmp_path, "robot: gym\nhost: [python3]\n").host == ("python3",)
    assert read(tmp_path, "robot: gym\nhost: [~/env/bin/python]\n").host == ("~/env/bin/python",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "robot: remote\nhost: [python]\n",
            "robot 'remote' has no host; valid: gym, lerobot, package",
        ),
        ("robot: lerobot\n", r"robot 'lerobot' needs `host: \[PYTHON\]`"),
        (
            "robot: remote\noptions: {uri: x}\n",
            "'remote': options {'timeout_s': 5.0, 'slow_timeout_s': 120.0, 'uri': 'x'} don't fit",
        ),
        ("robot: sim\nslow: {speed: 2}\n", "slow.speed"),
        ("robot: sim\nheartbeat_s: 0\n", "heartbeat_s"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        open_station(read(tmp_path, text))
