"""Improvement in one scene at the size of a coffee break: before, collection, learning, after, report.

The whole system practices, and a policy that follows instructions alone, without VLM or subgoals, learns from its
successes (paper, Table 1). All is sized by the clock: the machine is measured first, collection then lasts as long as
was planned, and the training of the policy, the longest stage, takes the time that is then left. What a machine
had to do beside the measurement thus changes the plan, and not what is made of the time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from soar.errors import ConfigError
from soar.experiments.pace import Pace, measure_pace
from soar.experiments.run_config import CollectOptions, RunConfig, Teacher
from soar.experiments.simulated_run import improve_in_simulation
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.rounds import OnMessage
from soar.improvement.run import RunRecord
from soar.report.page import write_report
from soar.rollout.station_config import sim_stations, station_tasks
from soar.utils.config import load
from soar.watch.beside import page_beside

SCENE = "dev1"
"""Scene of the demonstration: the first development scene, fixed before anything was measured in it."""
MINUTES = 15.0
"""Duration of a demonstration [min]."""
LEAST_STARTS, LEAST_EPISODES = 60, 100
"""Paired starts of the evaluations and collected episodes, however slow the machine is."""
_LEAST_STEPS, _LEAST_KEYPOINT_STEPS = 50, 50
"""Gradient steps of the policy and, in each pass, of the keypoint predictor, at least."""
_MOST_EPISODES, _MOST_STEPS = 300, 2000
"""Episodes and gradient steps of a demonstration of MINUTES, at most; longer ones take more."""

_DEMONSTRATION, _OTHER_SCENE = 0.25, 0.35
"""Time of a demonstration and another scene's samples, relative to a collected episode's; rounded up from one run."""
_READING = 1.25
"""Time of a fine-tuning, reading of its episodes included, relative to that of its gradient steps."""
_EVALUATION_SHARE = 0.25
"""Share of the time above which evaluations make do with half of their trials."""
_COLLECTION_SHARE, _FINETUNING_SHARE = 0.3, 0.25
"""Shares of the time that evaluations leave."""
_OVERHEAD_S = 20.0
"""Start of processes, and the report [s]."""


class DemoResult(NamedTuple):
    """Result of a demonstration."""

    record: RunRecord
    report: Path


@dataclass(frozen=True)
class Schedule:
    """Expected duration of each stage [s]."""

    evaluations: float
    collection: float
    finetuning: float
    policy: float

    @property
    def total(self) -> float:
        """All stages together [s]."""
        return self.evaluations + self.collection + self.finetuning + self.policy + _OVERHEAD_S

    def __str__(self) -> str:
        stages = (
            ("evaluations", self.evaluations),
            ("collection", self.collection),
            ("subgoal fine-tuning", self.finetuning),
            ("policy", self.policy),
        )
        minutes = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in stages if seconds)
        return f"about {self.total / 60:.0f} minutes: {minutes}"


def demo_config(scene: str = SCENE, minutes: float = MINUTES) -> RunConfig:
    """Configure the largest demonstration of this duration, which `fitted` reduces on slow machines.

    Raises:
        ConfigError: `minutes` is below one, or not finite.
    """
    if not 1 <= minutes < math.inf:
        raise ConfigError(f"minutes is {minutes}; valid: a number of at least 1")
    factor = max(1.0, minutes / MINUTES)
    return RunConfig(
        scenes=(scene,),
        trials=30 if factor < 2 else 60,
        episodes=round(_MOST_EPISODES * factor),
        policy="lcbc",
        subgoals="none",
        method="lcbc",
        teacher=Teacher("gcbc"),
        collect=CollectOptions(detector="vlm+wording"),
        fit=CoTrainConfig(
            steps=round(_MOST_STEPS * factor),
            learning_rate=5e-4,
            autonomous_share=0.5,
            save_every=_LEAST_STEPS,
        ),
        demonstrations=600,
    )


def fitted(config: RunConfig, minutes: float, pace: Pace, tasks: int) -> tuple[RunConfig, Schedule]:
    """Size a demonstration by what this machine can do in time, but not below LEAST_STARTS and LEAST_EPISODES.

    Trials and demonstrations are reduced; collection and training get limits of time.

    Args:
        config: the largest demonstration.
        minutes: duration, after the measurement [min].
        pace: measured pace of the machine.
        tasks: number of tasks of the scene.

    Returns:
        The configuration, and the expected duration of each stage.
    """
    e = pace.episode_s
    trials = config.trials
    if 2 * trials * tasks * pace.trial_s > _EVALUATION_SHARE * 60 * minutes:
        trials = min(trials, max(trials // 2, -(-LEAST_STARTS // tasks)))
    evaluations = 2 * trials * tasks * pace.trial_s
    left = max(0.0, 60 * minutes - evaluations - _OVERHEAD_S)
    collecting = max(1.0, left * _COLLECTION_SHARE)
    episodes = _between(LEAST_EPISODES, collecting / e, config.episodes)
    finetune, finetuning = config.finetune, 0.0
    if per_step := finetune.passes * _READING * pace.keypoint_step_s:
        others = _between(40, left * 0.05 / (_OTHER_SCENE * e), finetune.other_scenes)
        most = left * _FINETUNING_SHARE / per_step
        steps = _between(_LEAST_KEYPOINT_STEPS, most, finetune.steps)
        finetuning = steps * per_step + others * _OTHER_SCENE * e
        finetune = replace(finetune, steps=steps, other_scenes=others)
    demonstrations, demonstrating = config.demonstrations, 0.0
    if isinstance(demonstrations, int):
        demonstrations = _between(100, left * 0.08 / (_DEMONSTRATION * e), demonstrations)
        demonstrating = demonstrations * _DEMONSTRATION * e
    collection, fitting = episodes * e, 0.0
    if step := pace.policy_step_s:
        unspent = left - collection - finetuning - demonstrating
        fitting = step * _between(_LEAST_STEPS, unspent / step, config.fit.steps)
    schedule = Schedule(evaluations, collection, finetuning, fitting + demonstrating)
    collect = config.collect
    if not collect.minutes:
        collect = replace(collect, minutes=collecting / 60, least_episodes=LEAST_EPISODES)
    return replace(
        config,
        trials=trials,
        collect=collect,
        fit=replace(config.fit, minutes=config.fit.minutes or minutes - _OVERHEAD_S / 60),
        demonstrations=demonstrations,
        finetune=finetune,
    ), schedule


def run_demo(
    folder: Path, config: RunConfig, minutes: float, on_message: OnMessage, command: str = ""
) -> DemoResult:
    """Run a demonstration, or what is left of it, with a page in the browser, and write its report.

    Args:
        folder: the run's folder; a run in it goes on with its own sizes.
        config: the largest demonstration.
        minutes: duration, measurement included [min].
        on_message: shows a message to a person.
        command: command line that repeats the run.
    """
    settled, began = folder / "config.yaml", time.monotonic()
    with page_beside(folder, on_message):
        if settled.exists():
            config = load(RunConfig, settled)
        else:
            on_message("measuring this machine")
            [station] = sim_stations(config.scenes[0], 1, questions=config.collect.questions)
            tasks = len(station_tasks(station))
            pace = measure_pace(config)
            left = max(1.0, minutes - (time.monotonic() - began) / 60)
            config, schedule = fitted(config, left, pace, tasks)
            on_message(str(schedule))
        record = improve_in_simulation(folder, config, command=command, on_message=on_message)
        on_message("writing the report")
        return DemoResult(record, write_report(folder))


def _between(least: int, wanted: float, most: int) -> int:
    """Return `wanted`, but at most `most`, which may be less than `least`."""
    return min(most, max(least, int(wanted)))
