"""Trial of a station: its robot is started, observed and moved a little. `station_checks` judges what it did."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soar.collection.lease import InUse, robot_held
from soar.contract.compare import declares_contract
from soar.contract.contract import WIDOWX, Contract
from soar.contract.convert import decode, express
from soar.doctor.latency import measure_latency
from soar.doctor.machine import check_notices
from soar.doctor.results import CheckResult, Failure, attempt
from soar.doctor.station_checks import (
    GRIPPER_STEPS,
    MOVES,
    STEP_M,
    STEP_RAD,
    Probe,
    RobotTrial,
    check_trial,
    robot_failed,
)
from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.limits import Limits
from soar.robots.operation.guard import MotionGuard
from soar.rollout.contracts import robot_contract
from soar.rollout.station_config import StationConfig, open_station
from soar.types import Action, Observation, State, Task
from soar.utils.clock import Clock, Metronome
from soar.utils.progress import console, literal

OBSERVATIONS = 9
"""Number of observations of an arm that holds still."""
_OPERATOR_S, _POLL_S = 20.0, 0.1
"""Time for which an arm that asks for a heartbeat waits for one, and the interval at which it looks [s]."""


@dataclass(frozen=True, eq=False)
class TriedStation:
    """A station with the results of its checks."""

    config: StationConfig
    results: tuple[CheckResult, ...]
    tasks: tuple[Task, ...] = ()
    period_s: float = 0.2
    contract: Contract = WIDOWX
    """Meaning of the robot's numbers."""
    trial: RobotTrial | None = None
    """None if the robot or its camera doesn't work."""

    @property
    def rest(self) -> Observation:
        """Observation with the arm at home. Raises ConfigError: the robot doesn't work."""
        if self.trial is None:
            raise ConfigError(f"station {self.config.name} doesn't work")
        return self.trial.rest


def try_station(config: StationConfig, move: bool, folder: Path | None = None) -> TriedStation:
    """Start a station, try its robot, and close it.

    Args:
        config: the station.
        move: whether the arm may move.
        folder: the station's folder, in which a person stops its motion; None where nobody can.
    """
    try:
        with robot_held(config):
            return _try_station(config, move, folder)
    except InUse as error:
        return TriedStation(config, (robot_failed(config.name, Failure(error)),))


def _try_station(config: StationConfig, move: bool, folder: Path | None) -> TriedStation:
    opened = attempt(lambda: open_station(config, folder=folder))
    if isinstance(opened, Failure):
        return TriedStation(config, (robot_failed(config.name, opened),))
    try:
        if move and opened.guard and config.heartbeat_s is not None:
            _wait_for_operator(config.name, opened.guard)
        trial = attempt(lambda: try_robot(opened.robot, config.box, move, config.keeps_period))
    finally:
        closed = attempt(opened.robot.close)
    if isinstance(trial, Failure):
        return TriedStation(config, (robot_failed(config.name, trial),))
    results = check_trial(config.name, config.box, trial, len(opened.tasks))
    if isinstance(closed, Failure):
        results.append(robot_failed(config.name, closed))
    results += [check_notices(config.name, channel) for channel in config.channels]
    has_image = all(r.health != "failed" for r in results if r.name.endswith("image"))
    return TriedStation(
        config, tuple(results), opened.tasks, opened.robot.period_s, trial.contract,
        trial if has_image else None,
    )  # fmt: skip


def _wait_for_operator(name: str, guard: MotionGuard) -> None:
    """Ask for the operator's heartbeat, and wait a little for it."""
    if reason := guard.reason():
        console.print(literal(f"{name} waits: {reason}"))
    until = time.monotonic() + _OPERATOR_S
    while guard.reason() and time.monotonic() < until:
        time.sleep(_POLL_S)


def try_robot(robot: Robot, box: Limits, move: bool, keeps_period: bool) -> RobotTrial:
    """Home the arm, try each number of an action and the gripper a little, and home it again; or only observe it.

    Args:
        robot: the robot.
        box: workspace box.
        move: whether the arm may move.
        keeps_period: whether control steps keep the robot's period.

    Raises:
        Exception: any that the robot's driver raises.
    """
    metronome = Metronome(Clock(), robot.period_s) if keeps_period else None
    if move:
        robot.home()
    observations, executed, steps = [robot.observe()], [], []
    contract = robot_contract(robot)
    probes = gentle_probes(contract, observations[0].state, box) if move else []
    moves = [action for _, actions in probes for action in actions]
    for index in range(len(moves) or OBSERVATIONS):
        if metronome:
            metronome.tick()
        began = time.perf_counter()
        if moves:
            executed.append(robot.execute(moves[index]))
        execute_s = time.perf_counter() - began
        if metronome:
            metronome.tick()  # the motion takes a period, after which it is observed
        began = time.perf_counter()
        observations.append(robot.observe())
        steps.append(execute_s + time.perf_counter() - began)
    latency = None
    if metronome and probes and contract.action.reference == "delta":
        probe, actions = probes[0]
        for _ in range(2):
            metronome.tick()  # the arm comes to rest
        latency = measure_latency(robot, actions[0], probe.number)
    if move:
        robot.home()
    return RobotTrial(
        tuple(observations), tuple(executed), tuple(steps), robot.observe(), contract,
        tuple(probe for probe, _ in probes), declares_contract(robot), latency,
    )  # fmt: skip


def gentle_probes(
    contract: Contract, state: State, box: Limits
) -> list[tuple[Probe, list[Action]]]:
    """Return small motions of each number of an action, and the gripper closed and opened.

    Positions move toward the middle of the box, angles toward zero; the gripper is open except in its own trial.
    """
    meaning, found, start = contract.action, [], 0
    still, opened = resting_action(contract, state), meaning.gripper_index
    for index, name in enumerate(meaning.motion_names):
        size = probe_size(contract, index, state, box)
        if size == 0:
            continue
        steps = [still.copy() for _ in range(MOVES)]
        for number, step in enumerate(steps, start=1):
            step[index] += size * (number if meaning.reference == "absolute" else 1)
        found.append((Probe(name, index, start, start + MOVES), steps))
        start += MOVES
        if meaning.reference == "absolute":
            still = steps[-1].copy()
    if opened is not None and meaning.gripper is not None:
        for name, value in (("close", meaning.gripper.closed), ("open", meaning.gripper.open)):
            step = still.copy()
            step[opened] = value
            found.append(
                (Probe(name, opened, start, start + GRIPPER_STEPS), [step] * GRIPPER_STEPS)
            )
            start += GRIPPER_STEPS
    return found


def resting_action(contract: Contract, state: State) -> Action:
    """Return the action that holds still with an open gripper."""
    meaning = contract.action
    pose = decode(state.astype(np.float64), contract.state)
    still = express(pose, pose, meaning)
    if meaning.gripper is not None:
        still[-1] = meaning.gripper.open
    return still.astype(np.float32)


def probe_size(contract: Contract, index: int, state: State, box: Limits) -> float:
    """Return the signed size of a test step of an action's number, in its unit; 0 for one not tried by itself."""
    meaning = contract.action
    joints = meaning.space == "joints"
    if not joints and index < 3:
        middle = (np.asarray(box.low) + np.asarray(box.high)) / 2
        return float(np.copysign(STEP_M, middle[index] - state[index]))
    if not joints and meaning.rotation not in ("rpy", "yaw", "rotvec"):
        return 0.0
    size = STEP_RAD * (180 / np.pi if meaning.angle == "deg" else 1)
    angle = state[index] if contract.state.motion_names == meaning.motion_names else 0.0
    return float(np.copysign(size, -angle if angle else 1.0))
