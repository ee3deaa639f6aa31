"""Critic training: configuration, presets, and `train_critic`, which joins critic, transforms, batches and `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from soar.checkpoint import Checkpoint
from soar.contract.compare import require_match, require_unit_gripper
from soar.contract.contract import WIDOWX, Contract
from soar.critics.actions import ActionBounds, bounds_of
from soar.critics.config import ALGORITHMS, CriticConfig
from soar.critics.critic import Critic, critic_from
from soar.critics.learning.batches import CriticBatches
from soar.critics.learning.labels import CriticSource, StoreVerdicts
from soar.critics.learning.learner import CriticLearner
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import recorded_subgoals
from soar.data.mixture import SMALLEST_STD, Embed
from soar.data.store.lance import LanceStore
from soar.data.takeovers import with_takeovers
from soar.data.transforms import (
    AnyTransform,
    Color,
    Crop,
    NormalizeStates,
    Resize,
    ToFloat,
    Transform,
    transforms_from,
)
from soar.errors import CheckpointError, ConfigError
from soar.nn.text import SentenceEncoder
from soar.training.fit import FitConfig, FitResult, fit
from soar.types import Query

_Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True)
class CriticTrainConfig:
    """Critic, data and optimization."""

    critic: CriticConfig = field(default_factory=CriticConfig)
    image_transforms: tuple[AnyTransform, ...] = (
        Crop(area=(0.8, 1.0)),
        Color(brightness=0.1, contrast=(0.9, 1.1), saturation=(0.9, 1.1), hue=0.05),
    )
    """Transforms of observations and goals, in order; the defaults are V-GPS's."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=30_000, batch_size=128, warmup_steps=1000, betas=(0.9, 0.999), weight_decay=0.0,
            clip_norm=10.0, save_every=1000,
        )
    )  # fmt: skip


def compact(algorithm: str = "iql") -> CriticTrainConfig:
    """Return the configuration of a small critic at 96 px, for CPUs.

    Its encoder costs a fifth of the compact policy's, so that steering with ten samples takes at most about 1.3 times
    the time of one (docs/performance.md).
    """
    return CriticTrainConfig(replace(_critic(algorithm), widths=(32, 64, 64), patch=4))


def debug(algorithm: str = "iql") -> CriticTrainConfig:
    """Return the configuration of a tiny critic and six steps, to see everything run end to end."""
    critic = replace(
        _critic(algorithm), resolution=32, widths=(8, 8), embeddings=2, feature_dim=16, hidden=(16, 16),
        cql_actions=2, context_dim=8,
    )  # fmt: skip
    steps = FitConfig(
        steps=6, batch_size=8, warmup_steps=2, weight_decay=0.0, log_every=1, save_every=2
    )
    return CriticTrainConfig(critic, fit=steps)


PRESETS: dict[str, Callable[[str], CriticTrainConfig]] = {"compact": compact, "debug": debug}


def critic_source(
    store: LanceStore,
    name: str,
    query: Query,
    config: CriticConfig,
    cache: str | Path,
    weight: float = 1.0,
) -> CriticSource:
    """Return a source of a store's episodes, whose verdicts are read whenever a batch is drawn.

    Args:
        store: the episodes.
        name: name of the source.
        query: filter of the episodes; successes and failures.
        config: the critic's configuration.
        cache: folder of frame caches.
        weight: share of the samples, relative to other sources.

    Raises:
        StoreError: no episode matches, or one is damaged.
        ConfigError: the labels are those of takeovers, and there are none.
    """
    frames = with_takeovers(store, build_frames(store, query, config.resolution, cache))
    if config.rewards.labels == "takeover" and frames.taken_over is None:
        raise ConfigError(f"nobody took over in '{store.path}': labels 'takeover' need takeovers")
    recorded = config.condition == "goal" and config.rewards.labels != "hindsight"
    subgoals = recorded_subgoals(store, frames, 1.0) if recorded else None
    return CriticSource(name, frames, weight, StoreVerdicts(store), subgoals)


def train_critic(
    config: CriticTrainConfig,
    sources: Sequence[CriticSource],
    folder: str | Path | None,
    *,
    start: Checkpoint | None = None,
    validation: Sequence[CriticSource] = (),
) -> tuple[Critic, FitResult]:
    """Train a critic, or resume the run in `folder`.

    A resumed run equals an uninterrupted one as long as no verdict has changed in between.

    Args:
        config: critic, data and optimization. Without `tasks`, a critic with task ids gets those of the data.
        sources: training data.
        folder: log, checkpoint and training state; None keeps nothing.
        start: checkpoint to start from, of the same configuration, as for PTR's second phase or a refit.
        validation: data whose loss is logged.

    Raises:
        ConfigError: the sources' resolution isn't the critic's, no episode has a verdict, or a gripper has another
            range than 0 to 1.
        CheckpointError: `folder` holds a run with other settings, or `start` is another kind of critic.
    """
    critic = config.critic
    if critic.condition == "task" and not critic.tasks:
        known = {e.instruction for s in [*sources, *validation] for e in s.frames.episodes}
        critic = replace(critic, tasks=tuple(sorted(known)))
    embed = _embedder(critic, start)
    batches = CriticBatches(sources, critic, config.fit.seed, embed)
    held_out = CriticBatches(validation, critic, config.fit.seed, embed) if validation else None
    contract = batches.contract
    require_unit_gripper(contract)
    critic = replace(critic, bounds=_bounds(critic, contract, sources, start))
    transforms: list[Transform] = [Resize(critic.resolution), ToFloat(), *config.image_transforms]
    if critic.state_dim and contract.state != WIDOWX.state:
        transforms.append(_normalized_states(sources, start))
    torch.manual_seed(config.fit.seed)
    learner = CriticLearner(critic, transforms, contract)
    if start is not None:
        names = "the training data", f"critic {start.id}"
        require_match(contract, start.contract, names, uses_state=critic.state_dim > 0)
        _start_from(learner, start)
    provenance = {
        "data": batches.provenance(),
        "seed": config.fit.seed,
        "started_from": start.id if start else None,
    }

    def export() -> Checkpoint:
        return learner.checkpoint(provenance)

    result = fit(learner, batches, config.fit, folder, export=export, validation=held_out)
    return critic_from(export()).eval(), result


def _critic(algorithm: str) -> CriticConfig:
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"no critic '{algorithm}'; valid: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm]()


def _bounds(
    config: CriticConfig,
    contract: Contract,
    sources: Sequence[CriticSource],
    start: Checkpoint | None,
) -> ActionBounds:
    """Return the units of actions: those given or, for an arm other than the WidowX, those of the start or data."""
    if contract.action == WIDOWX.action or config.bounds != ActionBounds():
        return config.bounds
    if start is not None:
        return start.model_config(CriticConfig).bounds
    return bounds_of(np.concatenate([_inside(s.frames)[0] for s in sources]), contract.action)


def _normalized_states(
    sources: Sequence[CriticSource], start: Checkpoint | None
) -> NormalizeStates:
    """Return the z-scoring of an arm's states, by the start or the data; the WidowX's scales are fixed."""
    for transform in transforms_from(start.transforms) if start else ():
        if isinstance(transform, NormalizeStates):
            return transform
    states = np.concatenate([_inside(s.frames)[1] for s in sources]).astype(np.float64)
    std = np.maximum(states.std(0), SMALLEST_STD)
    return NormalizeStates(tuple(states.mean(0).tolist()), tuple(std.tolist()))


def _inside(frames: Frames) -> tuple[_Floats, _Floats]:
    """Return the actions and states of all frames but the episodes' last, which have no action."""
    acting = np.delete(np.arange(len(frames)), frames.starts[1:] - 1)
    return frames.actions[acting], frames.states[acting]


def _embedder(config: CriticConfig, start: Checkpoint | None) -> Embed | None:
    """Return the sentence encoder of a critic with instructions: its own, or that in the weights it starts from."""
    if config.condition != "text":
        return None
    if config.sentences:
        known = critic_from(start).network.known if start else None
        if known is None:
            raise ConfigError(
                "`sentences` are those of a critic to start from, which holds their embeddings"
            )
        return lambda sentences: known(sentences).numpy()
    encoder = SentenceEncoder(config.words)
    if encoder.dim != config.word_dim:
        raise ConfigError(f"word_dim is {config.word_dim}; '{config.words}' needs {encoder.dim}")
    return lambda sentences: encoder(sentences).numpy()


def _start_from(learner: CriticLearner, start: Checkpoint) -> None:
    """Copy a checkpoint's weights into the critic, its target and its actor."""
    before = critic_from(start)
    architecture = (
        "condition",
        "tasks",
        "sentences",
        "encoder",
        "widths",
        "patch",
        "embeddings",
        "feature_dim",
        "state_dim",
        "hidden",
        "ensemble",
    )
    for name in (*architecture, "layer_norm", "inject", "actor", "actor_encoder", "bounds"):
        old, new = getattr(before.config, name), getattr(learner.config, name)
        if old != new:
            raise CheckpointError(f"critic {start.id} has {name} {old}, the configuration {new}")
    learner.network.load_state_dict(before.network.state_dict())
    learner.target.load_state_dict(before.network.state_dict())
    if learner.actor is not None and before.actor is not None:
        learner.actor.load_state_dict(before.actor.state_dict())
