"""Status, events and commands of each station, as files beside the store.

    <store>/stations/<name>/status.json    current status, rewritten after every episode
    <store>/stations/<name>/events.jsonl   faults, dropped episodes and missing objects, appended
    <store>/stations/<name>/wish           command "pause" or "stop"; absent for "run"
    <store>/stations/<name>/tasks.json     a person's list of tasks, in place of the station file's; absent without one
    <store>/stations/<name>/emergency      emergency stop, which holds the arm until "release"
    <store>/stations/<name>/released       between "release" and "run" or "continue", the arm is still held
    <store>/stations/<name>/heartbeat      changes with every heartbeat of the operator

Any process that sees the store's folder can read and write them; those of a store in object storage are copied between
machines (`soar.collection.sharing`). A restart doesn't need them.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Lt

from soar.collection.lease import LEASE, is_held
from soar.collection.sharing import COMMAND, EVENTS, STATUS, TASKS, deliver
from soar.errors import ConfigError, FileError, SoarError, text_of
from soar.robots.operation.guard import (
    EMERGENCY,
    HEARTBEAT,
    RELEASED,
    beat,
    is_stopped,
    stop_motion,
)
from soar.rollout.station_config import check_station_name
from soar.utils.config import from_plain
from soar.utils.files import (
    Json,
    append_lines,
    read_json,
    read_lines,
    read_text,
    refresh_json,
    write_json,
    writing,
)
from soar.utils.notices import NoticeChannel, Notices
from soar.utils.progress import printable

log = logging.getLogger(__name__)

Activity: TypeAlias = Literal[
    "starting", "collecting", "evaluating", "waiting", "paused", "held", "stopped", "broken"
]
Command: TypeAlias = Literal["run", "pause", "stop", "emergency", "release", "continue"]
EventKind: TypeAlias = Literal[
    "robot fault",
    "camera fault",
    "model down",
    "bad output",
    "refused",
    "store",
    "missing",
    "stuck",
    "back",
    "crash",
    "broken",
    "held",
    "tasks",
]
UnixTime: TypeAlias = Annotated[float, Ge(0), Lt(1e11)]
_MOST_UNWRITTEN = 1000
"""Number of events that are kept in memory while the disk is full."""


@dataclass(frozen=True)
class StationStatus:
    """Status of a station at `updated_s`."""

    station: str
    scene: str
    activity: Activity
    started_s: UnixTime
    """Unix time at which its process began to collect."""
    updated_s: UnixTime
    """Unix time of this status."""
    pid: Annotated[int, Gt(0), Lt(2**31)]
    """Id of its process."""
    doing: str = ""
    """The running task, or what the station is waiting for."""
    episodes: int = 0
    """Number of episodes stored since `started_s`."""
    dropped: int = 0
    """Number of episodes broken off since then."""
    faults: int = 0
    """Number of faults since then."""
    missing: tuple[str, ...] = ()
    """Names of objects that a person should put back."""
    duty_cycle: float | None = None
    """Share of time in which the arm moved; None where time waits for the robot."""
    late_ms: float | None = None
    """Mean lateness of a control step in milliseconds."""
    tasks: tuple[str, ...] = ()
    """Instructions among which it chooses."""


class StatusFolder:
    """One station's folder."""

    def __init__(
        self, store: str | Path, station: str, channels: Sequence[NoticeChannel] = ()
    ) -> None:
        """Choose the folder.

        Args:
            store: folder of the store.
            station: name of the station.
            channels: ways to tell a person of events that need one.

        Raises:
            ConfigError: the name isn't that of a station.
        """
        check_station_name(station)
        self.folder = Path(store) / "stations" / station
        self.station = station
        self._unwritten: list[dict[str, Json]] = []
        self._noting = threading.Lock()
        self._notices = Notices(channels)

    def command(self) -> Command:
        """Return the command for this station: "run", "pause" or "stop"."""
        try:
            word = read_text(self.folder / COMMAND, 100).strip()
        except ConfigError:
            return "run"
        return word if word in ("pause", "stop") else "run"  # type: ignore[return-value]

    @property
    def is_stopped(self) -> bool:
        """Whether an emergency stop holds the arm."""
        return is_stopped(self.folder)

    @property
    def is_released(self) -> bool:
        """Whether the arm was released from an emergency stop and waits to be resumed."""
        return not self.is_stopped and (self.folder / RELEASED).exists()

    def request(self, command: Command, by: str = "") -> None:
        """Request something of the station. Raises FileError.

        Args:
            command: "pause" or "stop" after the running episode; "emergency" to hold the arm at once, "release" to end
                that, which moves nothing yet; "run" to resume after any of these, and "continue" after a release
                alone. Only "release" ends an emergency stop.
            by: who holds the arm, or why.
        """
        request_all([self], command, by)

    def forget_stop(self) -> None:
        """Forget a stop that was for the process before this one; an emergency stop stays. Raises FileError."""
        if self.command() == "stop":
            _ask([self], "resume", {COMMAND: None})

    def put(self, asked: Mapping[str, str | None]) -> None:
        """Write files of what a person asks for by name, None to remove one, on this machine alone. FileError."""
        for name, text in asked.items():
            path = self.folder / name
            with writing(path):
                if text is None:
                    path.unlink(missing_ok=True)
                elif name == EMERGENCY:
                    stop_motion(self.folder, text)  # also on a full disk
                else:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)

    def deliver(self, asked: Mapping[str, str | None]) -> None:
        """Give the same files to a station that runs on another machine. Raises FileError."""
        for name, text in asked.items():
            deliver(self.folder, name, text)

    def requested_tasks(self) -> tuple[str, ...]:
        """Return a person's list of tasks; empty for the station's own."""
        try:
            words = read_json(self.folder / TASKS)
        except ConfigError:
            return ()
        valid = isinstance(words, list) and all(isinstance(w, str) for w in words)
        return tuple(words) if valid else ()

    def request_tasks(self, instructions: Sequence[str]) -> None:
        """Request other tasks from the next episode on, even after a restart; none: the station's. Raises FileError."""
        path = self.folder / TASKS
        if instructions:
            write_json(path, list(instructions))
        else:
            with writing(path):
                path.unlink(missing_ok=True)
        deliver(self.folder, TASKS, json.dumps(list(instructions)) if instructions else None)

    def show(self, status: StationStatus) -> None:
        """Write the status, even while the disk is full. A failure is only logged."""
        try:
            refresh_json(self.folder / STATUS, asdict(status))
        except FileError as error:
            log.warning("status of %s not written: %s", self.station, error)

    def status(self) -> StationStatus:
        """Return the last status. Raises ConfigError: there is none, or it is damaged."""
        path = self.folder / STATUS
        return from_plain(StationStatus, read_json(path), path)

    def runs(self) -> bool:
        """Return whether the station's process runs, on this machine or another."""
        return is_held(self.folder / LEASE)

    def note(self, kind: EventKind, message: str, *, person: bool = False) -> None:
        """Append an event, later if the disk is full; from any thread.

        Args:
            kind: its kind.
            message: what happened.
            person: whether it needs a person, who is then told.
        """
        event = {"time_s": time.time(), "station": self.station, "kind": kind, "message": message}
        log.log(
            logging.ERROR if person else logging.WARNING, "%s: %s: %s", self.station, kind, message
        )
        with self._noting:
            self._unwritten = [*self._unwritten, event][-_MOST_UNWRITTEN:]
            try:
                append_lines(self.folder / EVENTS, self._unwritten)
                self._unwritten = []
            except FileError as error:
                log.warning("event of %s not written: %s", self.station, error)
            if person:
                self._notices.send(event | {"message": printable(message)[:1000]})

    def settle(self) -> None:
        """Wait until notices have arrived, or failed, which is only logged."""
        for problem in self._notices.settle():
            log.warning("notice of %s not sent: %s", self.station, problem)

    def events(self) -> list[dict[str, Json]]:
        """Return all events, oldest first. Raises ConfigError: the file is damaged."""
        path = self.folder / EVENTS
        events = read_lines(path)
        if wrong := [e for e in events if not _is_event(e)]:
            raise ConfigError(f"{path} is damaged: {wrong[0]!r:.80} is no event")
        return events


def _is_event(row: Mapping[str, Json]) -> bool:
    """Whether a row has the keys of an event, with values of their types."""
    texts = (row.get(key) for key in ("station", "kind", "message"))
    time_s = row.get("time_s")
    return (
        all(isinstance(t, str) for t in texts)
        and isinstance(time_s, int | float)
        and 0 <= time_s < 1e11
    )


def request_all(folders: Sequence[StatusFolder], command: Command, by: str = "") -> None:
    """Request something of several stations: of all on this machine first, and of each even if others fail.

    See `StatusFolder.request`. Raises FileError: it didn't reach some stations, which the message names.
    """
    asked: dict[str, str | None] = {COMMAND: command}
    if command == "emergency":
        asked = {EMERGENCY: f"{by or 'asked for'} at {time.strftime('%H:%M:%S')}"}
    elif command == "release":
        folders = [folder for folder in folders if folder.is_stopped]
        asked = {RELEASED: "", EMERGENCY: None}  # in this order: it is held all the time
    elif command == "continue":
        asked = {RELEASED: None}
    elif command == "run":
        asked = {COMMAND: None, RELEASED: None}
    _ask(folders, command, asked)


def _ask(folders: Sequence[StatusFolder], word: str, asked: Mapping[str, str | None]) -> None:
    failed = f"'{word}' didn't reach"
    _for_each(folders, failed, lambda f: f.put(asked), lambda f: f.deliver(asked))


def beat_all(folders: Sequence[StatusFolder]) -> None:
    """Send a heartbeat of the operator to several stations: all on this machine first, each even if others fail.

    Raises FileError: it didn't reach some stations, which the message names.
    """
    sent = {HEARTBEAT: str(time.time_ns())}
    failed = "the heartbeat didn't reach"
    _for_each(folders, failed, lambda f: beat(f.folder), lambda f: f.deliver(sent))


def _for_each(
    folders: Sequence[StatusFolder], failed: str, *steps: Callable[[StatusFolder], None]
) -> None:
    """Take each step at all folders before the next one, also after errors. Raises FileError with all errors."""
    problems: dict[str, list[str]] = {}
    for step in steps:
        for folder in folders:
            try:
                step(folder)
            except (SoarError, OSError) as error:
                problems.setdefault(folder.station, []).append(text_of(error))
    if problems:
        causes = "; ".join(dict.fromkeys(cause for found in problems.values() for cause in found))
        raise FileError(f"{failed} {', '.join(problems)}: {causes}")


def status_folders(store: str | Path) -> list[StatusFolder]:
    """Return the folders of all stations with a status at this store, by name."""
    return [
        StatusFolder(store, p.parent.name) for p in sorted(Path(store).glob(f"stations/*/{STATUS}"))
    ]
