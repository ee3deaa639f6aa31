"""Leases: each station of a store, and each robot of a machine, has one holder, also after a kill or a power failure.

The holder of a station's lease renews it. Another process can take it over once it has expired, or at once if the
holder's process on this machine has ended. A robot's holder has an address of the kernel (an abstract Unix socket),
which all users of the machine share and which goes with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from soar.errors import ConfigError
from soar.rollout.station_config import StationConfig
from soar.utils.config import from_plain
from soar.utils.files import read_json, refresh_json
from soar.utils.threads import alongside

log = logging.getLogger(__name__)


class InUse(ConfigError):
    """Another process holds the lease."""


LEASE = "lease.json"
"""A station's lease, in its folder."""
DURATION_S = 60.0
"""Time in seconds after which a lease that isn't renewed expires."""
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of the other end of a socket, as Linux tells them."""


@contextlib.contextmanager
def held(
    path: Path, what: str, on_lost: Callable[[], None], duration_s: float = DURATION_S
) -> Iterator[None]:
    """Hold a lease.

    Args:
        path: file of the lease.
        what: what it is for, for the message.
        on_lost: called if another process took it over because it had expired.
        duration_s: time after which it expires without renewal.

    Raises:
        InUse: another process holds it.
        FileError: it can't be written.
    """
    token = secrets.token_hex(8)
    with _locked(path):
        other = _read(path)
        if other and other.holds():
            raise InUse(
                f"{what} is in use by process {other.pid} on {other.host}; end that one first"
            )
        _write(path, token, duration_s)

    def renew(ended: threading.Event) -> None:
        while not ended.wait(duration_s / 6):
            if not path.parent.exists():
                continue  # the store is away; whoever else sees it may take the lease over
            with contextlib.suppress(OSError), _locked(path):
                if _is_of(path, token) or not path.exists():
                    _write(path, token, duration_s)
                elif not ended.is_set():
                    log.error("%s was taken over by another process", what)
                    on_lost()
                    return

    try:
        with alongside(renew, "lease"):
            yield
    finally:
        with contextlib.suppress(OSError), _locked(path):
            if _is_of(path, token):
                path.unlink()


@contextlib.contextmanager
def station_held(config: StationConfig, store: Path, on_lost: Callable[[], None]) -> Iterator[None]:
    """Hold the leases of a station of a store and, unless it is simulated, of its robot. See `held`."""
    with contextlib.ExitStack() as stack:
        lease = station_lease(store, config.name)
        stack.enter_context(held(lease, f"station '{config.name}' of {store}", on_lost))
        stack.enter_context(robot_held(config, on_lost))
        yield


def holder(path: Path) -> tuple[str, int] | None:
    """Return the host and process that hold a lease; None if nobody does."""
    lease = _read(path)
    return (lease.host, lease.pid) if lease and lease.holds() else None


def station_lease(store: Path, station: str) -> Path:
    """Return the file of a station's lease in a store."""
    return store / "stations" / station / LEASE


@contextlib.contextmanager
def robot_held(config: StationConfig, on_lost: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the robot of a station, which its function and options name; nothing to do for a simulated one.

    Outside Linux other users of the machine aren't kept from it.

    Args:
        config: the station.
        on_lost: as for `held`.

    Raises:
        InUse: another process holds it.
    """
    named = json.dumps([config.robot, dict(config.options)], sort_keys=True, default=str)
    name = hashlib.sha256(named.encode()).hexdigest()[:16]
    what = f"the robot of station '{config.name}'"
    if config.simulated:
        yield
    elif sys.platform == "linux":
        with socket.socket(socket.AF_UNIX) as own:
            try:
                own.bind(address := f"\0soar-robot-{name}")
            except OSError:
                raise InUse(
                    f"{what} is in use by {_listener(address)}; end that one first"
                ) from None
            own.listen()
            yield
    else:
        place = Path(tempfile.gettempdir()) / f"soar-robots-{os.getuid()}" / f"{name}.json"
        with held(place, what, on_lost):
            yield


def _listener(address: str) -> str:
    """Describe the process that has a Unix socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(1.0)
        try:
            caller.connect(address)
            found = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return "another process of this machine"
    pid, user, _ = _CREDENTIALS.unpack(found)
    return f"process {pid}" + (f" of user {user}" if user != os.getuid() else "")


def is_held(path: Path) -> bool:
    """Return whether a process holds a lease: of this machine, or of another one that renewed it lately."""
    return holder(path) is not None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from reading and writing a lease for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Lease:
    """Contents of a lease's file."""

    token: str
    host: str
    pid: Annotated[int, Gt(0), Lt(2**31)]
    process: str
    """Start of the process, which tells it from later ones with its id."""
    expires_s: Annotated[float, Ge(0)]
    """Unix time."""

    def holds(self) -> bool:
        """Return whether the holder still has it."""
        if self.expires_s < time.time():
            return False
        return self.host != socket.gethostname() or self.process == _process(self.pid)


def _read(path: Path) -> _Lease | None:
    """Return a lease; None without one, or if it is damaged."""
    try:
        return from_plain(_Lease, read_json(path), path)
    except ConfigError:
        return None


def _is_of(path: Path, token: str) -> bool:
    """Return whether a lease has this token."""
    lease = _read(path)
    return lease is not None and lease.token == token


def _write(path: Path, token: str, duration_s: float) -> None:
    pid, expires_s = os.getpid(), time.time() + duration_s
    refresh_json(path, asdict(_Lease(token, socket.gethostname(), pid, _process(pid), expires_s)))


def _process(pid: int) -> str:
    """Return what tells a process from later ones with its id; empty if it has ended, or "running" where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "running"
    fields = text[text.rindex(")") + 2 :].split()
    return "" if fields[0] in "ZX" else fields[19]  # state; start time
