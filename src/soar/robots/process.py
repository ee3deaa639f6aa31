"""A robot in a process of its own: it may hang or crash without taking the station along."""

from __future__ import annotations

import multiprocessing as mp
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from operator import attrgetter
from typing import Any

from soar import errors
from soar.errors import RobotFault, SoarError
from soar.interfaces import Robot
from soar.types import Action, Observation

Reply = tuple[str, Any]
"""Name of the error class with its message, or "" with the value."""


class ProcessRobot:
    """The robot that `make` builds, driven over a pipe from another process.

    A call that doesn't return in time, or a process that dies, is a RobotFault; `recover()` then ends the
    process and builds the robot anew. Several of them move and render at the same time, on as many cores.
    """

    def __init__(
        self,
        make: Callable[[], Robot],
        *,
        timeout_s: float = 5.0,
        slow_timeout_s: float = 120.0,
    ) -> None:
        """Start the process and wait until the robot is built.

        Args:
            make: picklable: a module's function, or a `functools.partial` of one.
            timeout_s: the limit of `observe` and `execute`.
            slow_timeout_s: the limit of everything else: building, homing, recovering.
        """
        self._make = make
        self._timeout_s, self._slow_timeout_s = timeout_s, slow_timeout_s
        self._process: mp.process.BaseProcess | None = None
        self._start()

    def observe(self) -> Observation:
        """What the robot sees now."""
        seen: Observation = self.call("observe")
        return seen

    def execute(self, action: Action) -> Action:
        """Move for one control step; the action really executed."""
        executed: Action = self.call("execute", action)
        return executed

    def home(self) -> None:
        """Go to the neutral pose."""
        self.call("home")

    def recover(self) -> None:
        """Recover the robot; where its process is dead or hangs, build it anew."""
        if self._process is None:
            self._start()
        else:
            self.call("recover")

    def close(self) -> None:
        """Release the robot and end its process."""
        if self._process is not None:
            try:
                self.call("close")
            except SoarError:
                pass
            finally:
                self._end()

    def call(self, method: str, *args: Any) -> Any:
        """Call any method of the robot over there, "robot.truth" for that of one it wraps.

        Raises what it raises, and RobotFault in time.
        """
        self.send(method, *args)
        return self.receive(method)

    def send(self, method: str, *args: Any) -> None:
        """Begin a call; `receive` ends it. So a fleet moves all its robots at the same time."""
        if self._process is None:
            raise RobotFault("the robot's process has ended; recover() starts it anew")
        try:
            self._pipe.send((method, args))
        except (BrokenPipeError, OSError) as error:
            self._end()
            raise RobotFault(f"the robot's process died before {method}()") from error

    def receive(self, method: str) -> Any:
        """The result of the call begun last."""
        quick = method in ("observe", "execute")
        limit = self._timeout_s if quick else self._slow_timeout_s
        try:
            if not self._pipe.poll(limit):
                self._end()
                raise RobotFault(f"the robot didn't return from {method}() within {limit:g} s")
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise RobotFault(f"the robot's process died in {method}()") from error
        if not kind:
            return value
        raise getattr(errors, kind, SoarError)(value)

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._make), daemon=True)
        self._process.start()
        theirs.close()
        self.period_s: float = self.receive("start")

    def _end(self) -> None:
        process, self._process = self._process, None
        self._pipe.close()
        if process is not None:
            process.kill()
            process.join()


class ProcessSimulator:
    """The simulated table under the `SafeRobot` of a ProcessRobot."""

    def __init__(self, robot: ProcessRobot) -> None:
        self._robot = robot

    def truth(self, instruction: str) -> bool:
        """Whether the task is done now."""
        done: bool = self._robot.call("robot.truth", instruction)
        return done

    def reset(self, seed: int) -> None:
        """Put everything somewhere on the table."""
        self._robot.call("robot.reset", seed)


def call_all(
    robots: Sequence[Robot], method: str, arguments: Sequence[tuple[Any, ...]] | None = None
) -> list[Any]:
    """Call one method on every robot, at the same time on those in processes of their own.

    What a robot returns stands at its place; what it raises stands there as the exception, unraised,
    so that one robot's fault doesn't hide what the others did.
    """
    arguments = arguments or [()] * len(robots)
    begun = [_begin(r, method, args) for r, args in zip(robots, arguments, strict=True)]
    return [
        _caught(r.receive, method) if isinstance(r, ProcessRobot) and b is None else b
        for r, b in zip(robots, begun, strict=True)
    ]


def _begin(robot: Robot, method: str, args: tuple[Any, ...]) -> Any:
    if isinstance(robot, ProcessRobot):
        return _caught(robot.send, method, *args)
    return _caught(getattr(robot, method), *args)


def _caught(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except SoarError as error:
        return error


def _serve(pipe: Connection, make: Callable[[], Robot]) -> None:
    """Answer calls until the pipe closes. Ctrl-C is the station's business, not the robot's."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    robot: Robot | None = None

    def start() -> float:
        nonlocal robot
        robot = make()
        return robot.period_s

    pipe.send(_attempt(start))
    while robot is not None:
        try:
            method, args = pipe.recv()
        except (EOFError, OSError):
            robot.close()
            return
        pipe.send(_attempt(lambda: attrgetter(method)(robot)(*args)))  # noqa: B023  called at once


def _attempt(function: Callable[..., Any], *args: Any) -> Reply:
    try:
        return "", function(*args)
    except SoarError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001  whatever a driver raises must reach the station
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "RobotFault", f"{type(error).__name__} at {last.filename}:{last.lineno}: {error}"
