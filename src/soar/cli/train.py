"""`soar train`: policies from the episodes of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from annotated_types import Ge, Gt, Lt

from soar.cli.options import FLAT, OUT, PRESET, changed, default_of, saved_config
from soar.errors import ConfigError
from soar.training.policy import PRESETS, PolicyTrainConfig, with_fit
from soar.types import Query
from soar.utils.config import check_ranges
from soar.utils.files import public_name

if TYPE_CHECKING:
    from soar.data.mixture import Source

Preset = Literal["paper", "compact", "susie", "debug"]


@dataclass(frozen=True)
class OwnData:
    """The robots' own episodes in the mixture."""

    store: Path | None = None
    """Store of collected episodes; without it there are none."""
    query: Query = field(default_factory=lambda: Query(outcomes=("success",)))
    """Filter of these episodes."""
    corrections: str | None = None
    """Subgoal generator for scripted corrections instead of imitation, failed episodes included: "compact", or the
    folder of one that `soar subgoals finetune` made."""
    share: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the samples (paper: 0.2 with all scenes); without it, up-sampling determines the share."""
    upsample: Annotated[float, Ge(0)] = 10
    """Factor by which these episodes are up-sampled (paper: 10 with one scene)."""
    takeovers: Annotated[float, Ge(0)] = 1.0
    """Weight of steps that a person or an expert chose in the policy's place, relative to the policy's own: 0 leaves
    them out, 1 keeps them as they are."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.store is None and (given := changed(self, "store")):
            raise ConfigError(f"--own.{given[0]} is for the robots' own episodes; give --own.store")


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    preset = PRESETS[given["preset"]](given["kind"])
    return {"config": with_fit(preset, trackers=("tensorboard",))}


@default_of(_defaults)
def train(
    kind: Annotated[Literal["gcbc", "lcbc"], tyro.conf.Positional],
    store: Path,
    out: Annotated[Path, OUT],
    which: Annotated[Query, FLAT],
    config: Annotated[PolicyTrainConfig, FLAT],
    own: OwnData,
    preset: Annotated[Preset, PRESET] = "compact",
    start: Path | None = None,
) -> None:
    """Train a policy on the episodes of a store. The same command resumes.

    Examples, on demonstrations, then with what the robots collected, then with scripted corrections of all of it:
        soar train gcbc --store demos --out runs/first
        soar train gcbc --store demos --out runs/second --start runs/first --own.store collected
        soar train gcbc --store demos --out third --start first --own.store collected --own.corrections compact

    Several GPUs, or processes of a CPU: torchrun --nproc-per-node 4 -m soar train gcbc ...

    Args:
        kind: "gcbc" reaches goal images, "lcbc" follows instructions.
        store: the store's folder.
        out: folder of the checkpoint, log.jsonl, TensorBoard's curves, and the state for resuming.
        which: filter of the episodes.
        config: model, data and optimization.
        own: the robots' own episodes.
        preset: defaults of all options below: "paper" has the paper's numbers; "compact" fits a CPU; "susie" is
            SuSIE's low-level policy (a diffusion head with chunks of four); "debug" runs in seconds.
        start: a checkpoint's folder to begin from; "lcbc" can begin from a "gcbc" one.
    """
    from soar import checkpoint as checkpoints
    from soar.data.store.lance import tag_version
    from soar.training.policy import train_policy
    from soar.utils.hardware import is_main_process

    before = checkpoints.load(start, kind) if start else None
    sources = _sources(config, store, which, own, out)
    with saved_config(train, out):
        _, result = train_policy(config, sources, out, start=before)
    if is_main_process():
        id = checkpoints.load(out).id
        for path, source in ((store, sources[0]), (own.store, sources[-1])):
            if path is not None:
                tag_version(path, id, source.frames.version)
        print(
            f"checkpoint {id} in {public_name(out)}: step {result.step}, loss {result.loss:.4f}, "
            f"{result.samples_per_s:.0f} samples/s, {result.wait_share:.1%} of the time waiting for data"
        )


def _sources(
    config: PolicyTrainConfig, store: Path, which: Query, own: OwnData, out: Path
) -> Sequence[Source]:
    """Sources of the store's episodes, and of the robots' own if there are any."""
    from soar.data.frame_cache import build_frames
    from soar.data.idle_frames import drop_idle_frames
    from soar.data.mixture import Source, upsampled_share
    from soar.data.store.lance import open_store
    from soar.data.takeovers import weight_takeovers, with_takeovers
    from soar.improvement.methods.corrections.config import CorrectionsConfig
    from soar.improvement.methods.corrections.labels import correction_sources, make_corrections
    from soar.improvement.methods.corrections.planner import queries_by_scene
    from soar.improvement.methods.method import AUTONOMOUS_SHARE

    r, cache = config.policy.resolution, out / "frames"
    cameras = config.policy.cameras
    given = build_frames(open_store(store, read_only=True), which, r, cache, cameras=cameras)
    first = Source("pretraining", given, 1.0, config.goals)
    if own.store is None:
        return [first]
    collected = open_store(own.store, read_only=True)
    if own.corrections:
        queries = queries_by_scene(collected, own.query)
        corrections = CorrectionsConfig()
        corrected = make_corrections(collected, queries, own.corrections, cache, r, corrections)
        share = AUTONOMOUS_SHARE if own.share is None else own.share
        return [replace(first, weight=1 - share), *correction_sources(corrected, share)]
    frames = build_frames(collected, own.query, r, cache, cameras=cameras)
    frames = with_takeovers(collected, frames)
    second = Source("autonomous", frames, 1.0, config.autonomous_goals, config.autonomous_sum_steps)
    share = own.share or upsampled_share(
        len(second.steps()[0]), len(first.steps()[0]), own.upsample
    )
    if config.autonomous_min_motion_m:
        second = drop_idle_frames(second, config.autonomous_min_motion_m)
    second = replace(second, weight=share)
    return [replace(first, weight=1 - share), *weight_takeovers(second, own.takeovers)]
