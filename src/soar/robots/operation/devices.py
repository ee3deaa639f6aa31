"""Devices that record demonstrations besides the keyboard: a gamepad, a leader arm, and scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from soar.contract.contract import Contract
from soar.contract.convert import beside, decode, express
from soar.errors import ConfigError, RobotFault
from soar.plugins import call, component
from soar.robots.host.client import RemoteRobot
from soar.robots.operation.teleoperation import (
    Command,
    Hand,
    HandSpeed,
    Keyboard,
    Teleoperator,
)
from soar.types import Action, Actor, Observation

_DEAD_ZONE = 0.15
"""Share of a stick's travel that commands nothing."""
_TRAVEL = 32767
"""Travel of a stick and of a trigger, as SDL counts it."""

Script: TypeAlias = Callable[[Observation], Any]
"""Returns an action, or None at the end of a demonstration."""


class Gamepad:
    """A person with a game controller of any brand, whose layout SDL knows (the extra `gamepad`)."""

    HELP = (
        "gamepad: left stick moves as the picture shows, right stick up, down and turn   A: gripper   "
        "Start: Enter   B: x   Back: n   both shoulders: stop"
    )
    actor: Actor = "person"

    def __init__(
        self, contract: Contract, give: Callable[[Command], None], speed: HandSpeed | None = None
    ) -> None:
        """Open the first controller.

        Args:
            contract: the arm's.
            give: takes the commands of the buttons.
            speed: speed of the hand.

        Raises:
            ConfigError: there is no controller, or the extra isn't installed.
        """
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is needed
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
            from pygame._sdl2 import controller
        except ImportError as error:
            raise ConfigError(
                "a gamepad needs the extra: pip install 'soar-robot[gamepad]'"
            ) from error
        self.hand, self._give, self._pygame = Hand(contract, speed), give, pygame
        self._axes = np.zeros(6)
        self._shoulders: set[int] = set()
        pygame.display.init()  # its events; sound isn't needed
        controller.init()
        found = [i for i in range(controller.get_count()) if controller.is_controller(i)]
        self._controllers = [controller.Controller(i) for i in found[:1]]
        if not self._controllers:
            raise ConfigError("there is no gamepad; connect one, or use --device keyboard")

    def reset(self, instruction: str) -> None:
        """See `Teleoperator.reset`."""
        self.hand.reset()

    def act(self, observation: Observation) -> Action | None:
        """See `Teleoperator.act`."""
        self.poll()
        x, y, turn, up = np.where(np.abs(self._axes[:4]) < _DEAD_ZONE, 0, self._axes[:4])
        return self.hand.action(-np.array([y, x, up, turn]))

    def poll(self) -> None:
        """Take over what happened at the controller, and give its commands."""
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.CONTROLLERAXISMOTION:
                self._axes[event.axis] = np.clip(event.value / _TRAVEL, -1, 1)
            elif event.type == pygame.CONTROLLERBUTTONDOWN:
                self._press(event.button)
            elif event.type == pygame.CONTROLLERBUTTONUP:
                self._shoulders.discard(event.button)
            elif event.type == pygame.CONTROLLERDEVICEREMOVED:
                self._axes[:] = 0
                raise RobotFault("the gamepad is gone")

    def close(self) -> None:
        """Release the controller."""
        self._pygame.quit()

    def _press(self, button: int) -> None:
        p = self._pygame
        commands: dict[int, Command] = {
            p.CONTROLLER_BUTTON_START: "enter",
            p.CONTROLLER_BUTTON_B: "discard",
            p.CONTROLLER_BUTTON_BACK: "next",
        }
        if button == p.CONTROLLER_BUTTON_A:
            self.hand.toggle_gripper()
        elif button in commands:
            self._give(commands[button])
        elif button in (p.CONTROLLER_BUTTON_LEFTSHOULDER, p.CONTROLLER_BUTTON_RIGHTSHOULDER):
            self._shoulders.add(button)
            if len(self._shoulders) == 2:
                self._give("emergency")


@runtime_checkable
class Leader(Protocol):
    """What is asked of a leader arm: a robot that is only observed."""

    contract: Contract | None

    def observe(self) -> Observation:
        """Return where it is."""

    def close(self) -> None:
        """Release it."""


class LeaderArm:
    """A second arm that a person moves by hand and that the robot follows: the same joints, or the same pose."""

    actor: Actor = "person"

    def __init__(self, leader: Leader, contract: Contract) -> None:
        """Follow a leader, whose states mean what the robot's do. Raises ConfigError: they don't."""
        own, other = contract.state, leader.contract.state if leader.contract else contract.state
        if own != other:
            raise ConfigError(
                f"the leader's state is {', '.join(other.names)} [{other.angle}] and the robot's "
                f"{', '.join(own.names)} "
                f"[{own.angle}]; valid: the same numbers"
            )
        self.leader, self._contract = leader, contract

    def reset(self, instruction: str) -> None:
        """See `Teleoperator.reset`."""

    def act(self, observation: Observation) -> Action | None:
        """Return the action that leads to the leader's pose; the safety limits shorten what is far."""
        meaning, own = self._contract.action, self._contract.state
        led, state = (np.asarray(o.state, np.float64) for o in (self.leader.observe(), observation))
        action = express(decode(led, own), decode(state, own), meaning)
        return beside(action, meaning, led, own)

    def close(self) -> None:
        """Release the leader."""
        self.leader.close()


class Scripted:
    """Actions of a script: a function of the instruction that returns a function of the observation, or a file."""

    actor: Actor = "expert"

    def __init__(self, source: str) -> None:
        """Load a script.

        Args:
            source: package.module:function, which returns for an instruction a function of the observation that
                returns an action, or None at the end; or a file with an action in each line or row (.csv, .npy).

        Raises:
            ConfigError: there is no such function or file, or it holds no actions.
        """
        self._source, self._step = source.removeprefix("python:"), cast(Script, lambda _: None)
        self._file = _read_actions(Path(source)) if source.endswith((".csv", ".npy")) else None
        self._make: Any = component(self._source) if self._file is None else None

    def reset(self, instruction: str) -> None:
        """See `Teleoperator.reset`."""
        if self._file is not None:
            rows: Iterator[Action] = iter(self._file)
            self._step = lambda _: next(rows, None)
            return
        made = call(self._make, self._source, instruction)
        if not callable(made):
            raise ConfigError(f"{self._source} must return a function that takes an observation")
        self._step = made

    def act(self, observation: Observation) -> Action | None:
        """See `Teleoperator.act`. Raises ConfigError: the script raised any exception."""
        try:
            action = self._step(observation)
        except Exception as error:  # a user's own code
            raise ConfigError(f"{self._source}: {type(error).__name__}: {error}") from error
        if action is None:
            raise StopIteration
        return np.asarray(action, np.float32)

    def close(self) -> None:
        """See `Teleoperator.close`."""


def open_device(name: str, contract: Contract, give: Callable[[Command], None]) -> Teleoperator:
    """Open a device that a person moves.

    Args:
        name: "keyboard", "gamepad", or "leader:URL" of a leader arm behind a robot host, which is only observed.
        contract: the robot's.
        give: takes the commands of a gamepad's buttons.

    Raises:
        ConfigError: there is no such device, or it doesn't fit the robot.
    """
    kind, _, url = name.partition(":")
    if name == "keyboard":
        return Keyboard(contract)
    if name == "gamepad":
        return Gamepad(contract, give)
    if kind == "leader" and url:
        return LeaderArm(RemoteRobot(url, key=os.environ.get("SOAR_ROBOT_KEY", "")), contract)
    raise ConfigError(f"no device '{name}'; valid: keyboard, gamepad, leader:ws://HOST:PORT")


def _read_actions(path: Path) -> np.ndarray:
    """Read actions (t, a) from a file. Raises ConfigError."""
    try:
        table = (
            _read_array(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
        )
        actions = np.asarray(table, np.float32)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} holds no actions: {error}") from error
    if actions.ndim != 2 or not len(actions) or not np.isfinite(actions).all():
        raise ConfigError(f"{path} holds no actions; valid: one in each row, finite numbers")
    return actions


def _read_array(path: Path) -> Any:
    """Read the one array of a .npy file. Raises OSError, ValueError: it is no such file."""
    with path.open("rb") as file:
        return np.lib.format.read_array(file)
