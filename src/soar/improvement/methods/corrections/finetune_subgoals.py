"""Fine-tuning of the compact keypoint predictor on a station's own samples, mixed with those of other scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Lt

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.frame_cache import build_frames
from soar.data.store.lance import LanceStore
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.planner import from_each_scene
from soar.registry import subgoals_spec
from soar.subgoals.compact.generator import FINETUNED_FROM, KIND, load_compact
from soar.training.fit import FitConfig, FitResult
from soar.training.keypoint_predictor import (
    MixedKeypointBatches,
    predicting,
    train_keypoint_predictor,
)
from soar.training.keypoint_samples import KeypointSamples
from soar.types import Query
from soar.utils.config import check_ranges

OtherSamples: TypeAlias = Callable[[int, int], KeypointSamples]
"""Makes the keypoint samples of other scenes, given numbers of scenes and of processes."""


@dataclass(frozen=True)
class FinetuneSubgoalsConfig:
    """Fine-tuning of the compact subgoal generator on own episodes, besides corrections of the policy.

    Not in the paper, where SuSIE stays as it is.
    """

    steps: Annotated[int, Ge(0)] = 400
    """Gradient steps; 0 leaves the generator as it is."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Samples of a gradient step."""
    learning_rate: Annotated[float, Gt(0)] = 4e-4
    """Learning rate after warmup."""
    own_share: Annotated[float, Gt(0), Lt(1)] = 0.4
    """Share of the station's own samples in a batch; the others are of other scenes."""
    other_scenes: Annotated[int, Ge(1)] = 150
    """Number of other scenes; their samples are made once and shared by all runs."""
    passes: Annotated[int, Ge(1)] = 2
    """Number of times that own episodes are read and the original generator is fine-tuned on them; each pass
    reads with the generator of the pass before."""
    attention_weight: Annotated[float, Ge(0)] = 0.1
    """Weight of the loss on the attention to the named objects, as in pretraining."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def fit(self) -> FitConfig:
        """Optimizer settings."""
        every = min(100, self.steps)
        return FitConfig(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate,
            warmup_steps=min(100, self.steps // 4), betas=(0.9, 0.98), weight_decay=1e-2,
            ema_decay=0.998, log_every=every, save_every=every,
        )  # fmt: skip


def finetune_subgoals(
    store: LanceStore,
    queries: Sequence[Query],
    subgoals: str,
    out: Path,
    config: FinetuneSubgoalsConfig,
    corrections: CorrectionsConfig,
    others: OtherSamples,
    workers: int = 2,
) -> FitResult:
    """Fine-tune a subgoal generator on all episodes of some scenes; resumes an earlier call for `out`.

    Args:
        store: the episode store.
        queries: one for each scene, its episodes, failures included.
        subgoals: the generator to start from, as `soar.registry` names it.
        out: folder of the new generator; earlier passes and the decoded frames are kept beside it.
        config: training settings.
        corrections: constants of the labels.
        others: makes keypoint samples of other scenes.
        workers: processes that make them, and threads that decode episodes.

    Raises:
        ConfigError: the generator has no keypoint predictor, or no scene can be labeled.
    """
    start = checkpoints.load(subgoals_spec(subgoals).folder, KIND)
    net = predicting(start)
    cache = out.parent / "frames"
    episodes = [build_frames(store, q, net.input_resolution, cache, workers) for q in queries]
    other_samples = others(config.other_scenes, workers)
    folders = [out.with_name(f"{out.name}-pass-{i}") for i in range(1, config.passes)]
    for folder in [*folders, out]:
        label = partial(keypoint_labels, reader=load_compact(subgoals), config=corrections)
        own_samples = KeypointSamples.concatenate(from_each_scene(label, episodes))
        result = finetune_keypoints(start, own_samples, other_samples, folder, config)
        subgoals = str(folder)
    return result


def finetune_keypoints(
    start: Checkpoint,
    own: KeypointSamples,
    others: KeypointSamples,
    out: str | Path,
    config: FinetuneSubgoalsConfig,
) -> FitResult:
    """Train the keypoint predictor of a subgoal generator and write the whole generator; resumes a run in `out`.

    The renderer stays as it is: what the arm looks like at a position has not changed.

    Raises:
        ConfigError: the checkpoint has no keypoint predictor.
        CheckpointError: `out` holds a run with other settings.
    """
    provenance = {
        FINETUNED_FROM: start.id,
        "moments": len(own.images),
        "own_share": config.own_share,
    }
    batches = MixedKeypointBatches(own, others, config.own_share, config.fit.seed)
    return train_keypoint_predictor(
        start, batches, out, config.fit, config.attention_weight, provenance
    )
