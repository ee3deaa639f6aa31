"""Speed of this machine at the work of a run, measured in half a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from soar.checkpoint import load as load_checkpoint
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.frame_cache import Frames
from soar.data.mixture import Source
from soar.experiments.run_config import RunConfig, Teacher
from soar.promotion import promoted_models
from soar.registry import COMPACT, policy_spec, subgoals_spec
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Station
from soar.rollout.station_config import sim_stations
from soar.training.fit import fit
from soar.training.keypoint_predictor import KeypointLearner, net_config
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointBatches,
    KeypointSamples,
)
from soar.training.policy import train_policy, with_fit
from soar.types import EpisodeSummary, Proposal, Provenance, Verdict

_STEPS = 4
"""Gradient steps that are timed."""
_TRIAL = 0.8
"""Time of a trial relative to a collected episode's: .8 on a Zen 3, .45 on an AMX machine."""
_EPISODES, _LENGTH = 8, 50
"""Number and length of the random episodes that a policy is trained on."""
_WORDS = (32, 384)


class Pace(NamedTuple):
    """Time that a run's work takes on this machine."""

    episode_s: float
    """Collection of an episode, all stations in lockstep [s]."""
    trial_s: float
    """Trial of an evaluation [s]."""
    policy_step_s: float
    """Gradient step of the policy [s]; 0 where it isn't trained."""
    keypoint_step_s: float
    """Gradient step of the keypoint predictor [s]; 0 where it isn't fine-tuned."""


def measure_pace(config: RunConfig) -> Pace:
    """Measure the pace of a run: an episode of each station, and a few gradient steps of both models.

    Raises:
        ConfigError, CheckpointError: the run's models or scenes can't be loaded.
    """
    episode = _episode_s(config)
    learner = _episode_s(replace(config, teacher=Teacher())) if config.teacher.policy else episode
    finetunes = config.method in (None, "corrections") and config.subgoals == COMPACT
    step = _keypoint_step_s(config) if finetunes and config.finetune.steps else 0.0
    policy_step = _policy_step_s(config) if config.fit.steps else 0.0
    return Pace(episode, _TRIAL * learner, policy_step, step)


@contextmanager
def _muted(name: str) -> Iterator[None]:
    """Silence a logger: what happens to the objects during a measurement needs no repair."""
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


class _Stopwatch(Callback):
    """Time from the first start of an episode to the last end."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended, self.episodes = 0.0, 0

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Start the watch at the first episode."""
        self.began = self.began or time.monotonic()

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Note the end of an episode."""
        self.ended, self.episodes = time.monotonic(), self.episodes + 1


def _episode_s(config: RunConfig) -> float:
    options, watch = config.collect, _Stopwatch()
    stations = sim_stations(config.scenes[0], options.stations, options.seed, options.questions)
    with TemporaryDirectory(prefix="soar-pace-") as folder, _muted("soar.collection.status"):
        models, how = config.collecting(config.policy, config.subgoals)
        job = CollectionJob(Path(folder), models, how, options.stations)
        run_fleet(stations, job, callbacks=[watch])
    return (watch.ended - (watch.began or watch.ended)) / max(1, watch.episodes)


def _policy_step_s(config: RunConfig) -> float:
    start = load_checkpoint(policy_spec(promoted_models(config.policy)[0]).folder)
    recipe = with_fit(config.fit.recipe(start), steps=_STEPS, log_every=_STEPS, save_every=_STEPS)
    source = Source("noise", noise_frames(recipe.policy.resolution, _EPISODES, _LENGTH), 1.0)
    _, result = train_policy(recipe, [source], None)
    return recipe.fit.batch_size / result.samples_per_s


def _keypoint_step_s(config: RunConfig) -> float:
    checkpoint = load_checkpoint(subgoals_spec(promoted_models(config.subgoals)[1]).folder)
    learner = KeypointLearner(net_config(checkpoint), config.finetune.attention_weight)
    fitting = replace(config.finetune.fit, steps=_STEPS, log_every=_STEPS, save_every=_STEPS)
    samples = _noise_samples(net_config(checkpoint).input_resolution, fitting.batch_size)
    result = fit(learner, KeypointBatches(samples), fitting)
    return fitting.batch_size / result.samples_per_s


def noise_frames(resolution: int, episodes: int, length: int) -> Frames:
    """Make episodes of noise, to measure how fast a policy is trained."""
    n, rng = episodes * (length + 1), np.random.default_rng(0)
    verdict = Verdict("success")
    return Frames(
        images=rng.integers(0, 256, (n, resolution, resolution, 3), dtype=np.uint8),
        states=np.zeros((n, 7), np.float32),
        actions=rng.normal(size=(n, 7)).astype(np.float32),
        starts=np.arange(episodes + 1) * (length + 1),
        episodes=tuple(
            EpisodeSummary(
                str(i), "put the spoon in the pot", length, verdict,
                Provenance("s", "bridge", "a", i, 0.0),
            )
            for i in range(episodes)
        ),
    )  # fmt: skip


def _noise_samples(resolution: int, count: int) -> KeypointSamples:
    rng = np.random.default_rng(0)
    ahead = MAX_STEPS_AHEAD - MIN_STEPS_AHEAD + 1
    return KeypointSamples(
        images=rng.integers(0, 256, (count, resolution, resolution, 3), dtype=np.uint8),
        points=rng.uniform(-1, 1, (count, 7, 2)).astype(np.float32),
        later=rng.uniform(-1, 1, (count, ahead, 7, 2)).astype(np.float32),
        states=np.zeros((count, 7), np.float32),
        words=np.zeros((1, *_WORDS), np.float16),
        rows=np.zeros(count, np.int64),
        sided=np.zeros(count, bool),
    )
