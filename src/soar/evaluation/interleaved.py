"""Evaluation of several policies that take turns on the same real stations, in random order.

A person who sets starts and judges ends can't tell the policies apart. The order is random but fixed by a seed: the
policies take turns at each start, so that what drifts during the day (light, battery, the person) affects all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from soar.errors import RobotFault
from soar.evaluation.envs import RealEvalEnv
from soar.evaluation.results import EvalSetting, Evaluation, TrialKey, add_trials, open_evaluation
from soar.evaluation.runner import missing_batches
from soar.evaluation.trials import run_trials
from soar.interfaces import Policy, SubgoalGenerator
from soar.rollout.contracts import require_contracts
from soar.rollout.station import EpisodeConfig

log = logging.getLogger(__name__)

PASSES = 3
"""Attempts at a trial that a fault ends or that nobody can judge."""


class PlannedTrial(NamedTuple):
    """A start to try, and the index of the entry that tries it."""

    key: TrialKey
    entry: int


class Entry(NamedTuple):
    """One policy of an interleaved evaluation."""

    policy: Policy
    subgoals: SubgoalGenerator | None
    setting: EvalSetting
    folder: Path


def evaluate_interleaved(
    entries: Sequence[Entry],
    make_env: Callable[[str], RealEvalEnv],
    *,
    seed: int,
    video_size: int = 128,
    on_trial: Callable[[int, int, TrialKey], None] = lambda number, total, key: None,
) -> list[Evaluation]:
    """Run the trials that the entries' folders lack, and return all evaluations.

    Args:
        entries: the policies, with settings of the same tasks, trials and episode length. Trials whose tasks can't
            start in the scene as it is wait for those whose tasks can.
        make_env: makes a station's environment, by name.
        seed: seed of the order.
        video_size: height and width of each trial's video in pixels; 0 records none.
        on_trial: called before each trial with its number, the number of missing trials, and its start.

    Raises:
        ConfigError: a folder holds an evaluation with another setting.
    """
    with ExitStack() as stack:
        envs: dict[str, RealEvalEnv] = {}
        for _ in range(PASSES):
            left = missing_trials(entries, seed)
            total = len(left)
            while left:
                for scene in {key.scene for key, _ in left} - envs.keys():
                    envs[scene] = make_env(scene)
                    stack.callback(envs[scene].close)
                key, index = chosen = _next(left, envs)
                left.remove(chosen)
                on_trial(total - len(left), total, key)
                _run(entries[index], envs[key.scene], key, video_size)
    return [open_evaluation(e.folder) for e in entries]


def missing_trials(entries: Sequence[Entry], seed: int) -> list[PlannedTrial]:
    """Return the trials that the entries' folders lack, in the order of a seed.

    Tasks take turns, and all entries try a start before the next one begins.
    """
    evaluations = [open_evaluation(e.folder, e.setting) for e in entries]
    missing = [_starts(evaluation) for evaluation in evaluations]
    order: list[PlannedTrial] = []
    for key in _starts(replace(evaluations[0], trials=())):
        rng = np.random.default_rng([seed, *key.entropy])
        turns = rng.permutation(len(entries)).tolist()
        order += [PlannedTrial(key, i) for i in turns if key in missing[i]]
    return order


def _starts(evaluation: Evaluation) -> list[TrialKey]:
    """Return the starts that an evaluation lacks."""
    return [key for batch in missing_batches(evaluation, lockstep=1) for key in batch.keys]


def _next(left: Sequence[PlannedTrial], envs: Mapping[str, RealEvalEnv]) -> PlannedTrial:
    """Return the first trial whose task can start, or the first one."""
    can_start: dict[tuple[str, str], bool] = {}
    for trial in left:
        task = (trial.key.scene, trial.key.instruction)
        try:
            if task not in can_start:
                can_start[task] = envs[trial.key.scene].can_start(trial.key.instruction)
        except RobotFault:
            return trial  # which recovers the robot
        if can_start[task]:
            return trial
    return left[0]


def _run(entry: Entry, env: RealEvalEnv, key: TrialKey, video_size: int) -> None:
    """Try one start; a fault while it is set leaves the trial missing."""
    require_contracts([(key.scene, env.robot)], entry.policy)
    setting = entry.setting
    episode = EpisodeConfig(
        setting.subgoals_per_trial, setting.steps_per_subgoal, duration_s=setting.duration_s
    ).at(env.robot.period_s)
    rng = np.random.default_rng(key.entropy)
    try:
        trials = run_trials(
            [env], [key], entry.policy, entry.subgoals, episode, rng, entry.folder, video_size
        )
    except RobotFault as error:
        log.warning("%s: %s; recovering", key.scene, error)
        env.when_free(env.robot.recover)
        return
    add_trials(entry.folder, trials)
