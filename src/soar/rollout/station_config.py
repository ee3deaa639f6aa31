"""Configuration of a station: its robot, workspace box and tasks, as a YAML file that a lab edits.

    name: arm1
    robot: sim                       # sim, toy, or your own: package.module:function
    options: {scene: "1"}            # arguments of that function
    tasks:                           # without them: those of the simulated scene
      - put the green block in the wooden bowl
    questions: questions.yaml        # beside this file; only for tasks that the grammar doesn't know
    box: {low: [0.156, -0.205, 0.03], high: [0.423, 0.283, 0.165]}

A function of your own takes the options as keyword arguments and returns a `soar.interfaces.Robot`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

from annotated_types import Ge, Gt

from soar.contract.compare import contract_of
from soar.contract.contract import Contract
from soar.contract.convert import as_widowx
from soar.errors import ConfigError, RobotFault, SoarError, described
from soar.interfaces import Robot
from soar.plugins import check_arguments, checked, component, is_plugin, load_plugin
from soar.registry import subgoals_spec
from soar.robots.converted import ConvertedRobot
from soar.robots.duty_cycle import MeteredRobot
from soar.robots.host.hosted import HostedRobot
from soar.robots.ik import Kinematics, PoseRobot
from soar.robots.limits import Limits
from soar.robots.operation.dry_run import DryRunRobot
from soar.robots.operation.guard import GuardedRobot, MotionGuard, SlowStart
from soar.robots.process import ProcessRobot, ProcessSimulator, simulator_in
from soar.robots.safety import SafeRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.station import EpisodeConfig, Simulator, Station
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.question_file import tasks_from_instructions
from soar.types import Regime, Task
from soar.utils import config as configs
from soar.utils.clock import Clock
from soar.utils.files import Json
from soar.utils.notices import Channel, NoticeChannel, Webhook
from soar.utils.webhook import check_webhook
from soar.utils.yaml_files import read_plain

DRIVERS = {
    "remote": "soar.robots.host.client:connect_robot",
    "gym": "soar.robots.host.gym_robot:make",
    "bridge": "soar.robots.hardware.bridge:BridgeRobot",
}
"""The package's robots for hardware and third-party simulators, by name, and the functions that build them."""
SIMULATED = {
    "sim": "soar.robots.simulated:make_sim_robot",
    "toy": "soar.robots.toy:make_toy_robot",
}
"""Robots on a simulated table, by name, and the functions that build them."""
PREFETCH_STEPS = 2
"""Control steps by which a station that keeps its period generates subgoals early: 0.4 s at 5 Hz."""


class SceneInfo(NamedTuple):
    """What a station knows of its scene."""

    name: str
    regime: Regime
    instructions: tuple[str, ...]
    questions: str = ""
    """Question file for instructions that the grammar doesn't know; empty for none."""


def check_station_name(name: str) -> None:
    """Refuse what can't be the name of a station, which names a folder too. Raises ConfigError."""
    if not re.fullmatch(r"\w[\w .+-]{0,99}", name):
        raise ConfigError(
            f"{name!r:.80} is no station's name; valid: up to 100 letters, digits, '-', '+', '_', '.' "
            "and blanks that begin with a letter, a digit or '_'"
        )


@dataclass(frozen=True)
class StationConfig:
    """One station."""

    name: str
    robot: str = "sim"
    """"sim", "toy", a driver ("remote", "gym", "bridge"), "package.module:function", or a name that a package registers
    (`soar plugins`)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function that builds the robot."""
    tasks: tuple[str, ...] = ()
    """Instructions; empty takes those of the simulated scene."""
    host: tuple[str, ...] = ()
    """Python interpreter of another environment that runs the robot, with arguments of its own; empty for this one.
    "lerobot" is a robot there, too."""
    simulator: bool = False
    """Whether it is a simulator whose time stands still between steps: no pauses, and it knows what is done."""
    questions: str = ""
    """Question file for tasks that the grammar doesn't know: see `soar tasks questions`."""
    language_model: str = ""
    """Chat endpoint MODEL@URL that writes the questions of tasks that neither file nor grammar know, with "#VARIABLE"
    at the end if that environment variable holds its key."""
    box: Limits = field(default_factory=Limits)
    """Workspace box and limits of motion."""
    contract: Contract | None = None
    """Meaning of the robot's actions, states and images; None for what the robot declares, else the WidowX's."""
    kinematics: Kinematics | None = None
    """Kinematics of an arm that is driven by joints, to drive it by poses; `model` is a file beside this one."""
    convert: bool = False
    """Convert the robot's numbers to the WidowX's meaning: meters, radians, roll, pitch, yaw, a gripper from 0 to 1."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the first placement on a simulated table."""
    realtime: bool = False
    """Keep the control period on a simulated robot; a real one always does."""
    process: bool | None = None
    """Run the robot in a separate process, which may hang or crash; None: unless it is simulated."""
    home_timeout_s: Annotated[float, Gt(0)] = 120.0
    """Time limit in seconds of homing, recovering, and starting a robot in a separate process."""
    timeout_s: Annotated[float, Gt(0)] = 5.0
    """Time limit of a call into that process."""
    slow: SlowStart = field(default_factory=SlowStart)
    """Reduced speed of the first episodes after each start."""
    heartbeat_s: Annotated[float, Gt(0)] | None = None
    """Time in seconds after which the arm is held without a heartbeat of the operator; None asks for none."""
    episode_s: Annotated[float, Gt(0)] | None = None
    """Duration of an episode in seconds; None for 100 control steps, whatever the control period."""
    webhook: str = ""
    """URL that gets a JSON POST when a person is needed."""
    notices: tuple[Channel, ...] = ()
    """Further ways to tell a person: webhook, slack and email (docs/operations.md)."""

    def __post_init__(self) -> None:
        check_station_name(self.name)
        if self.webhook:
            check_webhook(self.webhook)
        if self.robot == "lerobot" and not self.host and not is_plugin("robot", "lerobot"):
            raise ConfigError(
                f"station {self.name}: robot 'lerobot' needs `host: [PYTHON]`, that of LeRobot's environment"
            )
        known = self.robot in (*SIMULATED, *DRIVERS, "lerobot")
        if not known and ":" not in self.robot and not is_plugin("robot", self.robot):
            valid = ", ".join((*SIMULATED, *DRIVERS))
            raise ConfigError(
                f"station {self.name}: no robot '{self.robot}'; valid: {valid}, package.module:function, "
                "a registered name (`soar plugins`)"
            )
        if not self.simulated and not self.tasks:
            raise ConfigError(f"station {self.name}: a robot of your own needs a list of tasks")
        if self.host and (self.simulated or self.robot == "remote"):
            raise ConfigError(
                f"station {self.name}: robot '{self.robot}' has no host; valid: gym, lerobot, package.module:function"
            )
        configs.check_ranges(self)

    @classmethod
    def read(cls, path: str | Path) -> StationConfig:
        """Read a station file; the file's name is the default for the station's. Raises ConfigError."""
        path = Path(path)
        data = read_plain(path)
        if isinstance(data, dict):
            data = {"name": path.stem, **data}
        return cls.from_data(data, f"station file {path}", path)

    @classmethod
    def from_data(cls, data: Json, where: str, path: Path) -> StationConfig:
        """Build a station from plain data, in which files are named relative to the file at `path`.

        Args:
            data: what a station file holds, and the station's name.
            where: name of the data's source, for messages.
            path: the file that holds it.

        Raises:
            ConfigError: a key is unknown or missing, or a value isn't valid.
        """
        config = configs.from_plain(cls, data, where)
        host = config.host
        if host and "/" in host[0] and not host[0].startswith("~"):
            host = (str((path.parent / host[0]).absolute()), *host[1:])
        questions = config.questions and str(path.parent / config.questions)
        kinematics = config.kinematics
        if kinematics:
            kinematics = replace(kinematics, model=str(path.parent / kinematics.model))
        return replace(config, questions=questions, host=host, kinematics=kinematics)

    @property
    def channels(self) -> tuple[NoticeChannel, ...]:
        """Ways to tell a person."""
        return (*([Webhook(self.webhook)] if self.webhook else []), *self.notices)

    @property
    def simulated(self) -> bool:
        """Whether the robot stands at a simulated table."""
        return self.robot in SIMULATED

    @property
    def separate_process(self) -> bool:
        """Whether the robot runs in a separate process of this program; one behind a host has its own anyway."""
        hosted = bool(self.host) or self.robot == "remote"
        return not (self.simulated or hosted) if self.process is None else self.process

    @property
    def keeps_period(self) -> bool:
        """Whether the control loop keeps the robot's period."""
        return self.realtime or not (self.simulated or self.simulator)

    @property
    def scene_info(self) -> SceneInfo:
        """Scene that its episodes are filed under. Raises ConfigError: the simulator has no such scene."""
        if self.robot == "sim":
            from soar.robots.simulated import scene_of

            scene = scene_of(**self.options)
            instructions = tuple(t.instruction for t in scene.tasks)
            return SceneInfo(scene.name, scene.regime, instructions, scene.questions)
        if self.robot == "toy":
            return SceneInfo("toy", "dev", INSTRUCTIONS)
        return SceneInfo(self.name, "real", self.tasks)


def sim_stations(scene: str, count: int, seed: int = 0, questions: str = "") -> list[StationConfig]:
    """Configure simulated stations in one scene, each with its own seed; several run in separate processes."""
    return [
        StationConfig(
            f"scene{Path(scene).stem}-arm{i + 1}",
            options={"scene": scene},
            questions=questions,
            seed=seed + i,
            process=count > 1,
        )
        for i in range(count)
    ]


def episode_config(
    stations: Sequence[StationConfig], subgoals: str, steps_per_subgoal: int | None = None
) -> EpisodeConfig:
    """Choose the length of an episode, and how early the next subgoal is generated.

    Args:
        stations: the stations; where one keeps its period, subgoals are prefetched.
        subgoals: the subgoal generator, as `soar.registry` names it.
        steps_per_subgoal: control steps for each subgoal; None for what suits the generator.

    Raises:
        ConfigError: an episode's length isn't a multiple of `steps_per_subgoal`.
    """
    steps = steps_per_subgoal or subgoals_spec(subgoals).steps_per_subgoal
    prefetch = PREFETCH_STEPS if any(s.keeps_period for s in stations) else 0
    durations = [s.episode_s for s in stations if s.episode_s is not None]
    return replace(
        EpisodeConfig.with_steps_per_subgoal(steps),
        prefetch_steps=prefetch,
        duration_s=max(durations, default=None),
    )


def open_station(
    config: StationConfig,
    clock: Clock | None = None,
    folder: Path | None = None,
    *,
    dry_run: bool = False,
) -> Station:
    """Start a station's robot behind its safety limits.

    Args:
        config: the station.
        clock: clock of a station that keeps its period, whose duty cycle is measured.
        folder: the station's folder, in which a person stops its motion; None where nobody can.
        dry_run: move nothing; the executed actions are those that would be sent.

    Raises:
        ConfigError: the robot can't be built, or a task has no question.
    """
    tasks = station_tasks(config)
    if config.separate_process:
        make = partial(build_robot, config, folder=folder, dry_run=dry_run)
        robot: Robot = ProcessRobot(
            make, timeout_s=config.timeout_s, slow_timeout_s=config.home_timeout_s
        )
    else:
        robot = build_robot(config, clock, folder, dry_run=dry_run)
    simulation = _simulation(robot) if config.simulated or config.simulator else None
    if config.simulator and simulation is None:
        robot.close()
        raise ConfigError(
            f"station {config.name}: '{config.robot}' is no simulator, which has truth(instruction) and reset(seed)"
        )
    if clock is not None and config.keeps_period:
        robot = MeteredRobot(robot, clock)
    return Station(
        config.name,
        robot,
        tasks,
        UncertaintyProposer(tasks),
        config.scene_info.name,
        config.scene_info.regime,
        config.seed,
        simulation,
        MotionGuard(folder, config.heartbeat_s) if folder else None,
    )


def build_robot(
    config: StationConfig,
    clock: Clock | None = None,
    folder: Path | None = None,
    *,
    dry_run: bool = False,
) -> SafeRobot[Robot]:
    """Build a station's robot in this process. See `open_station`. Raises ConfigError."""
    options = dict(config.options)
    if config.simulated:
        options |= {"seed": config.seed, "realtime": config.realtime, "clock": clock}
    try:
        robot, contract = _driver(config, options), config.contract
        guard = MotionGuard(folder, config.heartbeat_s) if folder else None
        if not dry_run and (guard is not None or config.slow.episodes):
            robot = GuardedRobot(robot, guard, config.slow, contract or contract_of(robot))
        if config.kinematics:
            joints = contract or contract_of(robot)
            if joints is None:
                raise ConfigError("kinematics need a contract that names the joints")
            robot, contract = PoseRobot(robot, joints, config.kinematics), None
        if config.convert:
            declared = contract or contract_of(robot)
            if declared is None:
                raise ConfigError(
                    "convert needs a contract, which neither the file nor the robot declares"
                )
            robot = ConvertedRobot(robot, declared, as_widowx(declared))
            contract = None
        if dry_run:
            return DryRunRobot(robot, config.box, contract)
        return SafeRobot(robot, config.box, contract)
    except ConfigError as error:
        raise ConfigError(f"station {config.name}: {error}") from error


def _driver(config: StationConfig, options: Mapping[str, Any]) -> Robot:
    """Build the robot that a station names. Raises ConfigError, RobotFault."""
    quick_s, slow_s = config.timeout_s, config.home_timeout_s
    if config.host:
        return HostedRobot(
            config.host, config.robot, options, timeout_s=quick_s, slow_timeout_s=slow_s
        )
    if config.robot == "remote":
        options = {"timeout_s": quick_s, "slow_timeout_s": slow_s, **options}
    builtin = {**SIMULATED, **DRIVERS}
    if config.robot not in builtin and is_plugin("robot", config.robot):
        make = load_plugin("robot", config.robot)
    else:
        make = component(builtin.get(config.robot, config.robot.removeprefix("python:")))
    check_arguments(make, config.robot, **options)
    try:
        made = make(**options)
    except SoarError:
        raise
    except Exception as error:  # a driver may raise anything; a later attempt may succeed
        raise RobotFault(
            f"station {config.name}: '{config.robot}' raised {described(error)}"
        ) from error
    return cast(Robot, checked("robot", made, config.robot))


def station_tasks(config: StationConfig) -> tuple[Task, ...]:
    """A station's tasks with their questions. Raises ConfigError: a task has none."""
    info = config.scene_info
    questions = config.questions or info.questions
    complete = None
    if config.language_model:
        from soar.vlm.clients.chat import language_model

        complete = language_model(config.language_model)
    if questions and not complete and not Path(questions).exists():
        raise ConfigError(f"station {config.name}: there is no question file {questions}")
    return tasks_from_instructions(config.tasks or info.instructions, questions or None, complete)


def _simulation(robot: Robot) -> Simulator | None:
    if isinstance(robot, ProcessRobot):
        return ProcessSimulator(robot) if robot.is_simulator else None
    return cast(Simulator | None, simulator_in(robot))
