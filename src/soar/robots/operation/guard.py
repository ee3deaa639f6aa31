"""A person's say over a robot's motion: emergency stop, and the operator's heartbeat.

Both are files in the station's folder, so that a key in the terminal, `soar stop --emergency` and a page's button work
alike, from any process that sees the folder:

    emergency    holds the arm for as long as it is there
    released     is there between the release of a stop and its resumption: a release alone moves nothing (ISO 13850)
    heartbeat    changes with every sign of life of the operator
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from annotated_types import Ge, Gt, Le

from soar.contract.contract import WIDOWX, Contract
from soar.contract.convert import shortened
from soar.errors import MotionHeld, RobotFault, SoarError, described
from soar.interfaces import Robot
from soar.robots.returned import to_array, to_numbers
from soar.types import Action
from soar.utils.config import check_ranges
from soar.utils.files import writing

log = logging.getLogger(__name__)

EMERGENCY, RELEASED, HEARTBEAT = "emergency", "released", "heartbeat"
"""Names of the files."""
_POLL_S = 0.02
"""Interval at which they are read, in seconds."""
_RETRY_S = 0.2
"""Pause after a `hold` that failed, in seconds."""
R = TypeVar("R", bound=Robot)


@dataclass(frozen=True)
class SlowStart:
    """Reduced speed of the first episodes after each start of a station."""

    episodes: Annotated[int, Ge(0)] = 0
    """Number of slow episodes."""
    speed: Annotated[float, Gt(0), Le(1)] = 0.3
    """Share of each commanded motion that is executed in them."""

    def __post_init__(self) -> None:
        check_ranges(self)


class MotionGuard:
    """What a person says about the motion of one station's robot."""

    def __init__(
        self,
        folder: Path,
        heartbeat_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a station's folder.

        Args:
            folder: the station's folder; need not exist.
            heartbeat_s: time in seconds for which a heartbeat counts; None asks for none.
            now: clock.
        """
        self.folder = folder
        self._heartbeat_s, self._now = heartbeat_s, now
        self._beat = self._last_beat()
        self._beat_at_s = -np.inf
        self._known, self._lost = _identity(folder), False

    def reason(self) -> str:
        """Return why the robot must not move; "" if it may."""
        if (stop := self._asked(EMERGENCY)) is not None:
            self._lost = False  # whoever releases this stop knows of no other
            return (
                f"emergency stop ({stop.strip() or 'no reason given'}); `soar release` releases it"
            )
        if self._asked(RELEASED) is not None:
            return "released from the emergency stop; `soar resume` lets the arm move again"
        if self._is_lost():
            return (
                f"{self.folder} is gone or another one, and with it a stop that may be in it; bring it back, or hold "
                "the arm, release it and resume"
            )
        if self._heartbeat_s is None:
            return ""
        beat = self._last_beat()
        if beat and beat != self._beat:
            if self._beat is not None:  # else it may be an old one
                self._beat_at_s = self._now()
            self._beat = beat
        if self._now() - self._beat_at_s <= self._heartbeat_s:
            return ""
        return (
            f"no heartbeat of the operator for {self._heartbeat_s:g} s; a key in the station's terminal, or "
            "`soar attend`, gives one"
        )

    def check(self) -> None:
        """Raise MotionHeld if the robot must not move."""
        if reason := self.reason():
            raise MotionHeld(reason)

    def _asked(self, name: str) -> str | None:
        """Return what a file says; None if it isn't there."""
        try:
            return _read(self.folder / name)
        except OSError as error:
            return str(error)  # it is there

    def _is_lost(self) -> bool:
        """Whether the folder that was there is gone, or came back as another one, without what people asked for."""
        found = _identity(self.folder)
        if found is None:
            self._lost = self._known is not None
        elif not self._lost or found == self._known:
            self._known, self._lost = found, False
        return self._lost

    def _last_beat(self) -> str | None:
        """Return what the heartbeat's file says, "" without one; None if it can't be read."""
        try:
            return _read(self.folder / HEARTBEAT) or ""
        except OSError:
            return None


def stop_motion(folder: Path, reason: str) -> None:
    """Hold the robot of a station's folder until it is released and resumed, also on a full disk. Raises FileError."""
    path = folder / EMERGENCY
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    with contextlib.suppress(OSError):  # held already
        path.write_text(reason)


def release_motion(folder: Path) -> None:
    """Release the emergency stop of a station's folder, if there is one; nothing moves before `resume_motion`."""
    if is_stopped(folder):
        (folder / RELEASED).touch()
        (folder / EMERGENCY).unlink(missing_ok=True)


def resume_motion(folder: Path) -> None:
    """Let the robot of a station's folder move again after `release_motion`."""
    (folder / RELEASED).unlink(missing_ok=True)


def is_stopped(folder: Path) -> bool:
    """Whether a station's folder has an emergency stop."""
    return (folder / EMERGENCY).exists()


def beat(folder: Path) -> None:
    """Give a heartbeat of the operator. Raises FileError."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEARTBEAT).write_text(str(time.time_ns()))


class GuardedRobot(Generic[R]):
    """A robot that moves only while its guard allows it, and slowly at first.

    A driver with `hold()` is stopped at once, while any other of its methods runs; without it the motion of the control
    step ends, and no other begins. A hold that fails is tried again until it succeeds, and before that nothing moves
    the arm. Attributes that aren't those of a robot are the driver's.
    """

    def __init__(
        self,
        robot: R,
        guard: MotionGuard | None = None,
        slow: SlowStart | None = None,
        contract: Contract | None = None,
    ) -> None:
        """Wrap a robot.

        Args:
            robot: the robot.
            guard: what a person says about its motion; None for nothing.
            slow: reduced speed of the first episodes.
            contract: meaning of its numbers; None is the WidowX's.
        """
        self.robot = robot
        self.period_s = robot.period_s
        self._guard, self._slow = guard, slow or SlowStart()
        self._contract = contract or WIDOWX
        self._episodes, self._moved = 0, False
        self._state: np.ndarray | None = None
        self._unheld = ""
        """Why the driver can't be held; "" if it can."""
        self._ended = threading.Event()
        if guard is not None and hasattr(robot, "hold"):
            threading.Thread(target=self._watch, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the driver."""
        if name == "robot":  # not built yet
            raise AttributeError(name)
        return getattr(self.robot, name)

    def observe(self) -> Any:
        """Return what the driver observes, unchecked. See `Robot.observe`."""
        observation: Any = self.robot.observe()
        state = to_array(getattr(observation, "state", None))  # checked by `SafeRobot`
        self._state = None if state is None else np.array(state)
        return observation

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`. Raises MotionHeld, and RobotFault: the arm can't be held."""
        self._check()
        self._moved = True
        return self.robot.execute(self._slowed(action))

    def home(self) -> None:
        """See `Robot.home`; ends an episode. Raises MotionHeld, and RobotFault: the arm can't be held."""
        self._check()
        self._episodes, self._moved = self._episodes + self._moved, False
        self._state = None
        self.robot.home()
        self._check()

    def recover(self) -> None:
        """See `Robot.recover`. Raises MotionHeld."""
        if self._guard is not None:
            self._guard.check()
        self._state = None
        self.robot.recover()

    def close(self) -> None:
        """See `Robot.close`."""
        self._ended.set()
        self.robot.close()

    def _slowed(self, action: Action) -> Action:
        """Return an action with reduced motion during the first episodes."""
        if self._episodes >= self._slow.episodes:
            return action
        if self._state is None:
            self.observe()
        state = to_numbers(self._state, self._contract.state.dim, "state of observe()")
        return shortened(action, state, self._contract, self._slow.speed)

    def _check(self) -> None:
        if self._guard is not None:
            self._guard.check()
        if self._unheld:
            raise RobotFault(self._unheld)

    def _watch(self) -> None:
        """Hold the driver when the guard begins to forbid motion."""
        held = False
        while self._guard is not None and not self._ended.wait(
            _RETRY_S if self._unheld else _POLL_S
        ):
            forbidden = bool(self._guard.reason())
            if (forbidden and not held) or self._unheld:
                self._hold()
            held = forbidden

    def _hold(self) -> None:
        """Try to hold the driver; say when that fails for another reason than before, and when it succeeds again."""
        before, failed = self._unheld, ""
        try:
            self.robot.hold()  # type: ignore[attr-defined]
        except SoarError as error:
            failed = f"hold() failed: {error}"
        except BaseException as error:  # noqa: BLE001  a driver may raise anything
            failed = f"hold() failed: {described(error)}"
        self._unheld = failed
        if failed != before:
            log.error("%s", failed or "the arm is held")


def _read(path: Path) -> str | None:
    """Return a small file's text, or None if there is none. Raises OSError: it is there and can't be read."""
    try:
        return path.read_bytes()[:200].decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what a folder is known by wherever it is moved; None if it can't be seen."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
