"""Stations' files of a store in object storage, for people at other machines: copied there and back.

What a station shows goes there, and what people ask of it comes from there, within about two seconds. A station acts by
the files of its own machine alone: while the storage is away it goes on, and obeys what is asked at its machine. Where
people ask here and elsewhere at once, the station's machine goes before, and an emergency stop before its release. A
store in a folder, on a mount too, needs none of this.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeAlias

from soar.collection.lease import LEASE, holder
from soar.errors import ConfigError, FileError
from soar.robots.operation.guard import EMERGENCY, HEARTBEAT, RELEASED
from soar.rollout.station_config import check_station_name
from soar.utils.files import replace_file
from soar.utils.objects import ObjectPath, object_of, plain_tag
from soar.utils.threads import alongside

log = logging.getLogger(__name__)

STATUS, EVENTS, PICTURE = "status.json", "events.jsonl", "live.json"
"""A station's status, events and newest picture, in its folder."""
COMMAND, TASKS, WATCHED = "wish", "tasks.json", "watched"
"""What people ask of it: a command, other tasks, pictures."""
_SHOWN = (STATUS, EVENTS, LEASE, PICTURE)
_ASKED = (COMMAND, TASKS, RELEASED, EMERGENCY, HEARTBEAT, WATCHED)
_PERIOD_S, _WATCHED_PERIOD_S = 2.0, 0.5
"""Time between two looks, and the same while somebody watches [s]."""
_WATCHED_S = 4.0
"""Time after which a watching page asks again [s]."""
_LATEST_S = 10.0
"""Time for which files are fetched after the last `Watcher.touch` [s]."""
_LOCK, _UNDELIVERED = ".shared", ".undelivered"
"""Files in a station's folder: locked while it is served, and an emergency stop that isn't known to be there yet."""
_TRIES, _PAUSE_S = 20, 0.01
"""Attempts to lock it, as a `Watcher` locks it for moments, and the pause between them [s]."""
Stamp: TypeAlias = tuple[int, int] | None


class _Folder:
    """One station's folder on this machine, and the one there."""

    def __init__(self, folder: Path, there: ObjectPath) -> None:
        self.folder, self.there = folder, there
        self._known: dict[str, tuple[Stamp, str]] = {}
        """By name: the file here and the object there, as they were when they were the same."""

    def differs(self, name: str, tag: str) -> bool:
        """Whether the file here or the object there isn't what it was when they were the same."""
        return self._known.get(name) != (_stamp(self.folder / name), tag)

    def take(
        self, names: Sequence[str], tags: Mapping[str, str], *, yielding: bool = False
    ) -> None:
        """Take over what is there, including that a file is gone. Raises FileError.

        Args:
            names: names of the files.
            tags: tags of all that is there.
            yielding: leave files that have changed here, too, since they were the same.
        """
        for name in names:
            path, tag = self.folder / name, tags.get(name, "")
            try:
                data = (self.there / name).read_bytes() if tag else None
            except FileNotFoundError:
                data, tag = None, ""
            if yielding and self._goes_before(name, data):
                continue
            with self._changing() as may_change:
                if may_change:
                    self._known[name] = _replaced(path, data), tag

    @contextlib.contextmanager
    def _changing(self) -> Iterator[bool]:
        """Yield whether the files here may be changed."""
        yield True

    def _goes_before(self, name: str, data: bytes | None) -> bool:
        """Whether the file here goes before what is there: it has changed, and isn't a release of a newer stop."""
        stamp = _stamp(self.folder / name)
        releases = name == EMERGENCY and stamp is None and data is not None
        return stamp != self._known.get(name, (None, ""))[0] and not releases

    def give(self, names: Sequence[str]) -> None:
        """Write there what has changed here, including what is gone. Raises FileError."""
        for name in names:
            stamp = _stamp(self.folder / name)
            if stamp != self._known.get(name, (None, ""))[0]:
                data = None
                with contextlib.suppress(FileNotFoundError):
                    data = (self.folder / name).read_bytes()
                self._known[name] = stamp, _write(self.there / name, data)


class _Mirror(_Folder):
    """A station that runs on another machine, as far as anybody knows; one that begins here is left alone."""

    @contextlib.contextmanager
    def _changing(self) -> Iterator[bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("ab") as file:
            yield _lock(file, fcntl.LOCK_SH)


class _Station(_Folder):
    """A station that runs here."""

    def __init__(self, folder: Path, there: ObjectPath) -> None:
        super().__init__(folder, there)
        self._lock: IO[bytes] | None = None
        self._begun = False

    def look(self) -> bool:
        """Copy what has changed; return whether somebody watches. Raises FileError."""
        if not self._serves():
            return False
        tags, first = self.there.tags(), not self._begun
        if first:
            self._begin(tags)
        taken = [n for n in _ASKED if tags.get(n, "") != self._tag(n)]
        self.take(taken, tags, yielding=not first)  # at first, the files here may be old ones
        if WATCHED in taken:
            (self.folder.parent / WATCHED).write_text(str(time.time_ns()))
        self.give((*_SHOWN, *_ASKED))
        return WATCHED in tags and time.time() - _mtime(self.folder.parent / WATCHED) < _LATEST_S

    def close(self) -> None:
        """Let another process serve the folder."""
        if self._lock:
            self._lock.close()

    def _begin(self, tags: Mapping[str, str]) -> None:
        """Take over the events, and the lease that another machine may hold."""
        holds = holder(self.folder / LEASE)
        lease = [] if holds and holds[0] == socket.gethostname() else [LEASE]
        events = [] if (self.folder / EVENTS).exists() else [EVENTS]
        self.take([*lease, *events], tags)
        (self.folder / _UNDELIVERED).unlink(missing_ok=True)  # `look` gives the stop
        self._begun = True

    def _tag(self, name: str) -> str:
        return self._known.get(name, (None, ""))[1]

    def _serves(self) -> bool:
        """Whether this process serves the folder, for which only one can hold the lock."""
        if self._lock is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / _LOCK).open("ab")
            for _ in range(_TRIES):
                if _lock(file, fcntl.LOCK_EX):
                    self._lock = file
                    return True
                time.sleep(_PAUSE_S)
            file.close()
        return self._lock is not None


@contextlib.contextmanager
def shared(store: Path, stations: Sequence[str]) -> Iterator[None]:
    """Share the files of stations that run here; does nothing for a store in a folder."""
    place = object_of(store)
    if place is None:
        yield
        return
    folders = [_Station(store / "stations" / s, place / "stations" / s) for s in stations]
    away = False

    def look() -> float:
        nonlocal away
        try:
            watched = True in [folder.look() for folder in folders]
        except OSError as error:
            if not away:
                log.warning("other machines can't see or ask the stations here: %s", error)
            away, watched = True, False
        else:
            away = False
        return _WATCHED_PERIOD_S if watched else _PERIOD_S

    def run(ended: threading.Event) -> None:
        period_s = _WATCHED_PERIOD_S
        while not ended.wait(period_s):
            period_s = look()

    look()
    try:
        with alongside(run, "station sharing"):
            yield
    finally:
        look()
        for folder in folders:
            folder.close()


def deliver(folder: Path, name: str, text: str | None) -> None:
    """Give a person's file to a station that runs on another machine; does nothing for one that runs here.

    An emergency stop that doesn't get there, as the storage is away or this process is killed, is kept until a
    `Watcher` can deliver it.

    Args:
        folder: the station's folder on this machine.
        name: the file's name.
        text: its content; None to remove it.

    Raises:
        FileError: the storage can't be reached; at the station's machine the same can be asked.
    """
    place, undelivered = _waited_for(folder.parent.parent), folder / _UNDELIVERED
    if place is None:
        return
    if name == EMERGENCY and text is None:
        undelivered.unlink(missing_ok=True)
    if _is_served(folder):
        return
    if name == EMERGENCY and text is not None:
        with contextlib.suppress(OSError):  # a full disk keeps nobody from delivering it
            undelivered.write_text(text)
    _write(place / "stations" / folder.name / name, None if text is None else text.encode())
    if name == EMERGENCY:
        undelivered.unlink(missing_ok=True)


def fetch_stations(store: Path) -> None:
    """Bring the files of stations on other machines up to date. Raises FileError: the storage can't be reached."""
    Watcher(store).fetch()


class Watcher:
    """The files of stations on other machines, kept up to date by a thread for as long as somebody looks."""

    def __init__(self, store: Path) -> None:
        self._store, self._place = store, _waited_for(store)
        self._folders: dict[str, _Mirror] = {}
        self._touched_s = self._asked_s = -_LATEST_S
        self._thread: threading.Thread | None = None

    def touch(self) -> None:
        """Keep the files up to date for some seconds."""
        if self._place is None:
            return
        self._touched_s = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="stations", daemon=True)
            self._thread.start()

    def fetch(self, *, ask: bool = False) -> None:
        """Fetch what has changed. `ask`: ask for pictures, too. Raises FileError."""
        if self._place is None:
            return
        tags = (self._place / "stations").tags()
        names = {name.partition("/")[0] for name in tags if "/" in name}
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda name: self._fetch(name, tags, ask), sorted(names)):
                pass

    def _fetch(self, name: str, tags: Mapping[str, str], ask: bool) -> None:
        with contextlib.suppress(ConfigError):
            check_station_name(name)
            path = self._store / "stations" / name
            if _is_served(path) or self._place is None:
                return
            there = self._place / "stations" / name
            folder = self._folders.setdefault(name, _Mirror(path, there))
            its = {n.partition("/")[2]: t for n, t in tags.items() if n.startswith(f"{name}/")}
            if (path / _UNDELIVERED).exists() and (stop := path / EMERGENCY).exists():
                its[EMERGENCY] = _write(there / EMERGENCY, stop.read_bytes())
                (path / _UNDELIVERED).unlink(missing_ok=True)
            names = [n for n in (*_SHOWN, *_ASKED) if n != WATCHED]
            folder.take([n for n in names if folder.differs(n, its.get(n, ""))], its)
            if ask:
                (there / WATCHED).write_bytes(str(time.time_ns()).encode())

    def _run(self) -> None:
        while time.monotonic() - self._touched_s < _LATEST_S:
            started_s = time.monotonic()
            ask = started_s - self._asked_s > _WATCHED_S
            try:
                self.fetch(ask=ask)
                self._asked_s = started_s if ask else self._asked_s
            except FileError as error:
                log.warning("stations of other machines can't be seen: %s", error)
            took_s = time.monotonic() - started_s
            time.sleep(max(_WATCHED_PERIOD_S, 2 * took_s))


def _waited_for(store: Path) -> ObjectPath | None:
    """Return the counterpart of a store in object storage for what a person waits for; None for a store in a folder."""
    place = object_of(store)
    return place and replace(place, quick=True)


def _is_served(folder: Path) -> bool:
    """Whether a process of this machine serves a station's folder."""
    try:
        with (folder / _LOCK).open("rb") as file:
            return not _lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _lock(file: IO[bytes], kind: int) -> bool:
    """Lock a file unless somebody else has, and return whether it is locked."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _replaced(path: Path, data: bytes | None) -> Stamp:
    """Replace a file, or remove it for None, and return its stamp."""
    if data is None:
        path.unlink(missing_ok=True)
        return None
    with replace_file(path) as file:
        file.write(data)
        file.flush()
        return _stamp(file.fileno())  # a person may write another file right after


def _write(target: ObjectPath, data: bytes | None) -> str:
    """Write an object, or remove it for None, and return its tag. Raises FileError."""
    if data is None:
        target.unlink(missing_ok=True)
        return ""
    return plain_tag(target.write_bytes(data))


def _stamp(file: Path | int) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
