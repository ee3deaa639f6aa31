"""`evaluate`: trials in parallel worker processes, resumable, from starts that every checkpoint shares.

A unit of work is a *batch*: up to `LOCKSTEP` neighbouring starts of one task. Its random numbers come
from its own first seed, so the outcome depends neither on the number of workers nor on interruptions
between batches.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import numpy as np

from soar.errors import ConfigError
from soar.evaluate.bench import Bench, MakeBench
from soar.evaluate.goals import Goals
from soar.evaluate.results import Evaluation, Key, Setting, Trial, add_trials, open_evaluation
from soar.evaluate.trials import Plan, run_trials
from soar.interfaces import Policy
from soar.progress import progress_bar

FIRST_SEED = 1_000_000
"""Seeds of evaluation starts begin here, far from those of demonstrations and of stations."""
LOCKSTEP = 8
"""Benches that one process steps together."""


@dataclass(frozen=True)
class Team:
    """How a worker gets what it needs: picklable recipes, called once in each process."""

    policy: Callable[[], Policy]
    goals: Callable[[], Goals]
    bench: MakeBench


@dataclass(frozen=True)
class Batch:
    """Neighbouring starts of one task that are tried together."""

    keys: tuple[Key, ...]
    entropy: tuple[int, ...]


@dataclass
class Crew:
    """One process at work: its models, and benches of the scene it was last in."""

    team: Team
    folder: Path
    plan: Plan
    scene: str = ""
    benches: list[Bench] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = self.team.policy()
        self.goals = self.team.goals()

    def run(self, batch: Batch) -> list[Trial]:
        """Try every start of a batch."""
        self._go_to(batch.keys[0].scene, len(batch.keys))
        rng = np.random.default_rng(batch.entropy)
        benches = self.benches[: len(batch.keys)]
        return run_trials(benches, batch.keys, self.policy, self.goals, self.plan, rng, self.folder)

    def close(self) -> None:
        """Release all benches."""
        for bench in self.benches:
            bench.close()
        self.benches = []

    def _go_to(self, scene: str, count: int) -> None:
        if scene != self.scene:
            self.close()
        self.scene = scene
        while len(self.benches) < count:
            self.benches.append(self.team.bench(scene))


def evaluate(
    team: Team,
    setting: Setting,
    folder: str | Path,
    *,
    workers: int = 1,
    lockstep: int = LOCKSTEP,
    video_size: int = 128,
    quiet: bool = False,
) -> Evaluation:
    """Run the trials that `folder` lacks, and return all of them.

    Trials are noted as their batch finishes, so an interrupted evaluation goes on where it was. With
    one worker everything happens in this process. A real robot is evaluated with `lockstep=1`.

    Raises:
        ConfigError: the folder holds an evaluation with another setting.
    """
    evaluation = open_evaluation(folder, setting)
    plan = Plan(setting.subgoals_per_trial, setting.steps_per_subgoal, video_size)
    batches = missing_batches(evaluation, lockstep)
    with progress_bar() as bar:
        total = setting.trials * len(setting.tasks)
        row = bar.add_task("trials", total=total, note="", visible=not quiet)
        bar.update(row, completed=total - sum(len(b.keys) for b in batches))
        for trials in _work(team, plan, Path(folder), batches, workers):
            add_trials(Path(folder), trials)
            done = open_evaluation(folder).overall()
            bar.update(row, advance=len(trials), note=f"success {done.value:.0%}")
    return open_evaluation(folder)


def missing_batches(evaluation: Evaluation, lockstep: int = LOCKSTEP) -> list[Batch]:
    """What is left to do. Tasks take turns, so that an unfinished evaluation says something of each."""
    setting = evaluation.setting
    if setting.trials < 1 or not setting.tasks:
        raise ConfigError("an evaluation needs at least one trial of at least one task")
    known = {t.key for t in evaluation.trials if t.outcome != "unknown"}
    batches = []
    for first in range(0, setting.trials, lockstep):
        for scene, instruction in setting.tasks:
            seeds = range(first, min(first + lockstep, setting.trials))
            keys = [Key(scene, instruction, setting.first_seed + s) for s in seeds]
            lacking = tuple(k for k in keys if k not in known)
            entropy = (keys[0].seed, crc32(f"{scene}: {instruction}".encode()))
            if lacking:
                batches.append(Batch(lacking, entropy))
    return batches


def _work(
    team: Team, plan: Plan, folder: Path, batches: Sequence[Batch], workers: int
) -> Iterator[list[Trial]]:
    """Finished batches, in the order they finish."""
    if workers > 1 and len(batches) > 1:
        yield from _work_in_parallel(team, plan, folder, batches, min(workers, len(batches)))
    elif batches:
        crew = Crew(team, folder, plan)
        try:
            yield from map(crew.run, batches)
        finally:
            crew.close()


def _work_in_parallel(
    team: Team, plan: Plan, folder: Path, batches: Sequence[Batch], workers: int
) -> Iterator[list[Trial]]:
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(team, folder, plan)
    )
    try:
        for future in as_completed([pool.submit(_run, batch) for batch in batches]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_crew: Crew
"""This worker process's own."""


def _begin(team: Team, folder: Path, plan: Plan) -> None:
    import torch

    global _crew
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, after the running batch
    torch.set_num_threads(1)
    _crew = Crew(team, folder, plan)


def _run(batch: Batch) -> list[Trial]:
    return _crew.run(batch)
