"""Stations: a tile for each, and the commands of a person to one or to all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from starlette.requests import Request

from soar.collection.lease import is_held, station_lease
from soar.collection.live import picture_time, read_picture, touch_watched
from soar.collection.sharing import EVENTS, Watcher
from soar.collection.status import (
    Command,
    StationStatus,
    StatusFolder,
    request_all,
    status_folders,
)
from soar.errors import ConfigError
from soar.types import EpisodeSummary
from soar.utils.files import Json
from soar.watch.panel import Panel, Values, post
from soar.watch.place import Place, readable

COMMANDS: dict[str, Command] = {
    "pause": "pause",
    "resume": "run",
    "release": "release",
    "stop": "stop",
    "drain": "stop",
    "emergency": "emergency",
}
"""Words of the page, and what they request. "drain" is "stop" for all stations: each ends after its episode; only
"release" ends an emergency stop, and "resume" follows it."""
_OUTCOMES = 10
"""Last episodes of a station that a tile shows."""
_MOST_TASKS, _LONGEST_TASK = 200, 300


def stations(place: Place) -> Panel:
    """Return the panel of the stations."""
    return Panel(
        "stations",
        "Stations",
        (
            post("/api/stations/{name}/tasks", partial(_set_tasks, place)),
            post("/api/stations/{name}/{command}", partial(_command_one, place)),
            post("/api/fleet/{command}", partial(_command_all, place)),
        ),
        _Tiles(place).values,
    )


class _Tiles:
    """Reads what the tiles show; pictures and events only when their files have changed."""

    def __init__(self, place: Place) -> None:
        self._place, self._elsewhere = place, Watcher(place.store)
        self._pictures: dict[str, tuple[int, Json]] = {}
        self._events: dict[str, tuple[int, Json]] = {}

    def values(self) -> Values:
        """Return a "station NAME" and, once it has one, a "picture NAME" for every station."""
        touch_watched(self._place.store)
        self._elsewhere.touch()
        latest: dict[str, list[EpisodeSummary]] = defaultdict(list)
        for episode in readable(self._place)[1]:
            latest[episode.provenance.station].append(episode)
        values: dict[str, Json] = {}
        for folder in status_folders(self._place.store):
            try:
                status = folder.status()
            except ConfigError:
                continue  # half a file of another machine; the next one is whole
            values[f"station {status.station}"] = self._tile(folder, status, latest[status.station])
            if picture := self._picture(status.station):
                values[f"picture {status.station}"] = picture
        return values

    def _tile(
        self, folder: StatusFolder, status: StationStatus, episodes: Sequence[EpisodeSummary]
    ) -> Json:
        over = status.activity in ("stopped", "broken")
        runs = is_held(station_lease(self._place.store, status.station))
        activity = status.activity if over or runs else "gone"
        hours = max(status.updated_s - status.started_s, 1.0) / 3600
        command = "released" if folder.is_released else folder.command()
        return {
            **asdict(status),
            "name": status.station,
            "activity": activity,
            "command": "emergency" if folder.is_stopped else command,
            "per_hour": status.episodes / hours,
            "person": _needs(status, activity),
            "outcomes": [
                {
                    "id": e.id,
                    "outcome": e.verdict.outcome,
                    "task": e.instruction,
                    "length": e.length,
                }
                for e in episodes[-_OUTCOMES:]
            ],
            "edited": bool(folder.requested_tasks()),
            "event": self._event(folder),
        }

    def _picture(self, name: str) -> Json:
        time_ns = picture_time(self._place.store, name)
        if time_ns != self._pictures.get(name, (0, None))[0]:
            picture = read_picture(self._place.store, name)
            if picture is not None:
                self._pictures[name] = time_ns, {"name": name, **asdict(picture)}
        return self._pictures.get(name, (0, None))[1]

    def _event(self, folder: StatusFolder) -> Json:
        """The station's last event; None without one."""
        path = folder.folder / EVENTS
        try:
            size = path.stat().st_size
            if size != self._events.get(folder.station, (-1, None))[0]:
                events = folder.events()
                self._events[folder.station] = size, events[-1] if events else None
        except (OSError, ConfigError):
            return None
        return self._events[folder.station][1]


def _needs(status: StationStatus, activity: str) -> str:
    """Say what a person has to do at a station; "" for nothing."""
    if activity == "gone":
        return "its process has ended without a word; start `soar collect` again"
    if activity in ("broken", "held"):
        return status.doing or activity
    if status.missing and activity != "stopped":
        return f"put back: {', '.join(status.missing)}"
    return ""


def _command_one(place: Place, request: Request, body: Json) -> Json:
    folder = _folder(place, request.path_params["name"])
    return _request([folder], request.path_params["command"])


def _command_all(place: Place, request: Request, body: Json) -> Json:
    return _request(status_folders(place.store), request.path_params["command"])


def _request(folders: Sequence[StatusFolder], word: str) -> Json:
    if word not in COMMANDS:
        raise ConfigError(f"no command '{word:.40}'; valid: {', '.join(COMMANDS)}, tasks")
    request_all(folders, COMMANDS[word], "the page of `soar watch`")
    return {"stations": [folder.station for folder in folders]}


def _set_tasks(place: Place, request: Request, body: Json) -> Json:
    folder = _folder(place, request.path_params["name"])
    tasks: Json = body.get("tasks") if isinstance(body, dict) else None
    valid = (
        isinstance(tasks, list)
        and len(tasks) <= _MOST_TASKS
        and all(
            isinstance(t, str) and t.strip() and t.isprintable() and len(t) <= _LONGEST_TASK
            for t in tasks
        )
    )
    if not valid:
        raise ConfigError(
            f"tasks are a list of up to {_MOST_TASKS} lines of up to {_LONGEST_TASK} characters; none for its own list"
        )
    folder.request_tasks(list(dict.fromkeys(t.strip() for t in tasks)))
    return {"tasks": folder.requested_tasks()}


def _folder(place: Place, name: str) -> StatusFolder:
    """Return a station's folder. Raises ConfigError: there is no such station."""
    known = {folder.station: folder for folder in status_folders(place.store)}
    if name not in known:
        raise ConfigError(f"no station '{name:.40}'; there is: {', '.join(known) or 'none yet'}")
    return known[name]
