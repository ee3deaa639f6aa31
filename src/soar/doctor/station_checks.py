"""Checks of what a robot did in its trial: contract, pose, images, motion, gripper and workspace box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from soar.collection.lease import InUse
from soar.contract.compare import summary
from soar.contract.contract import WIDOWX, Contract
from soar.contract.convert import decode, express
from soar.doctor.latency import Latency, check_latency
from soar.doctor.results import CheckResult, Failure, ms
from soar.errors import CameraFault, ConfigError, MotionHeld, RobotFault
from soar.robots.limits import Limits
from soar.types import Action, Observation, State

AXES = {"x": "x, forward", "y": "y, left", "z": "z, up"}
MOVES = 3
"""Number of test steps of each number of an action."""
GRIPPER_STEPS = 5
"""Number of steps in which the gripper closes, and opens: a second at 5 Hz."""
STEP_M, STEP_RAD = 0.01, 0.05
"""Length of a test step in meters, and of a turn in radians: visible and harmless."""
_TILTED_RAD = 0.5
"""Roll or pitch at home from which a hand can't be meant to point down."""
_GRIPPER_CHANGE = 0.3
"""Least change of the opening, from 0 to 1, that counts as a motion of the gripper."""
_JUMP_S = 10.0
"""Time between two observations in seconds that is longer than any control step takes."""
_CHANGED = 25
"""Change of a pixel's value that is more than noise."""


class Probe(NamedTuple):
    """Trial of one number of an action: executed actions `first` up to `last`, between the observations so numbered."""

    name: str
    """Name of the number, or "close" or "open" for the gripper."""
    number: int
    """Index of the number in the action."""
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class RobotTrial:
    """Observations and actions of a robot's trial."""

    observations: tuple[Observation, ...]
    """Observations before the first action and after each; successive ones of an arm that holds still."""
    executed: tuple[Action, ...]
    """Executed actions of the probes; none if the arm held still."""
    steps_s: tuple[float, ...]
    """Time that the robot takes for each control step, without waiting, in seconds."""
    rest: Observation
    """Last observation, with the arm at home."""
    contract: Contract = WIDOWX
    """Meaning of actions and states."""
    probes: tuple[Probe, ...] = ()
    """Trials of the action's numbers, in order."""
    declared: bool = True
    """Whether the driver or the station's file declares the contract."""
    latency: Latency | None = None
    """Measured latency; None if it wasn't measured."""


def check_trial(name: str, box: Limits, trial: RobotTrial, num_tasks: int) -> list[CheckResult]:
    """Check everything that a robot's trial shows.

    Args:
        name: name of the station.
        box: workspace box.
        trial: the trial.
        num_tasks: number of the station's tasks.
    """
    step = ms(float(np.median(trial.steps_s)))
    return [
        CheckResult(f"{name}: robot", "ok", f"answers in {step}; {num_tasks} tasks"),
        check_contract(name, trial),
        check_pose(name, trial),
        check_image(name, trial.rest),
        check_camera(name, trial),
        *([check_motion(name, trial)] if trial.executed else []),
        *check_gripper(name, trial),
        *(
            []
            if trial.contract.state.joints
            else [check_box(name, box, trial.observations[0].state)]
        ),
        *([check_latency(name, trial.latency, trial.contract.period_s)] if trial.latency else []),
    ]


def check_image(name: str, observation: Observation) -> CheckResult:
    """Check that the image is in color and has content."""
    image = observation.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape} is no image"
        return CheckResult(
            f"{name}: image", "failed", what, "observe() must give uint8 RGB, (h, w, 3)"
        )
    what = f"{image.shape[1]} x {image.shape[0]}, brightness {image.mean():.0f} of 255"
    if image.std() < 2:
        advice = "a single color: check lens cap, light and exposure"
        return CheckResult(f"{name}: image", "failed", what, advice)
    if image.mean() < 20 or image.mean() > 235:
        return CheckResult(f"{name}: image", "warning", what, "correct the light or the exposure")
    return CheckResult(f"{name}: image", "ok", what)


def check_camera(name: str, trial: RobotTrial) -> CheckResult:
    """Check that the camera gives new images, which show the arm."""
    images = [o.image for o in trial.observations]
    same = sum(np.array_equal(a, b) for a, b in pairwise(images))
    times = np.diff([o.time_s for o in trial.observations])
    if wrong := _time_problem(times.tolist(), moved=bool(trial.executed)):
        advice = "time_s is when the image was taken, in seconds: take it from time.monotonic()"
        return CheckResult(f"{name}: camera", "failed", f"the observations' time {wrong}", advice)
    if not trial.executed:
        if same == len(images) - 1:
            what = f"{len(images)} identical images; the arm held still"
            return CheckResult(f"{name}: camera", "warning", what, "let the arm move: --move")
        return CheckResult(f"{name}: camera", "ok", f"{len(images) - same} different images")
    if same == len(images) - 1:
        advice = "the camera is frozen: restart it, and check that the driver reads a new image"
        return CheckResult(f"{name}: camera", "failed", "one image while the arm moved", advice)
    changed = np.abs(images[-1].astype(np.int16) - images[0]).max(2) > _CHANGED
    what = f"{len(images) - same} different images; {changed.mean():.1%} of the pixels changed"
    if changed.mean() < 1e-3:
        advice = "the arm moved and is hardly seen: does the camera point at this arm's table?"
        return CheckResult(f"{name}: camera", "warning", what, advice)
    return CheckResult(f"{name}: camera", "ok", what)


def check_contract(name: str, trial: RobotTrial) -> CheckResult:
    """Say what the robot's numbers mean, and whether somebody declared it."""
    title, what = f"{name}: contract", summary(trial.contract)
    if trial.declared:
        return CheckResult(title, "ok", what)
    advice = "nobody declared it: add `contract: {}` to the station's file if this is right, else what differs"
    return CheckResult(title, "warning", f"taken for the WidowX's: {what}", advice)


def check_pose(name: str, trial: RobotTrial) -> CheckResult:
    """Check the pose that the robot reports at home: fingers down at rotation zero, radians, an open gripper."""
    title, meaning, state = f"{name}: pose at home", trial.contract.state, trial.rest.state
    what = ", ".join(f"{k} {v:.2f}" for k, v in zip(meaning.names, state, strict=True))
    pose = decode(state.astype(np.float64), meaning)
    opening = float(pose.opening)
    if not -0.1 <= opening <= 1.1:
        advice = (
            "the gripper's value is outside its range: declare `gripper: {closed: ..., open: ...}`"
        )
        return CheckResult(title, "failed", what, advice)
    angles = meaning.rotation in ("rpy", "yaw", "rotvec") or meaning.space == "joints"
    turns = np.abs(state[0 if meaning.joints else 3 : meaning.motion_dim])
    if angles and meaning.angle == "rad" and turns.max(initial=0.0) > 3 * np.pi:
        advice = "angles must be in radians: declare `angle: deg` and add `convert: true`"
        return CheckResult(title, "failed", what, advice)
    if meaning.space == "end_effector" and meaning.rotation != "none":
        tilt = float(np.arccos(np.clip(pose.rotation[2, 2], -1, 1)))
        if tilt > _TILTED_RAD:
            advice = (
                "zero rotation means fingers down: declare `zero_rotation` (fingers_up, fingers_forward) and add "
                "`convert: true`"
            )
            what += f": the hand points {np.rad2deg(tilt):.0f} degrees away from down"
            return CheckResult(title, "warning", what, advice)
    if opening < 0.5:
        advice = "home() must open the gripper; or is 0 open here? Then declare `gripper: {closed: 1, open: 0}`"
        return CheckResult(title, "warning", what, advice)
    return CheckResult(title, "ok", what)


def _time_problem(differences_s: list[float], *, moved: bool) -> str:
    """Say what is wrong with the times between observations [s]; empty for nothing.

    `moved`: whether the arm did; a simulator's time may stand still while it does not.
    """
    if min(differences_s) < 0:
        return "goes backward"
    if moved and max(differences_s) == 0:
        return "stands still"
    if max(differences_s) > _JUMP_S:
        return f"jumps by {max(differences_s):.3g} s"
    return ""


def check_motion(name: str, trial: RobotTrial) -> CheckResult:
    """Check that the measured change of each number is about the commanded one."""
    found, wrong, unknown = [], [], []
    for probe in trial.probes:
        if probe.name in ("close", "open"):
            continue
        commanded, measured = changes(trial, probe)
        linear = not trial.contract.action.joints and probe.number < 3
        found.append(f"{probe.name} {1000 * commanded:+.0f} {1000 * measured:+.0f}")
        if abs(commanded) < (STEP_M if linear else STEP_RAD) / 2:
            unknown.append(probe.name)
        elif not 0.3 < measured / commanded < 2:
            wrong.append(AXES.get(probe.name, probe.name))
    title, what = f"{name}: motion", f"commanded and measured [mm, mrad]: {', '.join(found)}"
    if wrong:
        advice = f"check sign, unit (meters, radians) and frame (base) of {'; '.join(wrong)}"
        return CheckResult(title, "failed", what, advice)
    if unknown:
        advice = f"the robot executed hardly anything of {', '.join(unknown)}: is it at the edge of its box?"
        return CheckResult(title, "warning", what, advice)
    return CheckResult(title, "ok", what)


def changes(trial: RobotTrial, probe: Probe) -> tuple[float, float]:
    """Return the commanded and the measured change of a number [m or rad], in the action's own terms."""
    meaning = replace(trial.contract.action, reference="delta")
    if meaning.rotation not in ("rpy", "yaw", "none") and meaning.turn == "angles_added":
        meaning = replace(meaning, turn="left")
    states = [trial.observations[i].state.astype(np.float64) for i in (probe.first, probe.last)]
    before, after = (decode(state, trial.contract.state) for state in states)
    unit = np.pi / 180 if meaning.angle == "deg" and (meaning.joints or probe.number >= 3) else 1.0
    executed = np.stack(trial.executed[probe.first : probe.last]).astype(np.float64)
    if trial.contract.action.reference == "absolute":
        start = express(before, before, trial.contract.action)
        commanded = executed[-1, probe.number] - start[probe.number]
    else:
        commanded = executed[:, probe.number].sum()
    measured = express(after, before, meaning)[probe.number]
    return float(commanded * unit), float(measured * unit)


def check_gripper(name: str, trial: RobotTrial) -> list[CheckResult]:
    """Check that the gripper closes and opens when it is told to; no result without a gripper or a motion."""
    probes = [p for p in trial.probes if p.name in ("close", "open")]
    if not probes:
        return []
    numbers = [probes[0].first, *(p.last for p in probes)]
    states = [trial.observations[i].state.astype(np.float64) for i in numbers]
    opened, closed, again = (float(decode(s, trial.contract.state).opening) for s in states)
    title = f"{name}: gripper"
    what = f"opening {opened:.2f}, closed {closed:.2f}, opened {again:.2f}"
    if closed > opened + _GRIPPER_CHANGE or closed > again + _GRIPPER_CHANGE:
        advice = "it opens when told to close: declare `gripper: {closed: 1, open: 0}` of the action or of the state"
        return [CheckResult(title, "failed", what, advice)]
    if min(opened, again) - closed < _GRIPPER_CHANGE:
        advice = (
            "the state hardly shows it: is its range right, and is nothing between the fingers?"
        )
        return [CheckResult(title, "warning", what, advice)]
    return [CheckResult(title, "ok", what)]


def check_box(name: str, box: Limits, home: State) -> CheckResult:
    """Check the size of the workspace box, and that the home pose is inside."""
    sides = np.asarray(box.high) - np.asarray(box.low)
    position = home[:3]
    outside = np.maximum(np.asarray(box.low) - position, position - np.asarray(box.high)).max()
    what = " x ".join(f"{100 * s:.0f}" for s in sides) + " cm"
    if sides.min() < 0.05 or sides.max() > 1.5:
        advice = "is it in meters, in the base frame? A tabletop task needs 5 cm to 1.5 m along each axis"
        return CheckResult(f"{name}: box", "warning", what, advice)
    if outside > 0:
        where = ", ".join(f"{v:.3f}" for v in position)
        what += f"; the gripper at ({where}) is {100 * outside:.1f} cm outside"
        advice = "choose a box with the home pose inside, or another home pose"
        return CheckResult(f"{name}: box", "warning", what, advice)
    return CheckResult(f"{name}: box", "ok", f"{what}, the home pose inside")


def robot_failed(name: str, failure: Failure) -> CheckResult:
    """Return the result for a robot that raised an exception."""
    advice: dict[type[Exception], str] = {
        ConfigError: "correct the station's file; docs/operations.md has every key",
        InUse: "two programs can't drive one arm",
        CameraFault: "check the camera's cable, power and driver",
        MotionHeld: "a person holds the arm; where nobody does, press a key, then try again",
        RobotFault: "check the arm's power, cables and motors; then home it by hand",
    }
    default = "the driver raised this: try it alone, outside of soar"
    return CheckResult(
        f"{name}: robot", "failed", str(failure), advice.get(type(failure.error), default)
    )
