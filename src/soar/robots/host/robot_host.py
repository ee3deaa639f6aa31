"""Host of a robot: serves one robot to soar over a websocket, from any Python from 3.8 on.

This file needs no soar: copy it to the arm's machine, or into an environment whose pins exclude soar's.

    pip install numpy msgpack websockets
    python robot_host.py my_arm:make --options '{"port": "/dev/ttyUSB0"}'       any class with the five methods
    python robot_host.py lerobot --options '{"type": "so101_follower", "port": "/dev/ttyACM0"}'   with lerobot_arm.py
    SOAR_ROBOT_KEY=... python robot_host.py my_arm:make --bind 0.0.0.0 --port 8765

The robot is what `my_arm.make(**options)` returns: an object with `period_s`, `observe`, `execute`, `home`, `recover`
and `close` (docs/add-a-robot.md), or a LeRobot `Robot`. An optional `hold()` stops the arm at once; it may be called
from another thread while any other method runs. Without it the arm is held by an action without motion.
One client controls the arm, any number of others view it. The arm is held when the controlling client is silent for
three periods after an action, and when its connection is lost. A hold that fails is tried again; until one succeeds,
the arm is neither moved nor homed.

Wire: msgpack in binary messages; arrays as in openpi's clients. The host first sends {"protocol", "name", "period_s",
"contract", "methods", "role"}. Requests {"call", "args", "id"}; replies {"id", "value"} or {"id", "error": [class,
message]}. Path "/robot/v1" controls, "/robot/v1?view" views.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hmac
import importlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

PROTOCOL = 1
PATH = "/robot/v1"
KEY_VARIABLE = "SOAR_ROBOT_KEY"
"""Environment variable with the key that clients must present; none is needed without it."""
MOTIONS = ("execute", "home")
CONTROL = ("observe", *MOTIONS, "recover", "close")
OPTIONAL = ("hold", "truth", "reset")
"""Methods that a robot may have; `truth` and `reset` are a simulator's, whose time stands still between steps."""
WATCHDOG = 3.0
"""Number of control periods without an action after which the arm is held."""
RETRY_S, LAST_TRIES = 0.2, 10
"""Pause after a hold that failed [s], and the most attempts before the arm is closed."""
BESIDE = {"gym": "gym_robot.py", "lerobot": "lerobot_arm.py"}
"""Files beside this one that adapt other robots, by name."""
_SEEN = ("image", "state", "time_s", "other_images")
_NO_TURN = {"quaternion_xyzw": [3], "quaternion_wxyz": [0], "rotation_6d": [0, 4]}
"""Where the rotation that turns nothing has ones; it is zeros elsewhere, and in other conventions."""
_FAULTS = ("CameraFault", "RobotFault", "ConfigError")
"""Exceptions that keep their class on the wire, by name; all others become RobotFault."""


def pack(value: Any) -> bytes:
    """Encode a value of msgpack's types and numpy arrays. Raises TypeError: an array of objects or complex numbers."""
    return bytes(msgpack.packb(value, default=_pack_array))


def unpack(data: bytes) -> Any:
    """Decode a value; arrays are read-only views. Raises ValueError: it is damaged."""
    return msgpack.unpackb(data, object_hook=_unpack_array, strict_map_key=False)


def _pack_array(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        if isinstance(value, np.generic):
            return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
        data, dtype = value.tobytes(), value.dtype.str
        return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": value.shape}
    raise TypeError(f"can't send a {type(value).__name__}")


def _unpack_array(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in value and b"__npgeneric__" not in value:
        return value
    dtype: Any = np.dtype(value[b"dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"arrays of dtype {dtype} aren't decoded")
    if b"__npgeneric__" in value:
        return dtype.type(value[b"data"])
    return np.frombuffer(value[b"data"], dtype).reshape(value[b"shape"])


class ConfigError(Exception):
    """A setting isn't valid."""


def make_robot(name: str, options: dict[str, Any]) -> Any:
    """Build a robot: "package.module:function", or "gym" or "lerobot" with their files beside this one."""
    sys.path += [os.getcwd(), os.path.dirname(os.path.abspath(__file__))]
    module, _, function = name.partition(":")
    try:
        if name in BESIDE:
            return _beside(name).make(**options)
        robot = getattr(importlib.import_module(module), function)(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"{name!r} with options {options}: {error}") from error
    return _beside("lerobot").LeRobotArm(robot) if hasattr(robot, "send_action") else robot


def _beside(name: str) -> Any:
    """Import a file of this folder, whether or not that is a package. Raises ImportError: it isn't there."""
    module = os.path.splitext(BESIDE[name])[0]
    return importlib.import_module(f"{__package__}.{module}" if __package__ else module)


class Host:
    """A robot, its clients, and the watchdog. All of the robot's methods but `hold` run in the thread of `run`."""

    def __init__(self, make: Callable[[], Any], name: str, watchdog: float = WATCHDOG) -> None:
        """Build a robot by `make`, anew once a client has closed it. `watchdog`: as `WATCHDOG`, 0 for never."""
        self._make, self._name, self._watchdog = make, name, watchdog
        self._jobs: "queue.Queue[Callable[[], Any]]" = queue.Queue()
        self._controller: ServerConnection | None = None
        self._controlling = threading.Lock()
        self._newest: tuple[float, Any] = (-np.inf, None)
        self._deadline_s = np.inf
        """Time on the monotonic clock at which the arm is held unless an action comes before."""
        self._unheld = ""  # why the arm can't be held, if so
        self._last: np.ndarray | None = None
        self._ended, self._done = threading.Event(), threading.Event()
        self.robot: Any = make()
        self.period_s = float(self.robot.period_s)
        self.simulator = hasattr(self.robot, "truth") and hasattr(self.robot, "reset")
        """Whether it needs no watchdog, because its time stands still."""

    def run(self) -> None:
        """Call the robot's methods until `end`; then, or after any exception, hold and close it."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            while not self._ended.is_set():
                with contextlib.suppress(queue.Empty):
                    _attempt(self._jobs.get(timeout=0.2))
        finally:
            self._done.set()
            for _ in range(LAST_TRIES):
                if not self.hold():
                    break
                time.sleep(RETRY_S)
            if self.robot is not None:
                self.robot.close()

    def _watch(self) -> None:
        """Hold the arm when its time is up, whatever the robot's thread and the clients do."""
        while not self._done.wait(RETRY_S if self._unheld else 0.01):
            if time.monotonic() >= self._deadline_s or (self._unheld and self._jobs.empty()):
                self._hold_now()

    def end(self, after: Callable[[], Any] = lambda: None) -> None:
        """End `run` after the current call, once `after` returns."""
        after()
        self._ended.set()

    def hold(self) -> str:
        """Stop the arm where it is, gripper as it is; `_watch` tries a hold that fails again. Return why it failed."""
        self._deadline_s, before, kind, text = np.inf, self._unheld, "", ""
        if self.robot is not None and not self.simulator:
            kind, text = _attempt(getattr(self.robot, "hold", self._stand))
        self._unheld = f"the arm can't be held: {text}" if kind else ""
        if self._unheld != before:
            _attempt(sys.stderr.write, f"robot_host: {self._unheld or 'the arm is held'}\n")
        return self._unheld

    def serve_client(self, connection: ServerConnection) -> None:
        """Serve one client until its connection ends."""
        views = "?view" in connection.request.path  # type: ignore[union-attr]
        if not views and not self._take_control(connection):
            text = "another client controls this robot; end that one first, or view"
            connection.send(pack({"error": ["RobotFault", text]}))
            return
        try:
            self._greet(connection, views)
            for message in connection:
                self._handle(connection, unpack(message), views)  # type: ignore[arg-type]
        except (ConnectionClosed, ValueError, KeyError, TypeError):
            pass  # gone, or no client of a robot
        finally:
            with self._controlling:
                had_control = self._controller is connection
                self._controller = None if had_control else self._controller
            if had_control:
                self._hold_now()

    def _take_control(self, connection: ServerConnection) -> bool:
        """Whether no client, or only one that doesn't answer any more, has control."""
        other = self._controller
        if other is not None and _answers(other):
            return False
        with self._controlling:
            is_free = self._controller in (other, None)
            self._controller = connection if is_free else self._controller
        if is_free and other is not None:
            self._hold_now()
            _attempt(other.socket.shutdown, socket.SHUT_RDWR)  # also while it is being sent to
        return is_free

    def _hold_now(self) -> None:
        """Hold from another thread: at once if the driver can, else after its current call."""
        self._deadline_s = np.inf
        if hasattr(self.robot, "hold"):
            self.hold()
        else:
            self._jobs.put(self.hold)

    def _greet(self, connection: ServerConnection, views: bool) -> None:
        """Send what a client needs to know; build the robot anew if a client closed it."""
        built: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._jobs.put(lambda: built.put(_attempt(self._rebuild)))
        kind, text = built.get()
        if kind:
            connection.send(pack({"error": [kind, text]}))
            raise ValueError(text)
        methods = CONTROL + tuple(m for m in OPTIONAL if hasattr(self.robot, m))
        greeting = {"protocol": PROTOCOL, "name": self._name, "period_s": self.period_s}
        role = "viewer" if views else "controller"
        greeting.update({"contract": _contract(self.robot), "methods": methods, "role": role})
        connection.send(pack(greeting))

    def _rebuild(self) -> None:
        if self.robot is None:
            self.robot = self._make()

    def _handle(self, connection: ServerConnection, request: dict[str, Any], views: bool) -> None:
        """Answer one request, or leave it to the robot's thread."""
        call, args, number = request["call"], request.get("args", []), request["id"]
        if call == "hold":
            self._hold_now()
            _reply(connection, number, self._unheld or None, "RobotFault" if self._unheld else "")
        elif call == "time":
            _reply(connection, number, time.monotonic())
        elif views and call != "observe":
            _reply(connection, number, f"a viewer can't call {call}()", "RobotFault")
        elif views and time.monotonic() - self._newest[0] < self.period_s:
            _reply(connection, number, self._newest[1])
        elif call in CONTROL or (call in OPTIONAL and hasattr(self.robot, call)):
            self._jobs.put(lambda: self._answer(connection, call, args, number))
        else:
            _reply(connection, number, f"no method {call}()", "ConfigError")

    def _answer(self, connection: ServerConnection, call: str, args: Any, number: Any) -> None:
        """Call the robot and send the reply, unless the client has lost control since."""
        if call == "observe" or connection is self._controller:
            unheld = self.hold() if self._unheld and call in MOTIONS else ""
            kind, value = ("RobotFault", unheld) if unheld else _attempt(self._call, call, args)
            _reply(connection, number, value, kind)

    def _call(self, call: str, args: Any) -> Any:
        """Call the robot. A client that waits for anything but an observation isn't silent."""
        if call == "observe":
            return self._observe()
        robot, moved = self.robot, call == "execute" or self._deadline_s < np.inf
        if call == "execute":
            self._last, args = np.array(args[0]), (np.array(args[0]),)
        elif call in ("home", "close"):
            moved, self._last = False, None
        self._deadline_s, self.robot = np.inf, None if call == "close" else robot
        try:
            value = getattr(robot, call)(*args)
            self._last = None if call == "recover" else self._last
            return value
        finally:
            if moved and self._watchdog and not self.simulator:
                self._deadline_s = time.monotonic() + self._watchdog * self.period_s

    def _observe(self) -> dict[str, Any]:
        """Return an observation as a dict."""
        seen = self.robot.observe()
        get: Any = seen.get if isinstance(seen, dict) else lambda name: getattr(seen, name, None)
        value = {name: get(name) for name in _SEEN}
        value["other_images"] = dict(value["other_images"] or {})
        self._newest = time.monotonic(), value
        return value

    def _stand(self) -> None:
        """Hold an arm that has no `hold`, if it moved, by an action without motion that keeps the gripper."""
        if self._last is not None:
            meaning = (_contract(self.robot) or {}).get("action") or {}
            self.robot.execute(still(meaning, self._last))
            self._last = None


def _contract(robot: Any) -> Any:
    """Return a robot's contract as plain data, also where it declares soar's own."""
    contract: Any = getattr(robot, "contract", None)
    is_own = dataclasses.is_dataclass(contract) and not isinstance(contract, type)
    return dataclasses.asdict(contract) if is_own else contract


def still(meaning: dict[str, Any], last: np.ndarray) -> np.ndarray:
    """Return the action without motion after the last one: that one again if absolute, else zero with its gripper."""
    if meaning.get("reference", "delta") == "absolute":
        return last
    action = np.zeros(last.shape, np.float32)
    if not meaning.get("joints"):
        action[[3 + i for i in _NO_TURN.get(meaning.get("rotation", ""), [])]] = 1
    if "gripper" not in meaning or meaning["gripper"] is not None:
        action[-1] = last[-1]
    return action


def _reply(connection: ServerConnection, number: Any, value: Any, kind: str = "") -> None:
    """Send a value, or an error of a class. A thread sends it: a client that doesn't read keeps nobody waiting."""
    reply = {"id": number, "error": [kind, value]} if kind else {"id": number, "value": value}
    try:
        data = pack(reply)
    except Exception as error:  # noqa: BLE001  a driver may return anything
        text = f"returned what can't be sent: {error}"
        data = pack({"id": number, "error": ["RobotFault", text]})
    threading.Thread(target=_attempt, args=(connection.send, data), daemon=True).start()


def _answers(connection: ServerConnection) -> bool:
    """Whether a client answers within a second. A thread pings it: that waits, too, for one that doesn't read."""
    alive = threading.Event()

    def ping() -> None:
        if connection.ping().wait(1.0):
            alive.set()

    threading.Thread(target=_attempt, args=(ping,), daemon=True).start()
    return alive.wait(1.0)


def _attempt(function: Callable[..., Any], *args: Any) -> tuple[str, Any]:
    """Return "" and a function's result, or the class and message of its exception."""
    try:
        return "", function(*args)
    except BaseException as error:  # noqa: BLE001  a driver may raise anything, also an exit
        known = [c.__name__ for c in type(error).__mro__ if c.__name__ in _FAULTS]
        text = traceback.format_exception_only(type(error), error)[0].strip().partition(": ")[2]
        if known:
            return known[0], text
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "RobotFault", f"{type(error).__name__} at {last.filename}:{last.lineno}: {text}"


def listen(host: Host, bind: str, port: int, key: str = "") -> Server:
    """Accept clients in the background; port 0 takes any free one; with a key, only those that present it."""

    def authorize(connection: ServerConnection, request: Request) -> Response | None:
        given = request.headers.get("Authorization", "")
        if key and not hmac.compare_digest(given.encode(), f"Api-Key {key}".encode()):
            return connection.respond(401, "the key is missing or wrong\n")
        return None

    server = serve(
        host.serve_client, bind, port, process_request=authorize, compression=None, max_size=2**24
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(argv: list[str] | None = None) -> None:
    """Run the host until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(description="Serve a robot to soar over a websocket.")
    parser.add_argument("robot", help="package.module:function, lerobot, or gym")
    parser.add_argument("--options", default="{}", help="arguments of that function, as JSON")
    parser.add_argument("--port", type=int, default=8765, help="0 for any free one")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--watchdog", type=float, default=WATCHDOG, help="in periods; 0 for never")
    parser.add_argument("--until-eof", action="store_true", help="end when the input ends")
    args = parser.parse_args(argv)
    key = os.environ.get(KEY_VARIABLE, "")
    if args.bind not in ("127.0.0.1", "localhost", "::1") and not key:
        text = f"robot_host: at {args.bind} anybody could move the arm; set {KEY_VARIABLE}\n"
        parser.exit(2, text)
    try:
        options = json.loads(args.options)
        host = Host(lambda: make_robot(args.robot, options), args.robot, args.watchdog)
        server = listen(host, args.bind, args.port, key)
    except Exception as error:  # noqa: BLE001  a driver may raise anything; the port may be taken
        kind = "" if type(error).__name__ in _FAULTS else type(error).__name__ + ": "
        parser.exit(2, "robot_host: {}{}\n".format(kind, " ".join(str(error).split())))
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, lambda *_: host.end())
    if args.until_eof:
        threading.Thread(target=host.end, args=(sys.stdin.read,), daemon=True).start()
    print(json.dumps({"url": f"ws://{args.bind}:{server.socket.getsockname()[1]}"}), flush=True)
    host.run()
    os._exit(0)  # connections' threads may wait for clients


if __name__ == "__main__":
    main()
