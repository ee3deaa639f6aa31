"""Checks of a station: the robot answers, the camera is alive, and the arm goes where it is told.

`exercise` is the only function that touches a robot; the checks work on what it saw.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from soar.doctor.findings import CheckResult, Problem, attempt, ms
from soar.doctor.machine import check_webhook
from soar.errors import CameraFault, ConfigError, RobotFault
from soar.interfaces import Robot
from soar.robots.safety import Limits
from soar.rollout.station_config import StationConfig, open_station
from soar.types import ACTION_DIM, Action, Observation, State, Task
from soar.utils.clock import Clock, Metronome

AXES = ("x, forward", "y, left", "z, up")
MOVES = 3
"""Steps along each axis."""
STEP_M = 0.01
"""Length of one: enough to be seen, too little to do harm."""
LOOKS = 9
"""At an arm that holds still."""
_CHANGED = 25
"""Levels by which a pixel has changed that isn't noise."""


@dataclass(frozen=True, eq=False)
class Exercise:
    """What a robot saw and did while it was tried."""

    seen: tuple[Observation, ...]
    """Before the first action, and after each; so many looks at an arm that holds still."""
    executed: tuple[Action, ...]
    """`MOVES` along each axis; none when the arm held still."""
    steps_s: tuple[float, ...]
    """What one control step takes of the robot: observing and executing, waiting not counted."""
    rest: Observation
    """The last one; the arm is at home."""


@dataclass(frozen=True, eq=False)
class Exam:
    """A station that was examined."""

    config: StationConfig
    findings: tuple[CheckResult, ...]
    tasks: tuple[Task, ...] = ()
    period_s: float = 0.2
    exercise: Exercise | None = None
    """None: its robot or its camera doesn't work."""

    @property
    def rest(self) -> Observation:
        """What the robot sees with its arm at home. Raises ConfigError: it doesn't work."""
        if self.exercise is None:
            raise ConfigError(f"station {self.config.name} doesn't work")
        return self.exercise.rest


def examine(config: StationConfig, move: bool) -> Exam:
    """Start a station, try its robot, and close it again."""
    opened = attempt(lambda: open_station(config))
    if isinstance(opened, Problem):
        return Exam(config, (_broken(config.name, opened),))
    try:
        tried = attempt(lambda: exercise(opened.robot, config.box, move, config.keeps_period))
    finally:
        closed = attempt(opened.robot.close)
    if isinstance(tried, Problem):
        return Exam(config, (_broken(config.name, tried),))
    findings = [_robot(config, tried, opened.tasks), *_checks(config, tried)]
    if isinstance(closed, Problem):
        findings.append(_broken(config.name, closed))
    if config.webhook:
        findings.append(check_webhook(config.name, config.webhook))
    alive = all(f.health != "failed" for f in findings if f.name.endswith("picture"))
    return Exam(
        config, tuple(findings), opened.tasks, opened.robot.period_s, tried if alive else None
    )


def exercise(robot: Robot, box: Limits, move: bool, paced: bool) -> Exercise:
    """Home, a few small motions along each axis, home again; or only look, when it shall not move.

    Raises what the robot raises.
    """
    metronome = Metronome(Clock(), robot.period_s) if paced else None
    if move:
        robot.home()
    seen, executed, steps = [robot.observe()], [], []
    moves = gentle_moves(seen[0].state, box) if move else []
    for index in range(len(moves) or LOOKS):
        if metronome:
            metronome.tick()
        began = time.perf_counter()
        if moves:
            executed.append(robot.execute(moves[index]))
        acted = time.perf_counter() - began
        if metronome:
            metronome.tick()  # the motion takes its period, and is seen after it
        began = time.perf_counter()
        seen.append(robot.observe())
        steps.append(acted + time.perf_counter() - began)
    if move:
        robot.home()
    return Exercise(tuple(seen), tuple(executed), tuple(steps), robot.observe())


def gentle_moves(state: State, box: Limits) -> list[Action]:
    """`MOVES` steps along each axis, towards the middle of the box, gripper open."""
    middle = (np.asarray(box.low) + np.asarray(box.high)) / 2
    moves = []
    for axis in range(3):
        action = np.zeros(ACTION_DIM, np.float32)
        action[axis] = np.copysign(STEP_M, middle[axis] - state[axis])
        action[6] = 1.0
        moves += [action] * MOVES
    return moves


def check_picture(name: str, seen: Observation) -> CheckResult:
    """Whether the camera gives colour pictures with something on them."""
    image = seen.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape} is no picture"
        return CheckResult(
            f"{name}: picture", "failed", what, "observe() gives uint8 RGB, (h, w, 3)"
        )
    what = f"{image.shape[1]} x {image.shape[0]}, brightness {image.mean():.0f} of 255"
    if image.std() < 2:
        advice = "one colour all over: look at lens cap, light and exposure"
        return CheckResult(f"{name}: picture", "failed", what, advice)
    if image.mean() < 20 or image.mean() > 235:
        return CheckResult(f"{name}: picture", "warning", what, "correct the light or the exposure")
    return CheckResult(f"{name}: picture", "ok", what)


def check_camera(name: str, done: Exercise) -> CheckResult:
    """Whether the camera gives a new picture each time, and the arm is on it."""
    images = [o.image for o in done.seen]
    same = sum(np.array_equal(a, b) for a, b in pairwise(images))
    times = np.diff([o.time_s for o in done.seen])
    if (times < 0).any():
        advice = "time_s must only go forward: take it from time.monotonic()"
        return CheckResult(
            f"{name}: camera", "failed", "the observations' time goes backward", advice
        )
    if not done.executed:
        if same == len(images) - 1:
            what = f"{len(images)} pictures, the same to the last bit; the arm held still"
            return CheckResult(
                f"{name}: camera", "warning", what, "let the doctor move the arm: --move"
            )
        return CheckResult(f"{name}: camera", "ok", f"{len(images) - same} different pictures")
    if same == len(images) - 1:
        advice = "the camera is frozen: restart it, and see that the driver reads a new picture"
        return CheckResult(f"{name}: camera", "failed", "one picture while the arm moved", advice)
    changed = np.abs(images[-1].astype(np.int16) - images[0]).max(2) > _CHANGED
    what = f"{len(images) - same} different pictures; {changed.mean():.1%} of the pixels changed"
    if changed.mean() < 1e-3:
        advice = "the arm moved and is hardly seen: does this camera look at this arm's table?"
        return CheckResult(f"{name}: camera", "warning", what, advice)
    return CheckResult(f"{name}: camera", "ok", what)


def check_motion(name: str, done: Exercise) -> CheckResult:
    """Whether the arm goes where it is told, along each axis, by about as much."""
    told = np.stack(done.executed)[:, :3].reshape(3, MOVES, 3).sum(1).diagonal()
    at = np.stack([o.state[:3] for o in done.seen[::MOVES]])
    went = np.diff(at, axis=0).diagonal()
    share = went / np.where(np.abs(told) < STEP_M / 2, np.nan, told)
    what = "told and went [mm]: " + ", ".join(
        f"{axis[0]} {1000 * a:+.0f} {1000 * b:+.0f}"
        for axis, a, b in zip(AXES, told, went, strict=True)
    )
    wrong = [
        axis for axis, s in zip(AXES, share, strict=True) if not np.isnan(s) and not 0.3 < s < 2
    ]
    if wrong:
        advice = f"look at signs, units (metres) and frame (base) of {'; '.join(wrong)}"
        return CheckResult(f"{name}: motion", "failed", what, advice)
    if np.isnan(share).any():
        advice = "the robot executed hardly anything: is the hand at the edge of its box?"
        return CheckResult(f"{name}: motion", "warning", what, advice)
    return CheckResult(f"{name}: motion", "ok", what)


def check_box(name: str, box: Limits, home: State) -> CheckResult:
    """Whether the workspace box is a reasonable one, with the hand's home inside."""
    sides = np.asarray(box.high) - np.asarray(box.low)
    hand = home[:3]
    outside = np.maximum(np.asarray(box.low) - hand, hand - np.asarray(box.high)).max()
    what = " x ".join(f"{100 * s:.0f}" for s in sides) + " cm"
    if sides.min() < 0.05 or sides.max() > 1.5:
        advice = "is it in metres, in the base frame? A tabletop task needs 5 cm to 1.5 m each way"
        return CheckResult(f"{name}: box", "warning", what, advice)
    if outside > 0:
        where = ", ".join(f"{v:.3f}" for v in hand)
        what += f"; the hand at ({where}) is {100 * outside:.1f} cm outside"
        advice = "choose a box with the home pose inside, or another home pose"
        return CheckResult(f"{name}: box", "warning", what, advice)
    return CheckResult(f"{name}: box", "ok", f"{what}, the hand at home inside")


def _checks(config: StationConfig, done: Exercise) -> Iterator[CheckResult]:
    yield check_picture(config.name, done.rest)
    yield check_camera(config.name, done)
    if done.executed:
        yield check_motion(config.name, done)
    yield check_box(config.name, config.box, done.seen[0].state)


def _robot(config: StationConfig, done: Exercise, tasks: tuple[Task, ...]) -> CheckResult:
    step = ms(float(np.median(done.steps_s)))
    return CheckResult(f"{config.name}: robot", "ok", f"answers in {step}; {len(tasks)} tasks")


def _broken(name: str, problem: Problem) -> CheckResult:
    advice: dict[type[Exception], str] = {
        ConfigError: "correct the station's file; docs/operations.md has every key",
        CameraFault: "look at the camera's cable, power and driver",
        RobotFault: "look at the arm's power, cables and motors; then home it by hand",
    }
    default = "the driver raised this: try it alone, outside of soar"
    return CheckResult(
        f"{name}: robot", "failed", str(problem), advice.get(type(problem.error), default)
    )
