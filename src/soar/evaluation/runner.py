"""`evaluate`: trials in parallel worker processes, resumable, from starts that all checkpoints share.

The unit of work is a *batch* of up to `LOCKSTEP` starts in one scene. Its random numbers derive from its own first
seed, so the outcome depends neither on the number of workers nor on interruptions between batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from soar.errors import ConfigError, SoarError
from soar.evaluation.envs import EvalEnv, MakeEvalEnv
from soar.evaluation.expert_subgoals import ExpertFrames, ExpertSubgoals, renderer_of
from soar.evaluation.results import (
    EvalSetting,
    Evaluation,
    Trial,
    TrialKey,
    add_trials,
    open_evaluation,
)
from soar.evaluation.trials import run_trials
from soar.interfaces import Policy, SubgoalGenerator
from soar.rollout.checked_models import CheckedPolicy, CheckedSubgoals
from soar.rollout.contracts import require_contracts
from soar.rollout.station import EpisodeConfig
from soar.utils.processes import worker_pool
from soar.utils.progress import progress_bar

LOCKSTEP = 8
"""Environments that one process steps together."""

SubgoalSource: TypeAlias = Callable[[], SubgoalGenerator] | ExpertFrames | None
"""A factory of a subgoal generator, an expert's frames, or None for a language-conditioned policy."""


@dataclass(frozen=True)
class EvalSpec:
    """Picklable factories of a worker's models and environments, called once in each process."""

    policy: Callable[[], Policy]
    subgoals: SubgoalSource
    make_env: MakeEvalEnv
    attended: bool = False
    """Whether a person attends a real robot: one trial at a time, and no progress bar between prompts."""


@dataclass(frozen=True)
class TrialBatch:
    """Starts in one scene that are run together."""

    keys: tuple[TrialKey, ...]
    entropy: tuple[int, ...]


@dataclass
class EvalWorker:
    """Models of one process, and environments of the scene that it ran last."""

    spec: EvalSpec
    folder: Path
    episode_config: EpisodeConfig
    video_size: int
    scene: str = ""
    envs: list[EvalEnv] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = CheckedPolicy(self.spec.policy())
        made = self.spec.subgoals() if callable(self.spec.subgoals) else None
        self.generator = None if made is None else CheckedSubgoals(made)
        self.renderer = renderer_of(self.spec.subgoals)

    def run(self, batch: TrialBatch) -> list[Trial]:
        """Run every start of a batch."""
        self.open_envs(batch.keys[0].scene, len(batch.keys))
        envs = self.envs[: len(batch.keys)]
        require_contracts([(self.scene, env.robot) for env in envs], self.policy)
        return run_trials(
            envs,
            batch.keys,
            self.policy,
            self.subgoals_for(envs),
            self.episode_config.at(envs[0].robot.period_s),
            np.random.default_rng(batch.entropy),
            self.folder,
            self.video_size,
        )

    def subgoals_for(self, envs: Sequence[EvalEnv]) -> SubgoalGenerator | None:
        """Return the generator of some environments' subgoals; None without one."""
        if isinstance(self.spec.subgoals, ExpertFrames):
            return ExpertSubgoals(envs, self.spec.subgoals.steps_ahead, self.renderer)
        return self.generator

    def close(self) -> None:
        """Release all environments."""
        for env in self.envs:
            env.close()
        self.envs = []

    def open_envs(self, scene: str, count: int) -> None:
        """Have at least `count` environments of a scene."""
        if scene != self.scene:
            self.close()
        self.scene = scene
        while len(self.envs) < count:
            self.envs.append(self.spec.make_env(scene))


def evaluate(
    spec: EvalSpec,
    setting: EvalSetting,
    folder: str | Path,
    *,
    workers: int = 1,
    lockstep: int = LOCKSTEP,
    video_size: int = 128,
) -> Evaluation:
    """Run the trials that `folder` lacks, and return all of them.

    Trials are written as their batch finishes, so an interrupted evaluation can be resumed. With one worker, or a
    person attending, everything runs in this process.

    Args:
        spec: models and environments.
        setting: tasks, number of trials, seeds and episode length.
        folder: folder of the evaluation.
        workers: number of processes.
        lockstep: environments that one process steps together.
        video_size: side of each trial's video [pixels]; 0 records none.

    Raises:
        ConfigError: the folder holds an evaluation with another setting.
    """
    evaluation = open_evaluation(folder, setting)
    # A real arm goes home before the verdict, out of the camera's view; simulated trials are judged without images.
    episode_config = EpisodeConfig(
        setting.subgoals_per_trial,
        setting.steps_per_subgoal,
        home_at_end=spec.attended,
        duration_s=setting.duration_s,
    )
    make_worker = partial(EvalWorker, spec, Path(folder), episode_config, video_size)
    if spec.attended:
        workers, lockstep = 1, 1
    batches = missing_batches(evaluation, lockstep)
    bar = progress_bar()
    bar.disable = spec.attended
    with bar:
        total = setting.trials * len(setting.tasks)
        row = bar.add_task("trials", total=total, note="")
        bar.update(row, completed=total - sum(len(b.keys) for b in batches))
        for trials in _run_batches(make_worker, batches, workers):
            add_trials(Path(folder), trials)
            success = open_evaluation(folder).overall()
            bar.update(row, advance=len(trials), note=f"success {success.value:.0%}")
    return open_evaluation(folder)


def missing_batches(evaluation: Evaluation, lockstep: int = LOCKSTEP) -> list[TrialBatch]:
    """Return the batches that an evaluation lacks. Tasks take turns, so that an unfinished evaluation covers each.

    Raises:
        ConfigError: the setting asks for no trial.
    """
    setting = evaluation.setting
    if setting.trials < 1 or not setting.tasks:
        raise ConfigError("an evaluation needs at least one trial of at least one task")
    known = {t.key for t in evaluation.trials if t.outcome != "unknown"}
    batches = []
    for first in range(0, setting.trials, lockstep):
        seeds = range(first, min(first + lockstep, setting.trials))
        for scene in setting.scenes:
            tasks = [instruction for name, instruction in setting.tasks if name == scene]
            keys = [TrialKey(scene, task, setting.first_seed + s) for task in tasks for s in seeds]
            batches += [
                _batch(keys[at : at + lockstep], known) for at in range(0, len(keys), lockstep)
            ]
    return [b for b in batches if b.keys]


def _batch(keys: Sequence[TrialKey], known: set[TrialKey]) -> TrialBatch:
    """Return a batch without the known starts, with the random numbers of the whole batch."""
    return TrialBatch(tuple(k for k in keys if k not in known), keys[0].entropy)


def _run_batches(
    make_worker: Callable[[], EvalWorker], batches: Sequence[TrialBatch], workers: int
) -> Iterator[list[Trial]]:
    """Yield the trials of each batch, in the order in which batches finish."""
    if workers > 1 and len(batches) > 1:
        yield from _run_in_parallel(make_worker, batches, min(workers, len(batches)))
    elif batches:
        worker = make_worker()
        try:
            yield from map(worker.run, batches)
        finally:
            worker.close()


def _run_in_parallel(
    make_worker: Callable[[], EvalWorker], batches: Sequence[TrialBatch], workers: int
) -> Iterator[list[Trial]]:
    try:
        with worker_pool(workers, partial(_init_process, make_worker)) as pool:
            for future in as_completed([pool.submit(_run_batch, batch) for batch in batches]):
                yield future.result()
    except BrokenProcessPool as error:
        raise SoarError(
            "a worker process died, perhaps for lack of memory; what was finished is kept: "
            "run the same again, with fewer workers"
        ) from error


_make_worker: Callable[[], EvalWorker]
_worker: EvalWorker | None = None
"""The worker of this process, made with its first batch, so that a failure to load raises an ordinary error."""


def _init_process(make_worker: Callable[[], EvalWorker]) -> None:
    import torch

    global _make_worker
    torch.set_num_threads(1)
    _make_worker = make_worker


def _run_batch(batch: TrialBatch) -> list[Trial]:
    global _worker
    _worker = _worker or _make_worker()
    return _worker.run(batch)
