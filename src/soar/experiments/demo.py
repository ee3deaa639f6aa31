"""The main job at the size of a coffee break: one scene, before, collection, improvement, after, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from soar.errors import ConfigError
from soar.experiments.simulated_run import (
    CollectOptions,
    FitOptions,
    SimulatedRunConfig,
    improve_in_simulation,
)
from soar.improvement.rounds import ImproveConfig, OnMessage
from soar.improvement.run import Run, RunRecord
from soar.report.page import write_report

_MINUTES = 15
"""What the sizes below may take on two ordinary cores, all together (docs/performance.md)."""
_AT_THAT_SIZE = SimulatedRunConfig(
    ImproveConfig(trials=30, episodes=300),
    fit=FitOptions(steps=800),
    demonstrations=600,
)


@dataclass(frozen=True)
class DemoConfig:
    """What the demonstration does. `minutes` sizes it: the same minutes give the same run anywhere."""

    scene: str = "6"
    """1 to 10, dev1 to dev4, or a YAML file. Scene 6 gained most of the ten by practice (docs/log.md)."""
    minutes: float = _MINUTES
    """About what it takes on two ordinary cores. More minutes: more trials, episodes and training."""
    stations: int = CollectOptions.stations
    workers: int = 2

    def __post_init__(self) -> None:
        if self.minutes < 1 or min(self.stations, self.workers) < 1:
            raise ConfigError("minutes, stations and workers must be at least 1")


class DemoResult(NamedTuple):
    """What a demonstration ends with."""

    record: RunRecord
    report: Path


def sized(config: DemoConfig) -> SimulatedRunConfig:
    """The run that takes about so many minutes. Training that suffices for an hour's episodes isn't lengthened."""
    whole, factor = _AT_THAT_SIZE, config.minutes / _MINUTES
    least = min(factor, 1)
    return replace(
        whole,
        improve=replace(
            whole.improve,
            scenes=(config.scene,),
            trials=max(2, round(whole.improve.trials * min(factor, 2))),
            episodes=max(4, round(whole.improve.episodes * factor)),
            workers=config.workers,
        ),
        fit=replace(whole.fit, steps=max(20, round(whole.fit.steps * least))),
        demonstrations=max(5, round(whole.demonstrations * min(factor, 1.6))),
        teach=replace(
            whole.teach,
            steps=max(20, round(whole.teach.steps * least)),
            other_scenes=max(5, round(whole.teach.other_scenes * least)),
        ),
        collect=replace(whole.collect, stations=config.stations),
    )


def run_demo(folder: Path, config: DemoConfig, say: OnMessage, command: str = "") -> DemoResult:
    """Run it, or what is left of it, and write its report."""
    record = improve_in_simulation(folder, sized(config), command=command, say=say)
    say("the report")
    return DemoResult(record, write_report(Run(folder)))
