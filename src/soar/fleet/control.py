"""Commands to a fleet that runs in other processes: what it does, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from soar.collection.lease import holder
from soar.collection.sharing import fetch_stations
from soar.collection.status import StatusFolder, request_all
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.fleet.cluster import Cluster
from soar.fleet.config import FleetConfig

_POLL_S = 0.5
_END_S = 60.0
"""Time in seconds in which the processes of a fleet end."""


def engine_lines(config: FleetConfig) -> list[str]:
    """Describe the engine's parts, one a line. Raises SoarError: the cluster can't be reached."""
    runs = [f"runs as process {pid} on {host}" for host, pid in _holders(config).values()]
    lines = [f"{config.engine}: {', '.join(runs) or 'no `soar fleet up` is running'}"]
    if config.engine == "ray":
        reports = _cluster(config).reports()
        lines += [f"{name}: {text or 'does not answer now'}" for name, text in reports.items()]
    return lines


def drain(config: FleetConfig, where: str = "") -> Iterator[str]:
    """Stop all stations after their running episode, and wait; then end what Ray still runs of the fleet.

    Stations that are only starting are stopped as soon as they have begun.

    Args:
        config: the fleet, or its part at one place.
        where: that place; empty for all.

    Yields:
        One line for each station that ends.
    """
    names = [s.station.name for s in config.stations]
    cluster = _cluster(config) if config.engine == "ray" else None
    working = cluster.working if cluster else partial(_working, config.store)
    waiting = working(names)
    while waiting or _holders(config, where):
        folders = [StatusFolder(config.store, name) for name in waiting]
        # also where it was begun anew meanwhile
        request_all([f for f in folders if f.command() != "stop"], "stop")
        if cluster:
            cluster.stop(waiting)
        time.sleep(_POLL_S)
        still = working(names)
        for name in waiting:
            if name not in still:
                yield f"{name}: ended"
        waiting = still
    if cluster:
        cluster.down()
    yield "drained"


def down(config: FleetConfig, where: str = "") -> list[str]:
    """End a fleet at once.

    Args:
        config: the fleet.
        where: end only the embedded engine's part at this place; empty for all.

    Returns:
        What was ended.

    Raises:
        ConfigError: the embedded engine's fleet runs on another machine.
    """
    ended = _cluster(config).down() if config.engine == "ray" else []
    for lease, (host, pid) in _holders(config, where).items():
        if host == socket.gethostname():
            _end(lease, pid)
            ended.append(f"process {pid}")
        elif config.engine == "embedded":
            raise ConfigError(f"the fleet of {config.store} runs on {host}; end it there")
    return ended


def _cluster(config: FleetConfig) -> Cluster:
    return Cluster(config, open_store(config.store, read_only=True).identity)


def _holders(config: FleetConfig, where: str = "") -> dict[Path, tuple[str, int]]:
    """Return host and process of each `soar fleet up` of this store, or of that at one place, by its lease."""
    leases = sorted((config.store / "fleet").glob("*.json"))
    chosen = [path for path in leases if where in ("", path.stem)]
    return {path: found for path in chosen if (found := holder(path))}


def _working(store: Path, names: Sequence[str]) -> list[str]:
    """Return the stations that processes run."""
    fetch_stations(store)
    found = []
    for name in names:
        with contextlib.suppress(ConfigError):  # it has no status yet
            status = StatusFolder(store, name).status()
            if status.activity not in ("stopped", "broken") and StatusFolder(store, name).runs():
                found.append(name)
    return found


def _end(lease: Path, pid: int) -> None:
    """End a process: a second signal drops the running episodes; if it doesn't obey, it is killed."""
    for _ in range(2):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        time.sleep(_POLL_S)
    until = time.monotonic() + _END_S
    while holder(lease) and time.monotonic() < until:
        time.sleep(_POLL_S)
    if holder(lease):
        os.kill(pid, signal.SIGKILL)
