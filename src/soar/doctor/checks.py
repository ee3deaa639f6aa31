"""All checks before a run: each part is tried once, and each problem comes with advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from soar.collection.keys import operator_keys
from soar.collection.status import StatusFolder
from soar.doctor.machine import check_disk, check_rendering, check_store, episode_size
from soar.doctor.models import try_models
from soar.doctor.results import CheckResult
from soar.doctor.station import TriedStation, try_station
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig


@dataclass(frozen=True)
class CheckConfig:
    """Configuration of the run that is about to begin."""

    store: Path
    """Folder of the episode store."""
    stations: Sequence[StationConfig]
    models: ModelsConfig = field(default_factory=ModelsConfig)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    episodes: int | None = None
    """Number of episodes to store, of all stations together."""
    move: bool = True
    """Whether to home the arms and move them a few centimeters inside their boxes."""


@contextmanager
def _stop_place(store: Path) -> Iterator[Path]:
    """Yield where people stop the arms: the store, or a temporary folder while there is none."""
    if any((store / name).exists() for name in ("store.json", "stations")):
        yield store
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def run_checks(config: CheckConfig) -> Iterator[CheckResult]:
    """Check machine, stations, models, store and disk, and yield the results one by one."""
    if any(s.robot == "sim" for s in config.stations):
        yield check_rendering()
    stations: list[TriedStation] = []
    with _stop_place(config.store) as place, ExitStack() as stack:
        folders = [StatusFolder(place, station.name) for station in config.stations]
        if config.move:
            stack.enter_context(operator_keys(folders))
        for station, folder in zip(config.stations, folders, strict=True):
            stations.append(try_station(station, config.move, folder.folder))
            yield from stations[-1].results
    working = [s for s in stations if s.trial]
    yield from try_models(config.models, working, config.episode)
    yield check_store(config.store)
    size = episode_size(config.store, [s.rest.image for s in working], config.episode)
    yield check_disk(config.store, size, config.episodes)
