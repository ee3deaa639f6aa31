from pathlib import Path

import pytest

from soar.contract.contract import ActionNumbers, Contract, Numbers
from soar.errors import ConfigError, RobotFault
from soar.robots.duty_cycle import MeteredRobot
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.ik import Kinematics
from soar.robots.process import ProcessRobot
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.station_config import (
    StationConfig,
    open_station,
    sim_stations,
    station_tasks,
)
from soar.utils.clock import Clock

TASK = ("open the drawer",)
LAB = """
robot: soar.robots.toy:ToyRobot
options: {seed: 4}
tasks:
  - put the green block in the wooden bowl
box: {low: [0.2, -0.1, 0.05], high: [0.4, 0.1, 0.15]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "arm7.yaml"
    path.write_text(text)
    return path


def test_a_file_with_a_robot_of_your_own_makes_a_real_station(tmp_path):
    config = StationConfig.read(write(tmp_path, LAB + "process: false\n"))
    station = open_station(config)
    assert (station.name, station.scene, station.regime) == ("arm7", "arm7", "real")
    assert isinstance(station.robot, SafeRobot)
    assert isinstance(station.robot.robot, ToyRobot)
    assert station.robot.limits.low == (0.2, -0.1, 0.05)
    assert station.tasks[0].question.text == "Is the green block in the wooden bowl?"
    assert station.simulation is None
    assert config.keeps_period


def test_questions_come_from_the_file_beside_the_station_file(tmp_path):
    text = LAB.replace("put the green block in the wooden bowl", "stack the cups")
    path = write(tmp_path, text + "questions: book.yaml\n")
    with pytest.raises(ConfigError, match="no question file"):
        station_tasks(StationConfig.read(path))
    book = (
        "stack the cups:\n  question: Are the cups stacked?\n  done_when: yes\n  objects: [cups]\n"
    )
    (tmp_path / "book.yaml").write_text(book)
    [task] = station_tasks(StationConfig.read(path))
    assert (task.question.text, task.objects) == ("Are the cups stacked?", ("cups",))


def test_a_station_that_keeps_its_period_is_metered():
    config = StationConfig("one", "toy", realtime=True)
    assert isinstance(open_station(config, Clock()).robot, MeteredRobot)
    assert not StationConfig("one", "toy").keeps_period


def test_a_simulated_station_takes_tasks_and_truth_from_its_scene():
    config = StationConfig("one", options={"scene": "3", "image_size": 32}, seed=5)
    station = open_station(config)
    assert (station.scene, station.regime, station.seed) == ("3", "soar", 5)
    assert len(station.tasks) == len(station_tasks(config)) == 6
    assert station.simulation is not None
    assert station.simulation.truth(station.tasks[0].instruction) in (True, False)
    station.robot.close()


def test_a_robot_of_your_own_runs_in_a_separate_process(tmp_path):
    station = open_station(StationConfig.read(write(tmp_path, LAB)))
    assert isinstance(station.robot, ProcessRobot)
    assert station.robot.observe().image.shape == (32, 32, 3)
    station.robot.close()


def test_the_truth_is_available_across_processes():
    station = open_station(StationConfig("one", "toy", process=True))
    assert isinstance(station.robot, ProcessRobot)
    here = ToyRobot(7)
    assert station.simulation is not None
    station.simulation.reset(7)
    for task in station.tasks:
        assert station.simulation.truth(task.instruction) == here.truth(task.instruction)
    station.robot.close()


MILLIMETERS = Contract(ActionNumbers(length="mm"), Numbers(length="mm"))
HINGE = ("hinge",)
JOINT = Contract(
    ActionNumbers(space="joints", joints=HINGE, gripper=None),
    Numbers(space="joints", joints=HINGE, gripper=None),
)
ONE_JOINT = """<mujoco><worldbody><body name="hand" pos="0 0 .1"><joint name="hinge" axis="0 0 1"/>
<geom size=".02" pos=".2 0 0"/></body></worldbody></mujoco>"""


def in_millimeters() -> ToyRobot:
    robot = ToyRobot()
    robot.contract = MILLIMETERS
    return robot


def driven_by_a_joint() -> ToyRobot:
    robot = ToyRobot()
    robot.contract = JOINT
    return robot


def no_simulator() -> FaultyRobot:
    return FaultyRobot(ToyRobot(), FaultRates(), seed=0)


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize("made", ["in_millimeters", "driven_by_a_joint"])
def test_a_simulator_is_found_behind_conversions_in_any_process(tmp_path, process, made):
    (tmp_path / "arm.xml").write_text(ONE_JOINT)
    config = StationConfig(
        "one",
        f"{__name__}:{made}",
        tasks=INSTRUCTIONS,
        simulator=True,
        process=process,
        convert=made == "in_millimeters",
        kinematics=Kinematics(str(tmp_path / "arm.xml"), "hand")
        if made == "driven_by_a_joint"
        else None,
    )
    station = open_station(config, folder=tmp_path / "one")
    assert station.simulation is not None
    station.simulation.reset(7)
    assert station.simulation.truth(INSTRUCTIONS[0]) == ToyRobot(7).truth(INSTRUCTIONS[0])
    station.robot.close()


@pytest.mark.parametrize("process", [False, True])
def test_a_robot_without_truth_is_no_simulator_in_any_process(process):
    config = StationConfig(
        "one", f"{__name__}:no_simulator", tasks=TASK, simulator=True, process=process
    )
    with pytest.raises(ConfigError, match="is no simulator, which has truth"):
        open_station(config)


def test_simulated_stations_have_distinct_names_and_seeds():
    fleet = sim_stations("2", 3, seed=10)
    assert [s.name for s in fleet] == ["scene2-arm1", "scene2-arm2", "scene2-arm3"]
    assert [s.seed for s in fleet] == [10, 11, 12]
    assert all(s.process for s in fleet)
    assert not sim_stations("2", 1)[0].separate_process


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "robot: r2d2",
            "no robot 'r2d2'; valid: sim, toy, remote, gym, bridge, package.module:function",
        ),
        ("speed: 3", "unknown key .speed.*valid keys are name, robot, options"),
        ("seeds: 3", "unknown key .seeds., did you mean .seed."),
        ("timeout_s: 0", "timeout_s: 0 is not valid; valid: a number above 0"),
        ("realtime: 'no'", "realtime: .no. is not valid; valid: true or false"),
        ("[1, 2", "arm7.yaml"),
        ("robot: lab.arm:make", "needs a list of tasks"),
        ("box: {lo: [1, 2, 3]}", "box: unknown key .lo., did you mean .low."),
        ("tasks: open the drawer", "tasks: .open the drawer. is not valid; valid: a list"),
        ("box: [1, 2, 3]", r"box: \[1, 2, 3\] is not valid; valid: keys with values \(low, high"),
        ("box: {low: [1, 1, 1]}", "each low must be below its high"),
    ],
)
def test_a_wrong_file_raises_an_error_that_names_what_is_valid(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        StationConfig.read(write(tmp_path, text))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StationConfig("one", "no.such:thing", tasks=("fly",)), "no question known"),
        (StationConfig("one", "no.such:thing", tasks=TASK, process=False), "No module named"),
        (StationConfig("one", "no.such:thing", tasks=TASK), "No module named"),
        (StationConfig("one", options={"colour": 1}), "'sim': options .* don't fit"),
        (StationConfig("one", options={"scene": "99"}), "no scene '99'"),
    ],
)
def test_a_robot_that_cannot_be_built_raises_an_error_that_names_it(config, message):
    with pytest.raises(ConfigError, match=message):
        open_station(config)


def test_a_driver_that_can_not_be_built_is_a_fault_that_says_where(tmp_path, monkeypatch):
    (tmp_path / "lab_arm.py").write_text("def make():\n    len(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lab_arm:make", "python:lab_arm:make"):
        with pytest.raises(RobotFault, match=f"station one: '{name}' raised TypeError at .*lab_arm.py:2"):  # fmt: skip
            open_station(StationConfig("one", name, tasks=TASK, process=False))
