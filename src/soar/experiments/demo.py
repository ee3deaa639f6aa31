"""Improvement in one scene at the size of a coffee break: before, collection, learning, after, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from soar.errors import ConfigError
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.experiments.simulated_run import improve_in_simulation
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run, RunRecord
from soar.report.page import write_report

_MINUTES = 15
"""Duration of a run of the sizes below on two ordinary cores [min] (docs/performance.md)."""
_DEMONSTRATIONS = 600
_CONFIG = RunConfig(trials=30, episodes=300, fit=CoTrainConfig(steps=800))


@dataclass(frozen=True)
class DemoConfig:
    """A demonstration. `minutes` sizes it: the same minutes give the same run on every machine."""

    scene: str = "6"
    """1 to 10, dev1 to dev4, or a YAML file. Scene 6 gained most of the ten (docs/log.md)."""
    minutes: float = _MINUTES
    """Approximate duration on two ordinary cores [min]; more minutes mean more trials, episodes and training."""
    stations: int = CollectOptions.stations
    """Number of simulated stations."""
    workers: int = RunConfig.workers
    """Processes of an evaluation."""

    def __post_init__(self) -> None:
        if self.minutes < 1 or min(self.stations, self.workers) < 1:
            raise ConfigError("minutes, stations and workers must be at least 1")


class DemoResult(NamedTuple):
    """Result of a demonstration."""

    record: RunRecord
    report: Path


def sized(config: DemoConfig) -> RunConfig:
    """Return the run that takes about the given time. An hour's episodes don't need more training than 15 minutes'."""
    factor = config.minutes / _MINUTES
    least = min(factor, 1)
    return replace(
        _CONFIG,
        scenes=(config.scene,),
        trials=max(2, round(_CONFIG.trials * min(factor, 2))),
        episodes=max(4, round(_CONFIG.episodes * factor)),
        workers=config.workers,
        fit=replace(_CONFIG.fit, steps=max(20, round(_CONFIG.fit.steps * least))),
        demonstrations=max(5, round(_DEMONSTRATIONS * min(factor, 1.6))),
        finetune=replace(
            _CONFIG.finetune,
            steps=max(20, round(_CONFIG.finetune.steps * least)),
            other_scenes=max(5, round(_CONFIG.finetune.other_scenes * least)),
        ),
        collect=replace(_CONFIG.collect, stations=config.stations),
    )


def run_demo(
    folder: Path, config: DemoConfig, on_message: OnMessage, command: str = ""
) -> DemoResult:
    """Run a demonstration, or what is left of it, and write its report."""
    record = improve_in_simulation(folder, sized(config), command=command, on_message=on_message)
    on_message("writing the report")
    return DemoResult(record, write_report(Run(folder)))
