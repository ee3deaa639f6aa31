"""`soar collect`, and what goes with it: judge, status, pause, resume, stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from soar.errors import ConfigError, SoarError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from soar.collection.collector import CollectionSummary
    from soar.collection.fleet import ModelsConfig
    from soar.collection.status import Command, StationStatus, StatusFolder
    from soar.rollout.station import EpisodeConfig
    from soar.rollout.station_config import StationConfig

Names = Annotated[
    tuple[str, ...], tyro.conf.arg(help="Station names; all of the store when left out.")
]

_LEAD_STEPS = 2
"""On a robot that keeps time, a subgoal is imagined so many control steps ahead: 0.4 s at 5 Hz."""


@dataclass(frozen=True)
class Exploration:
    """How actions vary between episodes."""

    exploring: float = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian."""
    noise: float = 1.0
    """Scale of its standard deviation in those."""


def collect(
    store: Path,
    station: tuple[Path, ...] = (),
    scene: str = "1",
    stations: int = 1,
    episodes: int | None = None,
    hours: float | None = None,
    models: Path | None = None,
    vlm: str | None = None,
    subgoals: str | None = None,
    policy: str | None = None,
    seed: int = 0,
    round: int = 0,
    steps_per_subgoal: int | None = None,
    exploration: Exploration = Exploration(),
) -> None:
    """Let robots propose their own tasks, try them, and judge themselves, for as long as you like.

    Everything goes into the store, and a restart goes on where the store says. Ctrl-C ends after the
    running episode, twice at once. Watch from another terminal with `soar status --store S`, and use
    `soar pause`, `soar resume` and `soar stop`.

    Examples: `soar collect --store s --scene 1 --stations 2 --episodes 100` in simulation;
    `soar collect --store s --station arm1.yaml arm2.yaml --models models.yaml --hours 12` with real arms.

    Args:
        store: the episode store's folder; made when there is none.
        station: station files (see docs/operations.md); left out, simulated ones in `scene`.
        scene: 1 to 10, dev1 to dev4, or a YAML file.
        stations: how many simulated stations.
        episodes: stop after so many stored ones, of all stations together.
        hours: start no episode after so long.
        models: a YAML file with `vlm`, `subgoals`, `policy` and `threshold`.
        vlm: which VLM, as in `soar vlm`; overrides the file.
        subgoals: which subgoal generator; "none" with a policy that follows words.
        policy: which policy: a name, a checkpoint's folder, or a run's folder for the one it promoted last.
        seed: of the first simulated station; the others count up.
        round: noted in every episode.
        steps_per_subgoal: of an episode's 100; left out, 10 with compact imaginations, else the paper's 20.
        exploration: how actions vary between episodes.
    """
    from soar.collection.collector import CollectionConfig
    from soar.collection.fleet import (
        CollectionJob,
        ModelsConfig,
        run_fleet,
        stop_on_signals,
    )
    from soar.rollout.console import ConsoleCallback
    from soar.rollout.station_config import read_station, sim_stations
    from soar.utils.config import load

    if episodes is None and hours is None:
        raise ConfigError("say how much: --episodes N or --hours H")
    configs = [read_station(p) for p in station] or sim_stations(scene, stations, seed)
    names = override(
        load(ModelsConfig, models) if models else ModelsConfig(), vlm, subgoals, policy
    )
    plan = plan_for(configs, names, steps_per_subgoal)
    config = CollectionConfig(plan, exploration.exploring, exploration.noise, round=round)
    stop = threading.Event()
    stop_on_signals(stop)
    with ConsoleCallback(episodes) as narrator:
        job = CollectionJob(store, names, config, episodes, hours)
        tally = run_fleet(configs, job, stop=stop, subscribers=[narrator])
    _tell(tally, store)


def judge(
    store: Path,
    vlm: str = "compact",
    threshold: float = 0.5,
    models: Path | None = None,
) -> None:
    """Judge episodes whose verdict is unknown, as after an outage of the VLM.

    Example: `soar judge --store s --vlm compact`. What this VLM can't tell either stays unknown.

    Args:
        store: the episode store's folder.
        vlm: which VLM, as in `soar vlm`.
        threshold: P(success) from which an episode is called success.
        models: a YAML file with `vlm` and `threshold`, instead of those two.
    """
    from soar.collection.fleet import ModelsConfig
    from soar.collection.judging import judge_unknown, unknown
    from soar.data.store.lance import open_store
    from soar.registry import load_vlm
    from soar.utils.config import load
    from soar.utils.progress import progress_bar

    names = load(ModelsConfig, models) if models else ModelsConfig(vlm=vlm, threshold=threshold)
    episodes = open_store(store)
    total = len(unknown(episodes))
    with progress_bar() as bar:
        row = bar.add_task("judging", total=total, note="")
        outcomes = judge_unknown(
            episodes,
            load_vlm(names.vlm),
            names.threshold,
            on_judged=lambda id, verdict: bar.update(
                row, advance=1, note=f"{id} {verdict.outcome}"
            ),
        )
    words = (
        ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items())) or "nothing to do"
    )
    print(f"{total} episodes judged: {words}")


def pause(store: Path, station: Names = ()) -> None:
    """Let stations pause after their running episode, until `soar resume`.

    Example: `soar pause --store s --station arm1`.

    Args:
        store: the episode store's folder.
    """
    _wish(store, station, "pause")


def resume(store: Path, station: Names = ()) -> None:
    """Let paused stations go on.

    Args:
        store: the episode store's folder.
    """
    _wish(store, station, "run")


def stop(store: Path, station: Names = ()) -> None:
    """Let stations end after their running episode. They begin again with `soar collect`.

    Args:
        store: the episode store's folder.
    """
    _wish(store, station, "stop")


def status(store: Path, watch: bool = False, every_s: float = 2.0) -> None:
    """What every station does, how each task fares, and what went wrong lately.

    Example: `soar status --store s --watch` for a live table.

    Args:
        store: the episode store's folder.
        watch: keep it up to date until Ctrl-C.
        every_s: how often.
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


def override(
    names: ModelsConfig, vlm: str | None, subgoals: str | None, policy: str | None
) -> ModelsConfig:
    """The models of a file, but for those that flags name."""
    return replace(
        names,
        vlm=vlm or names.vlm,
        subgoals=subgoals or names.subgoals,
        policy=policy or names.policy,
    )


def plan_for(
    stations: Sequence[StationConfig], names: ModelsConfig, steps: int | None = None
) -> EpisodeConfig:
    """How long their episodes are, and whether subgoals are imagined ahead; `steps`: for each of them."""
    from soar.registry import subgoals_spec
    from soar.rollout.station import EpisodeConfig

    lead = _LEAD_STEPS if any(s.keeps_period for s in stations) else 0
    return replace(
        EpisodeConfig.of(steps or subgoals_spec(names.subgoals).steps_per_subgoal), lead_steps=lead
    )


def _tell(tally: CollectionSummary, store: Path) -> None:
    """What was collected. Raises SoarError when a person is needed."""
    print(
        f"{tally.episodes} episodes stored in {store}, {tally.dropped} dropped, {tally.faults} faults"
    )
    if tally.broken:
        raise SoarError(f"a person is needed at {', '.join(tally.broken)}; see `soar status`")


def _wish(store: Path, names: Sequence[str], wish: Command) -> None:
    from soar.collection.status import status_folders

    known = {b.station: b for b in status_folders(store)}
    if unknown := [n for n in names if n not in known]:
        valid = ", ".join(known) or "none yet"
        raise ConfigError(f"no station '{unknown[0]}' at {store}; there is: {valid}")
    for name in names or known:
        known[name].want(wish)
        print(f"{name}: {wish}")


def _overview(store: Path) -> RenderableType:
    from rich.console import Group

    from soar.collection.status import status_folders

    found = status_folders(store)
    return Group(_stations(found), _tasks(store), *_latest_events(found))


def _stations(found: Sequence[StatusFolder]) -> RenderableType:
    from rich.table import Table

    rows = [_station_row(board.status()) for board in found]
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


def _station_row(status: StationStatus) -> dict[str, str]:
    from rich.markup import escape

    hours = max(status.updated_s - status.started_s, 1.0) / 3600
    over = status.activity in ("stopped", "broken")
    activity = status.activity if over or status.alive() else "gone"
    color = {"collecting": "green", "broken": "red", "gone": "red"}.get(activity, "yellow")
    doing = f": {escape(status.doing)}" if status.doing and activity != "stopped" else ""
    duty, late = status.duty_cycle, status.late_ms
    return {
        "station": status.station,
        "scene": status.scene,
        "is": f"[{color}]{activity}[/]{doing}",
        "episodes": f"{status.episodes} ({status.episodes / hours:.0f}/h)",
        "dropped": str(status.dropped or ""),
        "faults": str(status.faults or ""),
        "duty cycle": "" if duty is None else f"{duty:.0%}",
        "late": "" if late is None else f"{late:.0f} ms",
        "missing": ", ".join(status.missing),
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
        table.add_row(task, str(count.attempts), rate, str(unjudged) if unjudged else "")
    return table


def _latest_events(found: Sequence[StatusFolder], most: int = 8) -> list[str]:
    events = [e for board in found for e in board.events()]
    events.sort(key=lambda e: e["time_s"])
    lines = [
        f"{time.strftime('%d %b %H:%M', time.localtime(e['time_s']))}  {e['station']}: "
        f"{e['kind']}: {e['message']}"
        for e in events[-most:]
    ]
    return ["\nLatest events", *lines] if lines else []
