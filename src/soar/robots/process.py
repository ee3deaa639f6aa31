"""Robots in separate processes, which may hang or crash without stopping the station."""

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
"""Class and message of an error, or "" and the result."""


class ProcessRobot:
    """A robot in another process, driven over a pipe.

    A call that doesn't return in time, or a process that dies, is a RobotFault; `recover()` then starts a new process.
    Several such robots move and render at the same time, on as many cores.
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
            make: builds the robot; picklable, such as a module's function or a `functools.partial` of one.
            timeout_s: time limit of `observe` and `execute` in seconds.
            slow_timeout_s: time limit of all other calls in seconds.
        """
        self._make = make
        self._timeout_s, self._slow_timeout_s = timeout_s, slow_timeout_s
        self._process: mp.process.BaseProcess | None = None
        self._start()

    def observe(self) -> Observation:
        """See `Robot.observe`."""
        observation: Observation = self.call("observe")
        return observation

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`."""
        executed: Action = self.call("execute", action)
        return executed

    def home(self) -> None:
        """See `Robot.home`."""
        self.call("home")

    def recover(self) -> None:
        """Recover the robot, or start a new process if the last one died or hung."""
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
        """Call a method of the robot in its process.

        Args:
            method: name, such as "observe", or "robot.truth" for a method of the wrapped robot.
            args: picklable arguments.

        Raises:
            SoarError: the robot raised it.
            RobotFault: the robot raised another exception, didn't return in time, or its process died.
        """
        self.send(method, *args)
        return self.receive(method)

    def send(self, method: str, *args: Any) -> None:
        """Begin a call that `receive` ends, so that several robots can work at the same time. See `call`."""
        if self._process is None:
            raise RobotFault("the robot's process has ended; recover() starts a new one")
        try:
            self._pipe.send((method, args))
        except (BrokenPipeError, OSError) as error:
            self._end()
            raise RobotFault(f"the robot's process died before {method}()") from error

    def receive(self, method: str) -> Any:
        """Return the result of the call that was begun last. See `call`."""
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
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_end, self._make), daemon=True)
        self._process.start()
        child_end.close()
        self.period_s: float = self.receive("start")

    def _end(self) -> None:
        process, self._process = self._process, None
        self._pipe.close()
        if process is not None:
            process.kill()
            process.join()


class ProcessSimulator:
    """The simulated table of a ProcessRobot that holds a `SafeRobot`."""

    def __init__(self, robot: ProcessRobot) -> None:
        self._robot = robot

    def truth(self, instruction: str) -> bool:
        """See `Simulator.truth`."""
        done: bool = self._robot.call("robot.truth", instruction)
        return done

    def reset(self, seed: int) -> None:
        """See `Simulator.reset`."""
        self._robot.call("robot.reset", seed)


def call_all(
    robots: Sequence[Robot], method: str, arguments: Sequence[tuple[Any, ...]] | None = None
) -> list[Any]:
    """Call a method of several robots, at the same time on those in separate processes.

    Args:
        robots: the robots.
        method: name of the method.
        arguments: arguments for each robot; none by default.

    Returns:
        For each robot its result, or the SoarError that it raised.
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
    """Answer calls until the pipe closes. Ctrl-C is left to the station's process."""
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
    except Exception as error:  # noqa: BLE001  a driver may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "RobotFault", f"{type(error).__name__} at {last.filename}:{last.lineno}: {error}"
