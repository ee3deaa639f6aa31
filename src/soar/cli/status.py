"""`soar status`, `pause`, `resume`, `stop`, `release`: stations that collect, seen and controlled from any terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge, Le

from soar.cli.options import QUICK_PATH
from soar.errors import ConfigError, FileError, StoreError
from soar.utils.progress import literal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from soar.collection.status import Command, StationStatus, StatusFolder

Store = Annotated[Path, QUICK_PATH, tyro.conf.arg(help="The episode store's folder.")]
Names = Annotated[
    tuple[str, ...], tyro.conf.arg(help="Names of stations; without them, all of the store.")
]


def pause(store: Store, station: Names = ()) -> None:
    """Pause stations after their running episode, until `soar resume`.

    Example: `soar pause --store s --station arm1`.
    """
    _request(store, station, "pause")


def resume(store: Store, station: Names = ()) -> None:
    """Resume stations after a pause, or after their release from an emergency stop: their arms go home and continue.

    An emergency stop itself stays: `soar release` ends it.

    Example: `soar resume --store s`.
    """
    _request(store, station, "run")


def release(store: Store, station: Names = ()) -> None:
    """Release stations from an emergency stop, once nobody is in the arms' way. Nothing moves before `soar resume`.

    Example: `soar release --store s --station arm1`.
    """
    from soar.collection.status import request_all

    stopped = [folder for folder in chosen_folders(store, station) if folder.is_stopped]
    request_all(stopped, "release")
    for folder in stopped:
        print(f"{folder.station}: released; `soar resume` lets it move again")
    if not stopped:
        print("no emergency stop holds an arm")


def stop(store: Store, station: Names = (), emergency: bool = False) -> None:
    """Stop stations after their running episode; `soar collect` starts them again.

    Examples:
        soar stop --store s --station arm1 arm2
        soar stop --store s --emergency                # all arms, at once

    Args:
        store: the episode store's folder.
        station: names of stations; without them, all of the store.
        emergency: hold the arms at once, in the middle of a motion, until `soar release` releases them.
    """
    _request(store, station, "emergency" if emergency else "stop")


def attend(store: Store, station: Names = ()) -> None:
    """Send the operator's heartbeat to stations that ask for one (`heartbeat_s`).

    A script, a pedal or a page may do so repeatedly; in the terminal of `soar collect` any key does.

    Example: `soar attend --store s`.
    """
    from soar.collection.status import beat_all

    _act(store, station, beat_all)


def status(
    store: Store, watch: bool = False, every_s: Annotated[float, Ge(0.1), Le(86400)] = 2.0
) -> None:
    """Show what every station does, the success of each task, and the latest faults.

    Example: `soar status --store s --watch` for a live table.

    Args:
        watch: update until Ctrl-C.
        every_s: seconds between two updates.
    """
    from rich.console import Console
    from rich.live import Live

    if not watch:
        Console().print(_overview(store))
        return
    with Live(_overview(store), auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(_overview(store), refresh=True)


def _request(store: Path, names: Sequence[str], command: Command) -> None:
    from soar.collection.status import request_all

    def act(folders: Sequence[StatusFolder]) -> None:
        request_all(folders, command, "`soar stop --emergency`" if command == "emergency" else "")
        for folder in folders:
            held = command == "run" and folder.is_stopped
            still = "still held by an emergency stop; `soar release` releases it"
            print(f"{folder.station}: {still if held else command}")

    _act(store, names, act)


def _act(store: Path, names: Sequence[str], act: Callable[[Sequence[StatusFolder]], None]) -> None:
    """Act on the named stations, without names on all; on some also if others fail.

    Those that this machine knows come first, then those that object storage, which may be away, knows besides.

    Raises:
        ConfigError, FileError: there is no such station, or some weren't reached; the message names all problems.
    """
    from soar.collection.status import status_folders

    known = [f for f in status_folders(store) if not names or f.station in names]
    before, problems = {folder.station for folder in known}, list[ConfigError | FileError]()
    for first in (True, False):
        try:
            others = [] if first else chosen_folders(store, names)
            act(known if first else [f for f in others if f.station not in before])
        except (ConfigError, FileError) as error:
            problems.append(error)
    if problems:
        raise type(problems[0])("; ".join(map(str, problems)))


def chosen_folders(store: Path, names: Sequence[str]) -> list[StatusFolder]:
    """Return the folders of the named stations; without names, of all. Raises ConfigError: there is no such station."""
    from soar.collection.status import status_folders

    problem = _fetch(store)
    known = {f.station: f for f in status_folders(store)}
    if problem and not known:
        raise FileError(problem)
    if problem:
        print(problem)
    if not known:
        raise ConfigError(f"{store}: no station has collected here yet; see `soar collect --help`")
    if unknown := [n for n in names if n not in known]:
        raise ConfigError(f"no station '{unknown[0]}' at {store}; there is: {', '.join(known)}")
    return [known[name] for name in names or known]


def _overview(store: Path) -> RenderableType:
    from rich.console import Group

    from soar.collection.status import status_folders

    problem = _fetch(store)
    found = status_folders(store)
    try:
        parts = [_tasks(store)]
    except StoreError as error:
        if not found:
            raise
        problem = problem or str(error)
        parts = []
    shown = [f"\n{literal(problem)}"] if problem else []
    return Group(_stations(found), *parts, *_latest_events(found), *shown)


def _fetch(store: Path) -> str:
    """Fetch the files of stations on other machines; return why that isn't possible now, "" if it is."""
    from soar.collection.sharing import fetch_stations

    try:
        fetch_stations(store)
    except FileError as error:
        return f"stations of other machines can't be seen: {error}"
    return ""


def _stations(found: Sequence[StatusFolder]) -> RenderableType:
    from rich.table import Table

    rows = [_station_row(folder.status(), runs=folder.runs()) for folder in found]
    table = Table(title="Stations", title_justify="left", box=None, padding=(0, 2, 0, 0))
    shown = [name for name in _COLUMNS if any(row[name] for row in rows) or name in _COLUMNS[:3]]
    for name in shown:
        table.add_column(name)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


_COLUMNS = (
    "station",
    "scene",
    "is",
    "episodes",
    "dropped",
    "faults",
    "duty cycle",
    "late",
    "missing",
)


def _station_row(status: StationStatus, *, runs: bool) -> dict[str, str]:
    hours = max(status.updated_s - status.started_s, 1.0) / 3600
    over = status.activity in ("stopped", "broken")
    activity = status.activity if over or runs else "gone"
    color = {"collecting": "green", "broken": "red", "held": "red", "gone": "red"}.get(
        activity, "yellow"
    )
    doing = f": {literal(status.doing)}" if status.doing and activity != "stopped" else ""
    duty, late = status.duty_cycle, status.late_ms
    return {
        "station": literal(status.station),
        "scene": literal(status.scene),
        "is": f"[{color}]{activity}[/]{doing}",
        "episodes": f"{status.episodes} ({status.episodes / hours:.0f}/h)",
        "dropped": str(status.dropped or ""),
        "faults": str(status.faults or ""),
        "duty cycle": "" if duty is None else f"{duty:.0%}",
        "late": "" if late is None else f"{late:.0f} ms",
        "missing": literal(", ".join(status.missing)),
    }


def _tasks(store: Path) -> RenderableType:
    from rich.table import Table

    from soar.data.store.lance import open_store
    from soar.types import Query

    episodes = open_store(store, read_only=True)
    unknown = episodes.history(Query(outcomes=("unknown",)))
    table = Table(title="\nTasks", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("task", "attempts", "success (VLM)", "not judged"):
        table.add_column(name)
    for task, count in sorted(episodes.history().items()):
        unjudged = unknown[task].attempts if task in unknown else 0
        judged = count.attempts - unjudged
        rate = f"{count.successes / judged:.0%}" if judged else ""
        table.add_row(literal(task), str(count.attempts), rate, str(unjudged) if unjudged else "")
    return table


def _latest_events(found: Sequence[StatusFolder], most: int = 8) -> list[str]:
    events = [e for folder in found for e in folder.events()]
    events.sort(key=lambda e: e["time_s"])
    lines = [
        f"{time.strftime('%d %b %H:%M', time.localtime(e['time_s']))}  "
        + literal(f"{e['station']}: {e['kind']}: {e['message']}")
        for e in events[-most:]
    ]
    return ["\nLatest events", *lines] if lines else []
