"""Leases: each station of a store, and each robot of a machine, has one holder, also after a kill or a power failure.

The holder renews its lease. Another process can take it over once it has expired, or at once if the holder's process
on this machine has ended.
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
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from soar.errors import ConfigError
from soar.rollout.station_config import StationConfig
from soar.utils.files import Json, read_json, refresh_json

log = logging.getLogger(__name__)

DURATION_S = 60.0
"""Time in seconds after which a lease that isn't renewed expires."""


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
        ConfigError: another process holds it.
        FileError: it can't be written.
    """
    token = secrets.token_hex(8)
    with _locked(path):
        other = _read(path)
        if other and _holds(other):
            raise ConfigError(
                f"{what} is in use by process {other['pid']} on {other['host']}; end that one first"
            )
        _write(path, token, duration_s)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(duration_s / 6):
            with contextlib.suppress(OSError), _locked(path):
                if _read(path).get("token") == token:
                    _write(path, token, duration_s)
                elif not ended.is_set():
                    log.error("%s was taken over by another process", what)
                    on_lost()
                    return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError), _locked(path):
            if _read(path).get("token") == token:
                path.unlink()


def station_lease(store: Path, station: str) -> Path:
    """Return the file of a station's lease in a store."""
    return store / "stations" / station / "lease.json"


def robot_lease(config: StationConfig) -> Path:
    """Return the file of the lease of a station's robot on this machine: one for its function and options."""
    named = json.dumps([config.robot, dict(config.options)], sort_keys=True, default=str)
    name = hashlib.sha256(named.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"soar-robots-{os.getuid()}" / f"{name}.json"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from reading and writing a lease for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, Json]:
    """Return a lease; empty without one, or if it is damaged."""
    try:
        lease = read_json(path)
    except ConfigError:
        return {}
    keys = {"token", "host", "pid", "process", "expires_s"}
    return lease if isinstance(lease, dict) and keys <= lease.keys() else {}


def _write(path: Path, token: str, duration_s: float) -> None:
    pid = os.getpid()
    lease = {"token": token, "host": socket.gethostname(), "pid": pid, "process": _process(pid)}
    refresh_json(path, lease | {"expires_s": time.time() + duration_s})


def _holds(lease: dict[str, Json]) -> bool:
    """Whether a lease's holder still has it."""
    if float(lease["expires_s"]) < time.time():
        return False
    elsewhere = lease["host"] != socket.gethostname()
    return bool(elsewhere or lease["process"] == _process(lease["pid"]))


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
