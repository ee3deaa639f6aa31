"""Status, events and commands of each station, as files beside the store.

    <store>/stations/<name>/status.json    current status, rewritten after every episode
    <store>/stations/<name>/events.jsonl   faults, dropped episodes and missing objects, appended
    <store>/stations/<name>/wish           command "pause" or "stop"; absent for "run"

Any process that sees the store's folder can read and write them. A restart doesn't need them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from annotated_types import Ge, Gt, Lt

from soar.errors import ConfigError
from soar.utils.config import from_plain
from soar.utils.files import Json, append_lines, read_json, read_lines, write_json

log = logging.getLogger(__name__)

Activity: TypeAlias = Literal["starting", "collecting", "waiting", "paused", "stopped", "broken"]
Command: TypeAlias = Literal["run", "pause", "stop"]
EventKind: TypeAlias = Literal[
    "robot fault",
    "camera fault",
    "model down",
    "bad output",
    "store",
    "missing",
    "back",
    "crash",
    "broken",
]
UnixTime: TypeAlias = Annotated[float, Ge(0), Lt(1e11)]
_COMMAND_FILE = "wish"
_WEBHOOK_TIMEOUT_S = 5.0


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

    def alive(self) -> bool:
        """Whether the process still runs, if it is on this machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class StatusFolder:
    """One station's folder."""

    def __init__(self, store: str | Path, station: str, webhook: str = "") -> None:
        """Choose the folder.

        Args:
            store: folder of the store.
            station: name of the station.
            webhook: URL that gets every event that needs a person as a JSON POST.

        Raises:
            ConfigError: the name can't be that of a folder.
        """
        if not re.fullmatch(r"[\w.-]+", station):
            raise ConfigError(
                f"a station's name has letters, digits, '.', '_' and '-' only, not '{station}'"
            )
        self.folder = Path(store) / "stations" / station
        self.station = station
        self.webhook = webhook

    def command(self) -> Command:
        """Return the command for this station."""
        try:
            word = (self.folder / _COMMAND_FILE).read_text().strip()
        except FileNotFoundError:
            return "run"
        return word if word in get_args(Command) else "run"  # type: ignore[return-value]

    def request(self, command: Command) -> None:
        """Request that the station runs, pauses, or stops after its running episode."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if command == "run":
            (self.folder / _COMMAND_FILE).unlink(missing_ok=True)
        else:
            (self.folder / _COMMAND_FILE).write_text(command)

    def show(self, status: StationStatus) -> None:
        """Write the status. A full disk is only logged."""
        try:
            write_json(self.folder / "status.json", asdict(status))
        except OSError as error:
            log.warning("status of %s not written: %s", self.station, error)

    def status(self) -> StationStatus:
        """Return the last status. Raises ConfigError: there is none, or it is damaged."""
        path = self.folder / "status.json"
        return from_plain(StationStatus, read_json(path), path)

    def note(self, kind: EventKind, message: str, *, person: bool = False) -> None:
        """Append an event. `person`: whether it needs a person, to whom it is sent."""
        event = {"time_s": time.time(), "station": self.station, "kind": kind, "message": message}
        log.log(
            logging.ERROR if person else logging.WARNING, "%s: %s: %s", self.station, kind, message
        )
        try:
            append_lines(self.folder / "events.jsonl", [event])
        except OSError as error:
            log.warning("event of %s not written: %s", self.station, error)
        if person and self.webhook:
            threading.Thread(target=_post, args=(self.webhook, event), daemon=True).start()

    def events(self) -> list[dict[str, Json]]:
        """Return all events, oldest first. Raises ConfigError: the file is damaged."""
        path = self.folder / "events.jsonl"
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


def status_folders(store: str | Path) -> list[StatusFolder]:
    """Return the folders of all stations with a status at this store, by name."""
    return [
        StatusFolder(store, p.parent.name)
        for p in sorted(Path(store).glob("stations/*/status.json"))
    ]


def _post(url: str, event: Mapping[str, object]) -> None:
    """Send an event. A failure is only logged."""
    body, headers = json.dumps(event).encode(), {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)
        urllib.request.urlopen(request, timeout=_WEBHOOK_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        log.warning("webhook %s: %s", url, error)
