"""A robot in another Python on this machine, behind a host of its own: that of a station file with a `host`."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soar.errors import ConfigError, RobotFault
from soar.robots.host.client import RemoteRobot
from soar.robots.host.robot_host import KEY_VARIABLE

log = logging.getLogger(__name__)

HOST_FILE = Path(__file__).parent / "robot_host.py"
"""The host, which runs without soar."""
_NEEDED = ("numpy", "msgpack", "websockets")
"""Packages that the host needs."""
_RELEASE_S = 10.0
"""Time that a host gets to release the hardware, in seconds."""


class HostedRobot(RemoteRobot):
    """A robot in another Python of this machine, whose host this process starts, and which ends with it."""

    def __init__(
        self,
        command: Sequence[str],
        robot: str,
        options: Mapping[str, Any],
        *,
        folder: str | Path = ".",
        timeout_s: float = 5.0,
        slow_timeout_s: float = 120.0,
    ) -> None:
        """Start the host and connect.

        Args:
            command: Python interpreter, with arguments of its own if it needs any.
            robot: "gym", "lerobot", or "package.module:function" there.
            options: that function's keyword arguments.
            folder: where its module is looked for.
            timeout_s: time limit of `observe` and `execute` in seconds.
            slow_timeout_s: time limit of all other calls and of the start in seconds.

        Raises:
            ConfigError: the host can't be started, or the robot can't be built there.
        """
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            str(Path(command[0]).expanduser()),
            *command[1:],
            "-u",
            str(HOST_FILE),
            robot,
        ]
        self._command += ["--options", json.dumps(dict(options)), "--port", "0", "--until-eof"]
        self._folder, self._secret, self._limit_s = (
            Path(folder),
            secrets.token_hex(16),
            slow_timeout_s,
        )
        try:
            url = self._start()
            super().__init__(
                url, key=self._secret, timeout_s=timeout_s, slow_timeout_s=slow_timeout_s
            )
        except BaseException:
            self._end(_RELEASE_S)
            raise

    def recover(self) -> None:
        """Recover the robot, in a new host if the last one died or hung."""
        if self._connection is None:
            self._end(0.0)
            try:
                self._url = self._start()
            except ConfigError as error:
                raise RobotFault(str(error)) from error
        super().recover()

    def close(self) -> None:
        """Release the robot and end its host."""
        try:
            super().close()
        finally:
            self._end(_RELEASE_S)

    def _start(self) -> str:
        """Start the host and return its address. Raises ConfigError."""
        environment = {**os.environ, KEY_VARIABLE: self._secret}
        environment.pop("PYTHONSAFEPATH", None)
        if sys.platform == "linux" and "DISPLAY" not in environment:
            environment.setdefault("MUJOCO_GL", "egl")  # MuJoCo renders without a screen
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self._folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ConfigError(
                f"host: {self._command[0]} can't be started: {error.strerror}"
            ) from error
        lines: deque[str] = deque(maxlen=50)
        announced = threading.Event()
        found: list[str] = []
        process = self._process

        def read(stream: Any, is_output: bool) -> None:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                if is_output and not found and line.startswith('{"url"'):
                    found.append(json.loads(line)["url"])
                    announced.set()
                else:
                    lines.append(line)
                    is_said = bool(found) and line.startswith("robot_host: ")
                    log.log(logging.WARNING if is_said else logging.DEBUG, "host: %s", line)
            if not is_output:
                announced.set()

        readers = [(process.stdout, True), (process.stderr, False)]
        for reader in readers:
            threading.Thread(target=read, args=reader, daemon=True).start()
        announced.wait(self._limit_s)
        if not found:
            self._end(0.0)
            said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            if any(f"No module named '{name}'" in said for name in _NEEDED):
                said += f"; install there: {', '.join(_NEEDED)}"
            raise ConfigError(f"host {self._command[0]}: {said.removeprefix('robot_host: ')}")
        return found[0]

    def _end(self, wait_s: float) -> None:
        """End the host. `wait_s`: time to release the hardware, in seconds; 0 kills one that hangs or died."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
