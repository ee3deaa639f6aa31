"""Improvement in one scene at the size of a coffee break: before, collection, learning, after, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import improve_in_simulation
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.rounds import OnMessage
from soar.improvement.run import RunRecord
from soar.report.page import write_report

SCENE = "6"
"""Scene of the demonstration: of the ten, it gained most (docs/log.md)."""
MINUTES = 15.0
"""Duration of a run of the sizes below on two ordinary cores [min] (docs/performance.md)."""
_DEMONSTRATIONS = 600
_CONFIG = RunConfig(trials=30, episodes=300, fit=CoTrainConfig(steps=800))


class DemoResult(NamedTuple):
    """Result of a demonstration."""

    record: RunRecord
    report: Path


def demo_config(scene: str = SCENE, minutes: float = MINUTES) -> RunConfig:
    """Configure a run of about this duration: the same minutes give the same run on every machine.

    More minutes mean more trials, episodes and training; an hour's episodes don't need more training than 15 minutes'.

    Args:
        scene: name of the scene.
        minutes: duration on two ordinary cores.

    Raises:
        ConfigError: it is below one minute.
    """
    if not minutes >= 1:
        raise ConfigError(f"minutes is {minutes}; valid: a number of at least 1")
    factor = minutes / MINUTES
    least = min(factor, 1)
    return replace(
        _CONFIG,
        scenes=(scene,),
        trials=max(2, round(_CONFIG.trials * min(factor, 2))),
        episodes=max(4, round(_CONFIG.episodes * factor)),
        fit=replace(_CONFIG.fit, steps=max(20, round(_CONFIG.fit.steps * least))),
        demonstrations=max(5, round(_DEMONSTRATIONS * min(factor, 1.6))),
        finetune=replace(
            _CONFIG.finetune,
            steps=max(20, round(_CONFIG.finetune.steps * least)),
            other_scenes=max(5, round(_CONFIG.finetune.other_scenes * least)),
        ),
    )


def run_demo(
    folder: Path, config: RunConfig, on_message: OnMessage, command: str = ""
) -> DemoResult:
    """Run a demonstration, or what is left of it, and write its report."""
    record = improve_in_simulation(folder, config, command=command, on_message=on_message)
    on_message("writing the report")
    return DemoResult(record, write_report(folder))
