"""`soar train`: fit a policy to the episodes of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from soar.training.tracking import TrackerName
from soar.types import Query

if TYPE_CHECKING:
    from soar.data.mixture import Source
    from soar.training.policy import PolicyTrainConfig

Preset = Literal["paper", "compact", "debug"]
Which = Annotated[Query, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Changes:
    """Settings that differ from the preset's; what isn't given stays as the preset has it."""

    steps: int | None = None
    """Gradient steps; the learning rate falls to zero at the last."""
    batch_size: int | None = None
    """Samples a step, over all processes."""
    learning_rate: float | None = None
    warmup_steps: int | None = None
    weight_decay: float | None = None
    accumulate: int | None = None
    """Parts each process works through one after another for each step, to save memory."""
    precision: Literal["auto", "fp32", "bf16"] | None = None
    device: str | None = None
    """"auto", "cpu", "cuda", "cuda:1"..."""
    seed: int | None = None
    log_every: int | None = None
    save_every: int | None = None
    trackers: tuple[TrackerName, ...] | None = None
    """Beside log.jsonl."""


@dataclass(frozen=True)
class Own:
    """The robots' own episodes, mixed in: near goals, and summed actions or pauses left out, as the preset has it."""

    store: Path | None = None
    """A store of collected episodes; without it there are none."""
    query: Query = field(default_factory=lambda: Query(outcomes=("success",)))
    """Which of them."""
    corrections: str | None = None
    """Learn what an able hand would have done in them, failed ones too, instead of imitating them: "compact", or the
    folder of a taught imagination (`soar subgoals practise`), which says where things were."""
    share: float | None = None
    """Of all samples; the paper: 0.2 with all scenes. Without it, up-sampling decides."""
    upsample: float = 10
    """How often they are seen for their size; the paper: 10 with one scene."""


def train(
    kind: Annotated[Literal["gcbc", "lcbc"], tyro.conf.Positional],
    store: Path,
    out: Path,
    which: Which,
    preset: Preset = "compact",
    fit: Changes = Changes(),
    own: Own = Own(),
    start: Path | None = None,
) -> None:
    """Train a policy on the episodes of a store. Give the same command again to resume.

    For example on demonstrations, and then again with what the robots collected:

    soar train gcbc --store demos --out runs/first

    soar train gcbc --store demos --out runs/second --start runs/first --own.store collected

    or, with a compact imagination, with what should have been done in all of it:

    soar train gcbc --store demos --out runs/third --start runs/first --own.store collected --own.corrections taught

    Several GPUs, or processes of a CPU: torchrun --nproc-per-node 4 -m soar train gcbc ...

    Args:
        kind: "gcbc" reaches goal images, "lcbc" follows words.
        store: the store's folder.
        out: gets the checkpoint, log.jsonl, TensorBoard's curves, and the state for resuming.
        which: the episodes, by the filters below.
        preset: "paper" is the paper's every number; "compact" fits a CPU; "debug" runs in seconds.
        fit: changes to the preset.
        own: the robots' own episodes, mixed in.
        start: a checkpoint's folder to begin from; "lcbc" can begin from a "gcbc" one.
    """
    from soar import checkpoint as checkpoints
    from soar.training.policy import PRESETS, train_policy, with_fit
    from soar.utils.hardware import is_main_process

    changed = {k: v for k, v in asdict(fit).items() if v is not None}
    recipe = with_fit(PRESETS[preset](kind), **{"trackers": ("tensorboard",), **changed})
    before = checkpoints.load(start, kind) if start else None
    _, result = train_policy(recipe, _sources(recipe, store, which, own, out), out, start=before)
    if not is_main_process():
        return
    print(
        f"checkpoint {checkpoints.load(out).id} in {out}: step {result.step}, loss {result.loss:.4f}, "
        f"{result.samples_per_s:.0f} samples/s, {result.wait_share:.1%} of the time waiting for data"
    )


def _sources(
    recipe: PolicyTrainConfig, store: Path, which: Query, own: Own, out: Path
) -> Sequence[Source]:
    """The store's episodes, and the robots' own if there are any, as the recipe relabels them."""
    from soar.data.frame_cache import build_frames
    from soar.data.idle_frames import drop_idle_frames
    from soar.data.mixture import Source, upsampled_share
    from soar.data.store.lance import open_store
    from soar.improvement.methods.corrections.config import CorrectionsConfig
    from soar.improvement.methods.corrections.labels import (
        correction_sources,
        make_corrections,
    )
    from soar.improvement.methods.corrections.planner import queries_by_scene
    from soar.improvement.methods.method import AUTONOMOUS_SHARE

    r, cache = recipe.policy.resolution, out / "frames"
    given = build_frames(open_store(store, read_only=True), which, r, cache)
    first = Source("pretraining", given, 1.0, recipe.goals)
    if own.store is None:
        return [first]
    collected = open_store(own.store, read_only=True)
    if own.corrections:
        queries = queries_by_scene(collected, own.query)
        corrected = make_corrections(collected, queries, own.corrections, cache, r, CorrectionsConfig())
        part = AUTONOMOUS_SHARE if own.share is None else own.share
        return [replace(first, weight=1 - part), *correction_sources(corrected, part)]
    frames = build_frames(collected, own.query, r, cache)
    second = Source("autonomous", frames, 1.0, recipe.autonomous_goals, recipe.autonomous_sum_steps)
    share = own.share
    if share is None:
        share = upsampled_share(len(second.steps()[0]), len(first.steps()[0]), own.upsample)
    if recipe.autonomous_min_motion_m:
        second = drop_idle_frames(second, recipe.autonomous_min_motion_m)
    return [replace(first, weight=1 - share), replace(second, weight=share)]
