"""Wild actions through the safety wrapper: whatever comes, the arm stays in its box and within its step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.attack.attack import Attack, Outcome

from soar.errors import RobotFault, UnsafeAction
from soar.robots.safety import SafeRobot
from soar.types import Action, Observation

_HOME = (0.29, 0.0, 0.1)
_SLACK_M = 1e-6
"""Rounding of float32."""
_SIMULATED_SLACK_M = 0.003
"""Overshoot of the simulated arm by momentum and contacts."""
_IMAGE = np.zeros((2, 2, 3), np.uint8)
_SIMULATED_EACH, _FIRST_SIMULATED = 50, 9
"""Steps, one of them the simulated arm's, within a tenth of a tenth of them, after which growth counts."""
_EPISODE = 100
"""Actions between two homings."""


class RecordingArm:
    """An arm without a camera that goes a part of the way to its target in each step, and checks what reaches it."""

    period_s = 0.2

    def __init__(self, gain: float, adds_to_target: bool) -> None:
        """Make an arm.

        Args:
            gain: share of the way to the target that it goes in a step.
            adds_to_target: whether an action counts from the target commanded last or from the measured position.
        """
        self.position = self.target = np.array(_HOME)
        self._gain, self._adds_to_target = gain, adds_to_target
        self.received = 0
        self.problems: list[str] = []

    def observe(self) -> Observation:
        """Return the position."""
        return Observation(_IMAGE, np.array([*self.position, 0, 0, 0, 1], np.float32), 0.0)

    def execute(self, action: Action) -> Action:
        """Move, and note an action that no driver should see."""
        self.received += 1
        if action.dtype != np.float32 or action.shape != (7,) or not np.isfinite(action).all():
            self.problems.append(f"the driver got {action!r:.80}")
            return np.zeros(7, np.float32)
        if np.abs(action[:3]).max() > 0.05 + 1e-6 or np.abs(action[3:6]).max() > 0.35 + 1e-6:
            self.problems.append(f"a step too large: {action.tolist()}")
        if action[6] not in (0.0, 1.0):
            self.problems.append(f"a gripper command of {action[6]}")
        start = self.target if self._adds_to_target else self.position
        self.target = start + action[:3]
        self.position = self.position + self._gain * (self.target - self.position)
        return action.copy()

    def home(self) -> None:
        """Return to the home position."""
        self.position = self.target = np.array(_HOME)

    def recover(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class WildActions(Attack):
    """A thousand actions in each step, on arms that arrive at once, lag, or are simulated (one step of 50)."""

    title = "wild actions through the safety wrapper"
    tries = 1_000_000
    size = 1000
    in_process = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._simulated: Any = None

    def step(self, index: int) -> Outcome:
        """Send actions of all kinds to one arm."""
        rng = np.random.default_rng([24, index])
        if index % _SIMULATED_EACH == _FIRST_SIMULATED:
            return self._attack_simulator(rng)
        arm = RecordingArm(float(rng.uniform(0.1, 1.0)), bool(rng.integers(2)))
        harm = _attack(SafeRobot(arm), rng, self.size, lambda: arm.position, _SLACK_M)
        return Outcome((*harm, *arm.problems[:3]))

    def close(self) -> None:
        """Free the simulator."""
        if self._simulated is not None:
            self._simulated.close()

    def note(self) -> str:
        """Say how many arms were simulated ones."""
        return (
            "98 of 100 actions on arms of a few lines, which arrive at once or lag; the others on the simulated "
            "arm, which may swing 3 mm out of its box"
        )

    def _attack_simulator(self, rng: np.random.Generator) -> Outcome:
        from soar.robots.simulated import SimRobot
        from soar.sim.scenes.catalog import load_scene

        if self._simulated is None:
            self._simulated = SimRobot(load_scene("1"), 0, image_size=16)
        robot = self._simulated
        robot.reset(int(rng.integers(2**31)))
        world = robot.world
        harm = _attack(SafeRobot(robot), rng, self.size, lambda: world.state()[:3], _SIMULATED_SLACK_M)  # fmt: skip
        return Outcome(harm)


def _attack(
    robot: SafeRobot[Any],
    rng: np.random.Generator,
    count: int,
    position: Callable[[], np.ndarray[Any, Any]],
    slack_m: float,
) -> tuple[str, ...]:
    """Send actions to a robot, and return what went wrong."""
    harm = []
    low, high = np.array(robot.limits.low) - slack_m, np.array(robot.limits.high) + slack_m
    for number in range(count):
        if number % _EPISODE == 0:
            robot.home()
            robot.observe()
        action = wild_action(rng)
        try:
            robot.execute(action)
        except UnsafeAction as error:
            if "\n" in str(error) or len(str(error)) > 400:
                harm.append(f"the message is no short line: {str(error)[:100]!r}")
        except RobotFault as error:
            if "didn't move" not in str(error):
                harm.append(f"RobotFault for {action!r:.80}: {error}")
            robot.recover()
        except Exception as error:  # noqa: BLE001  any other exception is harm
            harm.append(f"{type(error).__name__} for {action!r:.80}: {error!s:.80}")
        at = position()
        if (at < low).any() or (at > high).any():
            harm.append(f"the end effector is at {at.tolist()} after {action!r:.80}")
        if len(harm) > 5:
            break
    return tuple(harm)


def wild_action(rng: np.random.Generator) -> Any:
    """Return an action as a broken policy might: of any numbers, size, type or shape."""
    kind = rng.integers(12)
    base = rng.normal(size=7) * 10.0 ** rng.integers(-4, 5)
    if kind < 6:
        return base.astype((np.float32, np.float64, np.float16)[kind % 3])
    if kind == 6:
        base[rng.integers(7)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])
        return base
    if kind == 7:
        return rng.integers(-(2**31), 2**31, 7).astype(rng.choice(["i1", "u1", "i4", "u8", "i8"]))
    if kind == 8:
        shape = ((0,), (6,), (8,), (1, 7), (7, 1), (7, 7), ())[rng.integers(7)]
        return rng.normal(size=shape).astype(np.float32)
    if kind == 9:
        return _structured(rng, base)
    return _foreign(rng, base)


def _structured(rng: np.random.Generator, base: np.ndarray[Any, Any]) -> Any:
    """Arrays of types that aren't numbers."""
    return (
        base.astype("c8"),
        base > 0,
        base.astype("U5"),
        base.astype("S5"),
        base.astype(object),
        np.array([None] * 7),
        np.zeros(7, "M8[s]"),
        np.zeros(7, "m8[s]"),
        np.zeros(7, [("x", "f4")]),
        np.ma.masked_array(base, base > 0),
        np.broadcast_to(np.float32(base[0]), 7),
        np.asfortranarray(base)[::-1],
        base.astype(">f4"),
        base.astype(np.longdouble),
    )[rng.integers(14)]


def _foreign(rng: np.random.Generator, base: np.ndarray[Any, Any]) -> Any:
    """Objects that are no arrays."""
    return (
        None,
        "1234567",
        b"1234567",
        base.tolist(),
        tuple(base.tolist()),
        [10**400] * 7,
        [[1.0], [2.0, 3.0]],
        {"action": base},
        set(range(7)),
        iter(base.tolist()),
        float(base[0]),
        sys.float_info.max,
        range(7),
        _Lying(),
        lambda: base,
        [[[[[[]]]]]] * 7,
    )[rng.integers(16)]


class _Lying:
    """An object whose conversion to an array fails."""

    shape, dtype = (7,), "float32"

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("not this time")
