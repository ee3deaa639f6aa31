"""Stations as files that a lab edits: which robot, which box, which tasks.

    name: arm1
    robot: sim                       # sim, toy, or your own: package.module:function
    options: {scene: "1"}            # what that robot is built with
    tasks:                           # left out: those of the simulated scene
      - put the green block in the wooden bowl
    questions: questions.yaml        # beside this file; only for tasks of no usual form
    box: {low: [0.156, -0.205, 0.03], high: [0.423, 0.283, 0.165]}

A function of your own takes the options as keyword arguments and returns a `soar.interfaces.Robot`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.duty_cycle import MeteredRobot
from soar.robots.process import ProcessRobot, ProcessSimulator
from soar.robots.safety import Limits, SafeRobot
from soar.rollout.station import Simulator, Station
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.question_file import tasks_from_instructions
from soar.types import Regime, Task
from soar.utils.clock import Clock

SIMULATED = {
    "sim": "soar.rollout.station_config:make_sim",
    "toy": "soar.rollout.station_config:make_toy",
}
"""Robots that come with a simulated table, by name, and the functions that build them."""


@dataclass(frozen=True)
class StationConfig:
    """One station. A YAML file has the same fields."""

    name: str
    robot: str = "sim"
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    """Instructions; empty takes those of the simulated scene."""
    questions: str = ""
    """A question file, for tasks of none of the usual forms: see `soar tasks questions`."""
    box: Limits = field(default_factory=Limits)
    seed: int = 0
    realtime: bool = False
    """Keep the control period; always so with a robot that isn't simulated."""
    process: bool | None = None
    """Drive the robot in a process of its own, which may hang or crash; None: unless it is simulated."""
    timeout_s: float = 5.0
    """The longest that a call into that process may take."""
    webhook: str = ""
    """Gets a JSON POST when a person is needed."""

    def __post_init__(self) -> None:
        if self.robot not in SIMULATED and ":" not in self.robot:
            valid = ", ".join(SIMULATED)
            raise ConfigError(
                f"station {self.name}: no robot '{self.robot}'; valid: {valid}, package.module:function"
            )
        if not self.simulated and not self.tasks:
            raise ConfigError(f"station {self.name}: a robot of your own needs a list of tasks")

    @property
    def simulated(self) -> bool:
        """Whether there is a simulated table under the robot."""
        return self.robot in SIMULATED

    @property
    def apart(self) -> bool:
        """Whether the robot has a process of its own."""
        return not self.simulated if self.process is None else self.process

    @property
    def paced(self) -> bool:
        """Whether the control loop keeps the robot's period."""
        return self.realtime or not self.simulated

    @property
    def scene(self) -> str:
        """What its episodes are filed under: the simulated scene's name, else the station's own."""
        if self.robot == "sim":
            from soar.sim.scenes.catalog import load_scene

            return load_scene(self.options.get("scene", "1")).name
        return self.robot if self.simulated else self.name


def read_station(path: str | Path) -> StationConfig:
    """The station in a YAML file. Raises ConfigError with what is wrong and what is valid."""
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"station file {path}: {error}") from error
    valid = [f.name for f in fields(StationConfig)]
    if not isinstance(raw, dict) or not set(raw) <= set(valid):
        raise ConfigError(
            f"station file {path}: valid keys are {', '.join(valid)}; got {raw!r:.80}"
        )
    raw = {"name": Path(path).stem, "tasks": [], "box": {}, **raw}
    if not isinstance(raw["tasks"], list) or not isinstance(raw["box"], dict):
        raise ConfigError(
            f"station file {path}: tasks is a list, and box has the keys of a mapping"
        )
    if raw.get("questions"):
        raw["questions"] = str(Path(path).parent / raw["questions"])
    try:
        raw["box"] = Limits(**{k: _tuple(v) for k, v in raw["box"].items()})
        return StationConfig(**{**raw, "tasks": tuple(raw["tasks"])})
    except TypeError as error:
        raise ConfigError(f"station file {path}: {error}") from error


def sim_stations(scene: str, count: int, seed: int = 0) -> list[StationConfig]:
    """So many simulated stations in one scene, each with its own seed; several drive in processes."""
    return [
        StationConfig(
            f"scene{Path(scene).stem}-arm{i + 1}",
            options={"scene": scene},
            seed=seed + i,
            process=count > 1,
        )
        for i in range(count)
    ]


def open_station(config: StationConfig, clock: Clock | None = None) -> Station:
    """The station of a configuration, its robot started behind safety.

    Args:
        clock: of a real-time station; its duty cycle is measured.
    """
    tasks = tasks_of(config)
    if config.apart:
        make = partial(build_robot, config)
        robot: Robot = ProcessRobot(make, timeout_s=config.timeout_s)
    else:
        robot = build_robot(config, clock)
    simulation = _simulation(robot) if config.simulated else None
    if clock is not None and config.paced:
        robot = MeteredRobot(robot, clock)
    regime = _regime(config)
    proposer = UncertaintyProposer(tasks)
    return Station(
        config.name, robot, tasks, proposer, config.scene, regime, config.seed, simulation
    )


def build_robot(config: StationConfig, clock: Clock | None = None) -> SafeRobot[Robot]:
    """The robot itself, in this process."""
    target = SIMULATED.get(config.robot, config.robot)
    module, _, name = target.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"station {config.name}: robot '{config.robot}': {error}") from error
    options = dict(config.options)
    if config.simulated:
        options |= {"seed": config.seed, "realtime": config.realtime, "clock": clock}
    try:
        return SafeRobot(make(**options), config.box)
    except TypeError as error:
        raise ConfigError(
            f"station {config.name}: options {options} don't fit '{config.robot}': {error}"
        ) from error


def tasks_of(config: StationConfig) -> tuple[Task, ...]:
    """The station's tasks with their questions. Raises ConfigError: an instruction of no known form."""
    instructions: Sequence[str] = config.tasks
    if not instructions and config.robot == "sim":
        from soar.sim.scenes.catalog import load_scene

        scene = load_scene(config.options.get("scene", "1"))
        instructions = [t.instruction for t in scene.tasks]
    elif not instructions:
        from soar.robots.toy_models import INSTRUCTIONS

        instructions = INSTRUCTIONS
    if config.questions and not Path(config.questions).exists():
        raise ConfigError(f"station {config.name}: there is no question file {config.questions}")
    return tasks_from_instructions(instructions, config.questions or None)


def make_sim(
    *,
    seed: int,
    realtime: bool,
    clock: Clock | None,
    scene: str = "1",
    image_size: int = 256,
) -> Robot:
    """A robot in a simulated scene."""
    from soar.robots.simulated import SimRobot
    from soar.sim.scenes.catalog import load_scene

    return SimRobot(load_scene(scene), seed, realtime, image_size=image_size, clock=clock)


def make_toy(*, seed: int, realtime: bool, clock: Clock | None) -> Robot:
    """The smallest robot."""
    from soar.robots.toy import ToyRobot

    return ToyRobot(seed)


def _simulation(robot: Robot) -> Simulator | None:
    if isinstance(robot, ProcessRobot):
        return ProcessSimulator(robot)
    inside = robot.robot if isinstance(robot, SafeRobot) else robot
    return inside if isinstance(inside, Simulator) else None


def _regime(config: StationConfig) -> Regime:
    if config.robot != "sim":
        return "dev" if config.simulated else "real"
    from soar.sim.scenes.catalog import load_scene

    return load_scene(config.options.get("scene", "1")).regime


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
