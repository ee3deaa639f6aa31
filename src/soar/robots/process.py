"""Robots in separate processes, which may hang or crash without stopping the station.

Signals are left to the station's process: a robot's process ends after `close`, or when the station's process is gone,
and releases the hardware in both cases.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from soar import errors
from soar.contract.compare import contract_of, declares_contract
from soar.contract.contract import Contract
from soar.errors import RobotFault, SoarError, described
from soar.interfaces import Robot
from soar.robots.converted import ConvertedRobot
from soar.robots.host.client import RemoteRobot
from soar.robots.ik import PoseRobot
from soar.robots.operation.guard import GuardedRobot
from soar.robots.safety import SafeRobot
from soar.types import Action, Observation
from soar.utils.processes import start_resource_tracker
from soar.utils.signals import STOP_SIGNALS, blocked

Reply = tuple[str, Any]
"""Class and message of an error, or "" and the result."""
_RELEASE_S = 10.0
"""Time that an abandoned process gets to release the hardware, in seconds."""
_WATCH_S = 1.0
"""Interval in which a robot's process looks whether the station's process is still there, in seconds."""


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
        self._call = 0
        self.period_s: float
        self.contract: Contract | None
        self.declares_contract: bool
        self.is_simulator: bool
        """Whether it holds a simulator: `ProcessSimulator`."""
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
        """Release the robot, after the call in progress, and end its process."""
        if self._process is not None:
            try:
                self.call("close")
            except SoarError:
                pass
            finally:  # also if a signal cut this call off
                self._end(_RELEASE_S)

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the robot in its process.

        Args:
            method: name, such as "observe", or "simulator.truth" for a method of the simulator that it wraps.
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
        self._call += 1
        try:
            self._pipe.send((self._call, method, args))
        except (BrokenPipeError, OSError) as error:
            self._end()
            raise RobotFault(f"the robot's process died before {method}()") from error

    def receive(self, method: str) -> Any:
        """Return the result of the call that was begun last; replies of calls that a signal cut off are dropped."""
        quick = method in ("observe", "execute")
        limit = self._timeout_s if quick else self._slow_timeout_s
        end = time.monotonic() + limit
        number = -1
        try:
            while number != self._call:
                if not self._pipe.poll(max(0.0, end - time.monotonic())):
                    self._end()
                    raise RobotFault(f"the robot didn't return from {method}() within {limit:g} s")
                number, kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise RobotFault(f"the robot's process died in {method}()") from error
        if not kind:
            return value
        raise getattr(errors, kind)(value)

    def _start(self) -> None:
        context = mp.get_context("spawn")
        start_resource_tracker()
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child_end, self._make, self._call), daemon=True
        )
        with blocked():  # until the child ignores them
            self._process.start()
            self._finalize = Finalize(self, _end, (self._process, self._pipe), exitpriority=10)
        child_end.close()
        try:
            (self.period_s, self.contract, self.declares_contract, self.is_simulator) = (
                self.receive("start")
            )
        except BaseException:
            self._end(_RELEASE_S)
            raise

    def _end(self, wait_s: float = 0.0) -> None:
        """End the process. `wait_s`: time to release the hardware, in seconds; 0 kills one that hangs or died."""
        process, self._process = self._process, None
        if process is not None:
            try:
                _end(process, self._pipe, wait_s)
            finally:
                self._finalize.cancel()


def _end(process: mp.process.BaseProcess, pipe: Connection, wait_s: float = _RELEASE_S) -> None:
    pipe.close()
    try:
        process.join(wait_s)
    finally:
        process.kill()
        process.join()


class ProcessSimulator:
    """The simulated table of a ProcessRobot that holds a simulator."""

    def __init__(self, robot: ProcessRobot) -> None:
        self._robot = robot

    def truth(self, instruction: str) -> bool:
        """See `Simulator.truth`."""
        done: bool = self._robot.call("simulator.truth", instruction)
        return done

    def reset(self, seed: int) -> None:
        """See `Simulator.reset`."""
        self._robot.call("simulator.reset", seed)


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


def _serve(pipe: Connection, make: Callable[[], Robot], number: int) -> None:
    """Answer calls until `close`, or until the station's process is gone, after which the robot is closed.

    Args:
        pipe: receives a call's number, method and arguments, and sends the number and the reply.
        make: builds the robot.
        number: number of the reply to building it.
    """
    # A handler, unlike SIG_IGN, isn't inherited by programs that a driver starts.
    for each in STOP_SIGNALS:
        signal.signal(each, lambda *_: None)
        signal.siginterrupt(each, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    parent, robot = os.getppid(), None

    def start() -> tuple[float, Contract | None, bool, bool]:
        nonlocal robot
        robot = make()
        is_simulator = simulator_in(robot) is not None
        return robot.period_s, contract_of(robot), declares_contract(robot), is_simulator

    method, reply = "start", _attempt(start)
    try:
        while robot is not None:
            _send(pipe, number, reply)
            if method == "close":
                return
            while not pipe.poll(_WATCH_S):
                if os.getppid() != parent:
                    raise EOFError
            number, method, args = pipe.recv()
            reply = _attempt(_call, robot, method, args)
        _send(pipe, number, reply)
    except (EOFError, OSError):
        if robot is not None and method != "close":
            robot.close()


def _call(robot: Robot, method: str, args: Sequence[Any]) -> Any:
    owner, _, name = method.rpartition(".")
    return getattr(simulator_in(robot) if owner else robot, name)(*args)


def simulator_in(robot: Any) -> Any:
    """Return the simulator, with `truth` and `reset`, inside the package's wrappers of a robot; None if it is none."""
    while isinstance(robot, SafeRobot | GuardedRobot | ConvertedRobot | PoseRobot):
        robot = robot.robot
    if isinstance(robot, RemoteRobot):
        return robot if {"truth", "reset"} <= robot.methods else None
    return robot if hasattr(robot, "truth") and hasattr(robot, "reset") else None


def _send(pipe: Connection, number: int, reply: Reply) -> None:
    """Send a reply, or a fault in place of one that can't be sent. Raises OSError: the station's process is gone."""
    try:
        pipe.send((number, *reply))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  pickling a driver's values may raise anything
        pipe.send((number, "RobotFault", f"a value that can't be sent: {error}"))


def _attempt(function: Callable[..., Any], *args: Any) -> Reply:
    try:
        return "", function(*args)
    except SoarError as error:
        return _known(type(error)), str(error)
    except Exception as error:  # noqa: BLE001  a driver may raise anything
        return "RobotFault", described(error)


def _known(kind: type[SoarError]) -> str:
    """Name the nearest class of `soar.errors`: a driver may derive its own."""
    known = (k.__name__ for k in kind.__mro__ if getattr(errors, k.__name__, None) is k)
    return str(next(known))
