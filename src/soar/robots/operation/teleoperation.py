"""A person's hand on the arm: motions that keys and sticks command, as actions of any arm that is driven by poses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Gt

from soar.contract.contract import Contract
from soar.errors import ConfigError
from soar.types import Action, Actor, Observation
from soar.utils.config import check_ranges
from soar.utils.keys import DOWN, LEFT, RIGHT, UP

Command: TypeAlias = Literal["enter", "discard", "next", "quit", "emergency", "release", "continue"]
"""Word of a person who records: start or keep a demonstration, throw it away, take the next task, end; hold all
motion, release it, and allow it again."""
MotionCommand: TypeAlias = Literal["emergency", "release", "continue"]
GRIPPER_STEPS = 3
"""Control steps for which a changed gripper is commanded before the hand moves on; more than `Limits.sticky_steps`."""
_TURN = 3
"""Index of the turn among the commanded directions, after forward, left and up."""


@runtime_checkable
class Teleoperator(Protocol):
    """Where the actions of a demonstration come from."""

    actor: Actor
    """Who acts, as the episode's steps note it."""

    def reset(self, instruction: str) -> None:
        """Begin anew at the start of a demonstration, with an open gripper."""

    def act(self, observation: Observation) -> Action | None:
        """Return the next action; None while nothing is commanded, in which case no control step takes place.

        Raises:
            StopIteration: a script's demonstration is over.
        """

    def close(self) -> None:
        """Release a device. Safe to call twice."""


@dataclass(frozen=True)
class HandSpeed:
    """Speed of a hand that keys or sticks move."""

    tap_m: Annotated[float, Gt(0)] = 0.008
    """Motion of one press of a key in meters; while the key is held, each control step is longer by this."""
    step_m: Annotated[float, Gt(0)] = 0.025
    """Longest motion in one control step in meters."""
    turn_rad: Annotated[float, Gt(0)] = 0.12
    """Rotation in one control step in radians."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Hand:
    """Actions of an arm from commanded directions: forward, left, up and a turn to the left, each in [-1, 1]."""

    def __init__(self, contract: Contract, speed: HandSpeed | None = None) -> None:
        """Take an arm's contract. Raises ConfigError: the arm isn't driven by changes of its pose."""
        meaning, self._speed = contract.action, speed or HandSpeed()
        plain = ("end_effector", "delta", "base", "m", "rad", "x_forward_y_left")
        own = (meaning.space, meaning.reference, meaning.frame, meaning.length, meaning.angle)
        if (*own, meaning.axes) != plain or meaning.scale:
            raise ConfigError(
                "keys and sticks move an arm that is driven by changes of its pose in meters; valid for this one: "
                "`kinematics` or `convert: true` in its station file, a leader arm, or a script"
            )
        self._meaning = meaning
        self._open, self._gripper_steps = True, 0

    def reset(self) -> None:
        """Return to the state after homing: the gripper is open."""
        self._open, self._gripper_steps = True, 0

    def take(self, opening: float) -> None:
        """Take over a gripper whose opening is measured in [0, 1], so that it doesn't change by itself."""
        self._open, self._gripper_steps = opening >= 0.5, 0

    def toggle_gripper(self) -> None:
        """Open the closed gripper, or close the open one, in the next steps."""
        self._open, self._gripper_steps = not self._open, GRIPPER_STEPS

    def action(self, directions: np.ndarray) -> Action | None:
        """Return the action of commanded directions (4,); None if nothing is commanded."""
        if not directions.any() and not self._gripper_steps:
            return None
        self._gripper_steps = max(0, self._gripper_steps - 1)
        return self.still(directions)

    def still(self, directions: np.ndarray | None = None) -> Action:
        """Return the action of commanded directions, also of none: the hand stays, and the gripper as it is."""
        action = np.zeros(self._meaning.dim, np.float32)
        if directions is not None:
            action[:3] = np.clip(directions[:3], -1, 1) * self._speed.step_m
            if (at := _yaw_index(self._meaning.motion_names)) is not None:
                action[at] = directions[_TURN] * self._speed.turn_rad
        if self._meaning.gripper is not None:
            gripper = self._meaning.gripper
            action[-1] = gripper.open if self._open else gripper.closed
        return action

    @property
    def tap(self) -> float:
        """Share of the longest motion that one press of a key commands."""
        return min(1.0, self._speed.tap_m / self._speed.step_m)


def _yaw_index(names: tuple[str, ...]) -> int | None:
    return next((names.index(n) for n in ("yaw", "rz") if n in names), None)


KEYS = {
    UP: (0, 1), DOWN: (0, -1), LEFT: (1, 1), RIGHT: (1, -1), "w": (2, 1), "s": (2, -1), "a": (_TURN, 1),
    "d": (_TURN, -1),
}  # fmt: skip
"""Index and sign of the direction that each key commands."""
GRIPPER_KEY = "g"
MOTION_HELP = "arrows: move as the picture shows   w s: up, down   a d: turn   g: gripper"
COMMAND_KEYS: dict[str, Command] = {
    "\n": "enter", "\r": "enter", "x": "discard", "n": "next", "q": "quit", " ": "emergency", "r": "release",
    "c": "continue",
}  # fmt: skip
COMMAND_HELP = "Enter: start, then keep   x: throw away   n: next task   q: end   space: stop   r: release   c: go on"


class Keyboard:
    """A person at the keys of a terminal. Keys pressed within one control step are commanded together in the next."""

    actor: Actor = "person"

    def __init__(self, contract: Contract, speed: HandSpeed | None = None) -> None:
        """See `Hand`."""
        self.hand = Hand(contract, speed)
        self._lock = threading.Lock()
        self._pressed: list[str] = []
        self._held: dict[str, int] = {}
        """Number of control steps in a row in which each key was pressed."""

    def press(self, key: str) -> bool:
        """Take a key, from any thread. Returns whether it is one of the motion's."""
        if key not in KEYS and key != GRIPPER_KEY:
            return False
        with self._lock:
            self._pressed.append(key)
        return True

    def reset(self, instruction: str = "") -> None:
        """See `Teleoperator.reset`."""
        self.hand.reset()
        self._take_pressed()

    def act(self, observation: Observation) -> Action | None:
        """See `Teleoperator.act`."""
        return self.hand.action(self.directions())

    def directions(self) -> np.ndarray:
        """Return the directions (4,) of the keys pressed since the last call, each in [-1, 1]."""
        pressed = self._take_pressed()
        if pressed.count(GRIPPER_KEY) % 2:
            self.hand.toggle_gripper()
        self._held = {key: self._held.get(key, 0) + 1 for key in set(pressed) & set(KEYS)}
        directions = np.zeros(4)
        for key, steps in self._held.items():
            index, sign = KEYS[key]
            directions[index] += sign * min(1.0, steps * self.hand.tap)
        return directions

    def close(self) -> None:
        """See `Teleoperator.close`."""

    def _take_pressed(self) -> list[str]:
        with self._lock:
            pressed, self._pressed = self._pressed, []
        return pressed


class CommandKeys:
    """Commands of a person who records, from keys and buttons of any thread."""

    def __init__(self, on_motion: Callable[[MotionCommand], None]) -> None:
        """`on_motion`: called at once, with what is to become of all motion."""
        self._on_motion = on_motion
        self._lock = threading.Lock()
        self._waiting: list[Command] = []
        self._task = ""

    def press(self, key: str) -> None:
        """Take a key."""
        if key in COMMAND_KEYS:
            self.give(COMMAND_KEYS[key])

    def give(self, command: Command) -> None:
        """Take a command."""
        if command in ("emergency", "release", "continue"):
            self._on_motion(command)
            return
        with self._lock:
            self._waiting.append(command)

    def choose(self, instruction: str) -> None:
        """Ask for a task from the next demonstration on."""
        self._task = instruction

    @property
    def has_chosen(self) -> bool:
        """Whether a task was asked for."""
        return bool(self._task)

    def chosen(self) -> str:
        """Return the task that was asked for and wasn't returned yet; empty without one."""
        task, self._task = self._task, ""
        return task

    def next(self) -> Command | None:
        """Return the oldest command that wasn't returned yet; None without one."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None
