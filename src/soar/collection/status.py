"""The board beside a store: what each station is doing, what happened to it, and what it should do.

    <store>/stations/<name>/status.json    what it does now; rewritten after every episode
    <store>/stations/<name>/events.jsonl   faults, dropped episodes, missing objects: appended
    <store>/stations/<name>/wish           "pause" or "stop"; absent means run

Any terminal that sees the store's folder reads and writes it. Nothing here is needed to go on after a
crash: that follows from the episodes alone.
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
from typing import Literal, TypeAlias, get_args

from soar.errors import ConfigError
from soar.utils.config import from_plain
from soar.utils.files import Json, append_lines, read_json, read_lines, write_json

log = logging.getLogger(__name__)

Activity: TypeAlias = Literal["starting", "collecting", "waiting", "paused", "stopped", "broken"]
Command: TypeAlias = Literal["run", "pause", "stop"]
EventKind: TypeAlias = Literal[
    "robot fault", "camera fault", "model down", "bad output", "store", "missing", "back", "broken"
]
_WEBHOOK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class StationStatus:
    """A station as it was at `updated_s`."""

    station: str
    scene: str
    activity: Activity
    started_s: float
    """Unix time at which its process began to collect."""
    updated_s: float
    pid: int
    doing: str = ""
    """The task it is at, or what it is waiting for."""
    episodes: int = 0
    """Stored since `started_s`."""
    dropped: int = 0
    faults: int = 0
    missing: tuple[str, ...] = ()
    """Objects that a person should put back."""
    duty_cycle: float | None = None
    """Share of time the arm moved; only a real-time station knows it."""
    late_ms: float | None = None
    """Mean lateness of a control step."""

    def alive(self) -> bool:
        """Whether the process that wrote this still runs; only right on the machine it ran on."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class StatusFolder:
    """One station's folder on the board."""

    def __init__(self, store: str | Path, station: str, webhook: str = "") -> None:
        """`webhook`: a URL that gets every event for a person as a JSON POST."""
        if not re.fullmatch(r"[\w.-]+", station):
            raise ConfigError(
                f"a station's name has letters, digits, '.', '_' and '-' only, not '{station}'"
            )
        self.folder = Path(store) / "stations" / station
        self.station = station
        self.webhook = webhook

    def command(self) -> Command:
        """What a person wants this station to do."""
        try:
            word = (self.folder / "wish").read_text().strip()
        except FileNotFoundError:
            return "run"
        return word if word in get_args(Command) else "run"  # type: ignore[return-value]

    def request(self, wish: Command) -> None:
        """Ask the station to run, pause, or stop after its running episode."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if wish == "run":
            (self.folder / "wish").unlink(missing_ok=True)
        else:
            (self.folder / "wish").write_text(wish)

    def show(self, status: StationStatus) -> None:
        """Replace the status. A full disk is no reason to stop."""
        try:
            write_json(self.folder / "status.json", asdict(status))
        except OSError as error:
            log.warning("status of %s not written: %s", self.station, error)

    def status(self) -> StationStatus:
        """What was shown last. Raises ConfigError: nothing yet, or damaged."""
        path = self.folder / "status.json"
        return from_plain(StationStatus, read_json(path), path)

    def note(self, kind: EventKind, message: str, *, person: bool = False) -> None:
        """Append an event; with `person`, someone has to do something: tell them too."""
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
        """Everything that happened, oldest first."""
        return read_lines(self.folder / "events.jsonl")


def status_folders(store: str | Path) -> list[StatusFolder]:
    """Every station that ever showed itself at this store, by name."""
    return [
        StatusFolder(store, p.parent.name)
        for p in sorted(Path(store).glob("stations/*/status.json"))
    ]


def _post(url: str, event: Mapping[str, object]) -> None:
    """A webhook that fails is no reason to stop collecting."""
    body, head = json.dumps(event).encode(), {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, head)
        urllib.request.urlopen(request, timeout=_WEBHOOK_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        log.warning("webhook %s: %s", url, error)
