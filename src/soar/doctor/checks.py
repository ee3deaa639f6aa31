"""A check of everything before a run: each part is tried once, and what is wrong comes with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soar.rollout.models import ModelsConfig
from soar.doctor.findings import CheckResult
from soar.doctor.machine import check_disk, check_rendering, check_store, episode_size
from soar.doctor.models import examine_models
from soar.doctor.station import Exam, examine
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig


@dataclass(frozen=True)
class CheckConfig:
    """What is about to run."""

    store: Path
    stations: Sequence[StationConfig]
    models: ModelsConfig = field(default_factory=ModelsConfig)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    episodes: int | None = None
    """How many are to be stored, of all stations together."""
    move: bool = True
    """Home the arms and move them a few centimetres inside their boxes; else they hold still."""


def run_checks(checkup: CheckConfig) -> Iterator[CheckResult]:
    """Findings about machine, stations, models, store and disk, as they come."""
    if any(s.robot == "sim" for s in checkup.stations):
        yield check_rendering()
    exams: list[Exam] = []
    for config in checkup.stations:
        exams.append(examine(config, checkup.move))
        yield from exams[-1].findings
    working = [e for e in exams if e.exercise]
    yield from examine_models(checkup.models, working, checkup.episode)
    yield check_store(checkup.store)
    images = [e.rest.image for e in working]
    yield check_disk(
        checkup.store, episode_size(checkup.store, images, checkup.episode), checkup.episodes
    )
