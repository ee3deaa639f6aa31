"""Client of a robot's host: the robot of a station file with `robot: remote`."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from typing import Any

from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.sync.client import ClientConnection, connect

from soar import errors
from soar.contract.contract import Contract
from soar.errors import ConfigError, RobotFault, SoarError, text_of
from soar.robots.host.robot_host import PATH, PROTOCOL, pack, unpack
from soar.types import Action, Observation
from soar.utils.addresses import is_socket_url
from soar.utils.config import from_plain

log = logging.getLogger(__name__)

_LARGEST_MESSAGE = 2**28
"""Most bytes of a host's message, which has the images of all cameras."""
_OPEN_S = 5.0
"""Time limit of a connection's opening in seconds."""
_CLOCK_CALLS = 5
"""Number of calls that compare the host's clock with this one's."""


class RemoteRobot:
    """A robot behind a host, driven over a websocket.

    A call without a reply in time, or a lost connection, is a RobotFault; `recover()` then connects anew. The host
    holds the arm meanwhile.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        view: bool = False,
        timeout_s: float = 5.0,
        slow_timeout_s: float = 120.0,
    ) -> None:
        """Connect.

        Args:
            url: address of the host, such as ws://arm1:8765.
            key: the host's key; "" for a host without one.
            view: only observe and hold the robot, alongside the client that controls it.
            timeout_s: time limit of `observe` and `execute` in seconds.
            slow_timeout_s: time limit of all other calls in seconds.

        Raises:
            ConfigError: no host answers at this address, or it speaks another version of the protocol.
            RobotFault: another client controls the robot.
        """
        if not is_socket_url(url):
            raise ConfigError(f"url '{url:.80}' names no robot host; valid: ws://HOST:8765")
        self._url, self._key, self._path = url, key, PATH + "?view" * view
        self._timeout_s, self._slow_timeout_s = timeout_s, slow_timeout_s
        self._numbers = itertools.count()
        self._connection: ClientConnection | None = None
        self._calling = threading.RLock()
        try:
            self._connect()
        except (OSError, WebSocketException) as error:
            raise ConfigError(
                f"no robot host answers at {url}; start one there: {_reason(error)}"
            ) from error

    def observe(self) -> Observation:
        """See `Robot.observe`."""
        value = self.call("observe")
        if not isinstance(value, dict) or not {"image", "state", "time_s"} <= value.keys():
            raise RobotFault(f"{self.name}: the host sent no observation")
        others = value.get("other_images") or {}
        return Observation(value["image"], value["state"], value["time_s"], others)

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`."""
        executed: Action = self.call("execute", action)
        return executed

    def home(self) -> None:
        """See `Robot.home`."""
        self.call("home")

    def hold(self) -> None:
        """Stop the arm at once, from any thread. While another call runs, that one logs a hold that fails.

        Raises RobotFault: it failed. A host that is reached tries again by itself.
        """
        if self._calling.acquire(blocking=False):
            try:
                self.call("hold")
            finally:
                self._calling.release()
        else:
            self._send("hold")

    def truth(self, instruction: str) -> bool:
        """See `Simulator.truth`; for a hosted simulator."""
        return bool(self.call("truth", instruction))

    def reset(self, seed: int) -> None:
        """See `Simulator.reset`; for a hosted simulator."""
        self.call("reset", seed)

    def recover(self) -> None:
        """Recover the robot, after a lost connection over a new one."""
        if self._connection is None:
            try:
                self._connect()
            except (OSError, WebSocketException) as error:
                raise RobotFault(f"no robot host answers: {_reason(error)}") from error
        self.call("recover")

    def close(self) -> None:
        """Release the robot; its host stays for the next client."""
        if self._connection is not None:
            try:
                self.call("close")
            except SoarError:
                pass
            finally:
                self._drop()

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the hosted robot.

        Raises:
            SoarError: the robot raised it.
            RobotFault: the robot raised another exception, didn't return in time, or the connection is lost.
        """
        quick = method in ("observe", "execute", "time", "hold")
        limit_s = self._timeout_s if quick else self._slow_timeout_s
        with self._calling:
            number, end = self._send(method, *args), time.monotonic() + limit_s
            while (reply := self._receive(method, end, limit_s)).get("id") != number:
                if "error" in reply:  # that of `hold`, or of a call that a signal cut off
                    log.error("%s: %s", self.name, reply["error"])
        if "error" not in reply:
            return reply.get("value")
        kind, text = reply["error"]
        fault = getattr(errors, str(kind), RobotFault)
        raise fault(str(text)) if issubclass(fault, SoarError) else RobotFault(str(text))

    def _send(self, method: str, *args: Any) -> int:
        connection, number = self._connection, next(self._numbers)
        if connection is None:
            raise RobotFault("the robot's host is disconnected; recover() connects anew")
        try:
            connection.send(pack({"call": method, "args": args, "id": number}))
        except (OSError, WebSocketException) as error:
            self._drop()
            raise RobotFault(
                f"lost the robot's host before {method}(): {_reason(error)}"
            ) from error
        return number

    def _receive(self, method: str, end: float, limit_s: float) -> dict[str, Any]:
        assert self._connection is not None
        try:
            reply = unpack(self._connection.recv(max(0.0, end - time.monotonic())))  # type: ignore[arg-type]
        except TimeoutError as error:
            self._drop()
            raise RobotFault(
                f"the robot didn't return from {method}() within {limit_s:g} s"
            ) from error
        except (OSError, WebSocketException) as error:
            self._drop()
            raise RobotFault(f"lost the robot's host in {method}(): {_reason(error)}") from error
        except Exception as error:  # msgpack and numpy raise many kinds for damaged data
            self._drop()
            raise RobotFault(
                f"the host sent damaged data in {method}(): {text_of(error)}"
            ) from error
        if not isinstance(reply, dict):
            raise RobotFault(f"the host sent no reply in {method}()")
        return reply

    def _connect(self) -> None:
        """Connect and read the host's greeting. Raises OSError, WebSocketException, SoarError."""
        headers = {"Authorization": f"Api-Key {self._key}"} if self._key else None
        opening = connect(
            self._url.rstrip("/") + self._path,
            additional_headers=headers,
            compression=None,
            max_size=_LARGEST_MESSAGE,
            open_timeout=_OPEN_S,
            close_timeout=1.0,
        )
        self._connection = opening.__enter__()
        try:
            self._read_greeting()
        except BaseException:  # else the host keeps this client in control of the arm
            self._drop()
            raise

    def _read_greeting(self) -> None:
        """Take over what the host says of its robot. Raises SoarError."""
        limit_s = self._slow_timeout_s
        greeting = self._receive("connect", time.monotonic() + limit_s, limit_s)
        if "error" in greeting:
            raise RobotFault(f"{self._url}: {greeting['error'][1]}")
        if greeting.get("protocol") != PROTOCOL:
            raise ConfigError(
                f"{self._url} speaks version {greeting.get('protocol')} of the robot wire; valid: {PROTOCOL}"
            )
        try:
            self.name = str(greeting["name"])
            self.period_s = float(greeting["period_s"])
            self.methods = frozenset(greeting["methods"])
            """Methods that the hosted robot has."""
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{self._url} isn't the host of a robot: {error!r} in its greeting"
            ) from error
        self.contract = _contract(greeting.get("contract"), self._url)
        """Meaning of the robot's numbers; None if the host declares none."""
        self.clock_offset_s = self._clock_offset()
        """Time on the host's clock at zero of this machine's monotonic clock, in seconds."""

    def _clock_offset(self) -> float:
        measured = []
        for _ in range(_CLOCK_CALLS):
            before = time.monotonic()
            there = float(self.call("time"))
            after = time.monotonic()
            measured.append((after - before, there - (before + after) / 2))
        return min(measured)[1]

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:  # its closing handshake waits for a host that may be gone
            threading.Thread(target=connection.close, daemon=True).start()


def connect_robot(
    *, url: str, key_variable: str = "", timeout_s: float = 5.0, slow_timeout_s: float = 120.0
) -> RemoteRobot:
    """Build the robot of a station file with `robot: remote`.

    Args:
        url: address of the host, such as ws://arm1:8765.
        key_variable: environment variable with the host's key; "" for a host without one.
        timeout_s: time limit of `observe` and `execute` in seconds.
        slow_timeout_s: time limit of all other calls in seconds.
    """
    if key_variable and key_variable not in os.environ:
        raise ConfigError(f"the environment has no {key_variable}, which holds the host's key")
    key = os.environ[key_variable] if key_variable else ""
    return RemoteRobot(url, key=key, timeout_s=timeout_s, slow_timeout_s=slow_timeout_s)


def _contract(value: Any, url: str) -> Contract | None:
    return None if value is None else from_plain(Contract, value, f"contract of {url}")


def _reason(error: Exception) -> str:
    """Describe why a connection failed, in a few words."""
    if isinstance(error, InvalidHandshake) and "401" in str(error):
        return "the key is missing or wrong"
    return " ".join(str(error).split()) or type(error).__name__
