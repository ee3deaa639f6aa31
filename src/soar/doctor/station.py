"""Trial of a station: its robot is started, observed and moved a little. `station_checks` judges what it did."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from soar.doctor.machine import check_webhook
from soar.doctor.results import CheckResult, Failure, attempt
from soar.doctor.station_checks import MOVES, STEP_M, RobotTrial, check_trial, robot_failed
from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.safety import Limits
from soar.rollout.station_config import StationConfig, open_station
from soar.types import ACTION_DIM, Action, Observation, State, Task
from soar.utils.clock import Clock, Metronome

OBSERVATIONS = 9
"""Number of observations of an arm that holds still."""


@dataclass(frozen=True, eq=False)
class TriedStation:
    """A station with the results of its checks."""

    config: StationConfig
    results: tuple[CheckResult, ...]
    tasks: tuple[Task, ...] = ()
    period_s: float = 0.2
    trial: RobotTrial | None = None
    """None if the robot or its camera doesn't work."""

    @property
    def rest(self) -> Observation:
        """Observation with the arm at home. Raises ConfigError: the robot doesn't work."""
        if self.trial is None:
            raise ConfigError(f"station {self.config.name} doesn't work")
        return self.trial.rest


def try_station(config: StationConfig, move: bool) -> TriedStation:
    """Start a station, try its robot, and close it. `move`: whether the arm may move."""
    opened = attempt(lambda: open_station(config))
    if isinstance(opened, Failure):
        return TriedStation(config, (robot_failed(config.name, opened),))
    try:
        trial = attempt(lambda: try_robot(opened.robot, config.box, move, config.keeps_period))
    finally:
        closed = attempt(opened.robot.close)
    if isinstance(trial, Failure):
        return TriedStation(config, (robot_failed(config.name, trial),))
    results = check_trial(config.name, config.box, trial, len(opened.tasks))
    if isinstance(closed, Failure):
        results.append(robot_failed(config.name, closed))
    if config.webhook:
        results.append(check_webhook(config.name, config.webhook))
    has_image = all(r.health != "failed" for r in results if r.name.endswith("image"))
    return TriedStation(
        config, tuple(results), opened.tasks, opened.robot.period_s, trial if has_image else None
    )


def try_robot(robot: Robot, box: Limits, move: bool, keeps_period: bool) -> RobotTrial:
    """Home the arm, move it a little along each axis, and home it again; or only observe it.

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
    moves = gentle_moves(observations[0].state, box) if move else []
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
    if move:
        robot.home()
    return RobotTrial(tuple(observations), tuple(executed), tuple(steps), robot.observe())


def gentle_moves(state: State, box: Limits) -> list[Action]:
    """Return `MOVES` actions along each axis, toward the middle of the box, with an open gripper."""
    middle = (np.asarray(box.low) + np.asarray(box.high)) / 2
    moves = []
    for axis in range(3):
        action = np.zeros(ACTION_DIM, np.float32)
        action[axis] = np.copysign(STEP_M, middle[axis] - state[axis])
        action[6] = 1.0
        moves += [action] * MOVES
    return moves
