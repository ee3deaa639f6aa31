"""Checks of what a robot did in its trial: image, camera, motion and workspace box."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from soar.doctor.results import CheckResult, Failure, ms
from soar.errors import CameraFault, ConfigError, RobotFault
from soar.robots.safety import Limits
from soar.types import Action, Observation, State

AXES = ("x, forward", "y, left", "z, up")
MOVES = 3
"""Number of test steps along each axis."""
STEP_M = 0.01
"""Length of a test step in meters: visible and harmless."""
_CHANGED = 25
"""Change of a pixel's value that is more than noise."""


@dataclass(frozen=True, eq=False)
class RobotTrial:
    """Observations and actions of a robot's trial."""

    observations: tuple[Observation, ...]
    """Observations before the first action and after each; successive ones of an arm that holds still."""
    executed: tuple[Action, ...]
    """Executed actions, `MOVES` along each axis; none if the arm held still."""
    steps_s: tuple[float, ...]
    """Time that the robot takes for each control step, without waiting, in seconds."""
    rest: Observation
    """Last observation, with the arm at home."""


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
        check_image(name, trial.rest),
        check_camera(name, trial),
        *([check_motion(name, trial)] if trial.executed else []),
        check_box(name, box, trial.observations[0].state),
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
    if (times < 0).any():
        advice = "time_s must never decrease: take it from time.monotonic()"
        return CheckResult(
            f"{name}: camera", "failed", "the observations' time goes backward", advice
        )
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


def check_motion(name: str, trial: RobotTrial) -> CheckResult:
    """Check that the measured motion along each axis is about the commanded one."""
    commanded = np.stack(trial.executed)[:, :3].reshape(3, MOVES, 3).sum(1).diagonal()
    positions = np.stack([o.state[:3] for o in trial.observations[::MOVES]])
    measured = np.diff(positions, axis=0).diagonal()
    ratio = measured / np.where(np.abs(commanded) < STEP_M / 2, np.nan, commanded)
    what = "commanded and measured [mm]: " + ", ".join(
        f"{axis[0]} {1000 * a:+.0f} {1000 * b:+.0f}"
        for axis, a, b in zip(AXES, commanded, measured, strict=True)
    )
    wrong = [
        axis for axis, r in zip(AXES, ratio, strict=True) if not np.isnan(r) and not 0.3 < r < 2
    ]
    if wrong:
        advice = f"check sign, unit (meters) and frame (base) of {'; '.join(wrong)}"
        return CheckResult(f"{name}: motion", "failed", what, advice)
    if np.isnan(ratio).any():
        advice = "the robot executed hardly anything: is the gripper at the edge of its box?"
        return CheckResult(f"{name}: motion", "warning", what, advice)
    return CheckResult(f"{name}: motion", "ok", what)


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
        CameraFault: "check the camera's cable, power and driver",
        RobotFault: "check the arm's power, cables and motors; then home it by hand",
    }
    default = "the driver raised this: try it alone, outside of soar"
    return CheckResult(
        f"{name}: robot", "failed", str(failure), advice.get(type(failure.error), default)
    )
