"""`soar pretrain`: the packaged weights, each made by one command that resumes."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from soar.cli.options import FLAT, OUT, default_of, saved_config
from soar.pretraining.weights import DemonstrationSet
from soar.subgoals.compact.observation_encoder import PredictorSize
from soar.training.fit import FitConfig
from soar.training.keypoint_samples import KeypointSampleSet
from soar.training.policy import PolicyTrainConfig, compact, with_fit
from soar.training.subgoals import SubgoalTrainConfig
from soar.training.vlm import VLMTrainConfig
from soar.types import Regime
from soar.utils.config import to_plain
from soar.utils.files import cache_folder

if TYPE_CHECKING:
    from soar.checkpoint import Checkpoint
    from soar.subgoals.clips import ClipCorpus

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]

_SAME_SIZE = PredictorSize()
_STREAM_SEED = 1_000_000
"""Added to the seed of a corpus for the scenes that are generated during training."""


def policy_preset(kind: str, start: Path | None) -> PolicyTrainConfig:
    """Training of a packaged policy, with a lower learning rate from a checkpoint."""
    return with_fit(compact(kind), steps=10_500, **({"learning_rate": 4e-4} if start else {}))


def vlm_preset(start: Path | None) -> VLMTrainConfig:
    """Training of the packaged VLM, with a lower learning rate from a checkpoint."""
    config = VLMTrainConfig()
    rate = 5e-4 if start else config.fit.learning_rate
    return replace(config, fit=replace(config.fit, steps=2300, learning_rate=rate))


def subgoals_preset() -> SubgoalTrainConfig:
    """Training of the packaged subgoal generator."""
    config = SubgoalTrainConfig()
    return replace(config, fit=replace(config.fit, steps=7500))


def keypoints_preset() -> FitConfig:
    """Further training of the packaged generator's keypoint predictor."""
    return replace(
        SubgoalTrainConfig().fit, steps=8000, batch_size=64, learning_rate=8e-4, save_every=500
    )


@default_of(lambda given: {"config": policy_preset("gcbc", given["start"])})
def gcbc(
    config: Annotated[PolicyTrainConfig, FLAT],
    episodes: Positive = DemonstrationSet.episodes,
    start: Path | None = None,
    generated_goals: Share = 0.0,
    workers: Positive = DemonstrationSet.workers,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Make the goal-conditioned policy: demonstrations of the *bridge* regime, then training.

    Example: `soar pretrain gcbc --episodes 6000 --fit.steps 10500`.

    Args:
        config: model, data and optimization.
        episodes: number of demonstrations, shared with `soar pretrain lcbc`.
        start: a checkpoint's folder to begin from, at a learning rate of 4e-4 instead of 1e-3.
        generated_goals: share of the samples whose goal is rendered by the packaged subgoal generator, with the
            keypoints that followed; best once the policy can reach camera images (docs/log.md).
        workers: number of processes that make demonstrations.
        out: folder of the checkpoint and its card; by default the package's own.
    """
    _policy("gcbc", config, episodes, start, generated_goals, workers, out)


@default_of(lambda given: {"config": policy_preset("lcbc", given["start"])})
def lcbc(
    config: Annotated[PolicyTrainConfig, FLAT],
    episodes: Positive = DemonstrationSet.episodes,
    start: Path | None = None,
    workers: Positive = DemonstrationSet.workers,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Make the language-conditioned policy: demonstrations of the *bridge* regime, then training.

    Example: `soar pretrain lcbc --start src/soar/weights/gcbc`.

    Args:
        config: model, data and optimization.
        episodes: number of demonstrations, shared with `soar pretrain gcbc`.
        start: a checkpoint's folder to begin from, at a learning rate of 4e-4 instead of 1e-3; a "gcbc" one serves as
            well, with new weights for the instruction.
        workers: number of processes that make demonstrations.
        out: folder of the checkpoint and its card; by default the package's own.
    """
    _policy("lcbc", config, episodes, start, 0.0, workers, out)


@default_of(lambda given: {"config": vlm_preset(given["start"])})
def vlm(
    config: Annotated[VLMTrainConfig, FLAT],
    images: Positive = 15_000,
    seed: Annotated[int, Ge(0)] = 0,
    stream: bool = False,
    start: Path | None = None,
    workers: Positive = 2,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Make the compact VLM: images and questions of the *broad* regime, training, calibration.

    Example: `soar pretrain vlm --images 3000 --stream --fit.steps 40000`.

    Args:
        config: model and optimization.
        images: number of images in the corpus, each with several questions.
        seed: seed of the corpus's scenes.
        stream: train on ever new scenes that are generated meanwhile; the corpus is then for calibration alone.
        start: a checkpoint's folder to begin from, at a learning rate of 5e-4 instead of 1e-3.
        workers: number of processes that make the corpus.
        out: folder of the checkpoint and its card; by default the package's own.
    """
    from soar.pretraining.vlm_corpus import make_vlm_corpus
    from soar.pretraining.vlm_stream import SceneStream
    from soar.registry import WEIGHTS
    from soar.training.vlm import train_compact_vlm
    from soar.vlm.compact.model import KIND

    before = _load(start, KIND)
    name = f"vlm-images-{images}-steps-{config.fit.steps}-seed-{seed}{'-stream' if stream else ''}"
    work = _work(name, before, config, vlm_preset(start))
    corpus = cache_folder() / "pretrain" / f"vlm-corpus-{images}-{seed}"
    make_vlm_corpus(corpus, images, workers, seed)
    source = SceneStream(config, seed + _STREAM_SEED, workers) if stream else nullcontext()
    with source as batches:
        train_compact_vlm(corpus, work, config, before, batches)
    folder = out or WEIGHTS / "vlm"
    with saved_config(vlm, folder):
        _install(work, folder, "vlm", ("broad",))


@default_of(lambda given: {"config": subgoals_preset()})
def subgoals(
    config: Annotated[SubgoalTrainConfig, FLAT],
    episodes: Positive = 2500,
    keypoint_scenes: Count = 1850,
    dagger_clips: Count = 0,
    bridge_demonstrations: Count = 0,
    start: Path | None = None,
    workers: Positive = 2,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Make the compact subgoal generator: image sequences with instructions, then training.

    It learns from episodes of the *broad* regime, from images, instructions and keypoints alone; and, on request, from
    *bridge* demonstrations, as SuSIE learns from BridgeData.

    Example: `soar pretrain subgoals --episodes 2500 --keypoint-scenes 1850`.

    Args:
        config: model and optimization.
        episodes: number of image sequences of the *broad* regime.
        keypoint_scenes: number of scenes of the *broad* regime for the keypoint predictor alone, with about eight
            images each; 0 for none.
        dagger_clips: number of further sequences in which an expert continues from states that the packaged system
            itself got into.
        bridge_demonstrations: number of demonstrations of the *bridge* regime; they have no keypoints.
        start: a checkpoint's folder to begin from.
        workers: number of processes that make the corpus.
        out: folder of the checkpoint and its card; by default the package's own.
    """
    from soar import checkpoint as checkpoints
    from soar.pretraining.keypoint_samples import EXPERT_SEED, LABELS, make_keypoint_samples
    from soar.registry import WEIGHTS
    from soar.subgoals.compact.generator import KIND
    from soar.subgoals.compact.network import CompactSubgoalNet
    from soar.training.subgoals import train_compact_subgoals

    before = _load(start, KIND)
    if before:  # a misfit shows now, not after hours
        checkpoints.load_weights(CompactSubgoalNet(config.net), before)
    bridge = bridge_demonstrations
    name = (
        f"subgoals-episodes-{episodes}-moments-{keypoint_scenes}-trouble-{dagger_clips}"
        f"-bridge-{bridge}-steps-{config.fit.steps}"
    )
    work = _work(name, before, config, subgoals_preset())
    cache = cache_folder() / "pretrain"
    corpus = cache / f"subgoals-corpus-{episodes}-{dagger_clips}-{bridge}"
    if not (corpus / "frames.json").exists():
        size = config.net.input_resolution
        demonstrated = DemonstrationSet(bridge, 0, size, workers) if bridge else None
        _clips(cache, episodes, dagger_clips, demonstrated, workers).save(corpus)
    samples = None
    if keypoint_scenes:
        at = cache / f"keypoint-samples-{LABELS}-{keypoint_scenes}"
        samples = make_keypoint_samples(at, keypoint_scenes, workers, EXPERT_SEED)
    train_compact_subgoals(corpus, work, config, before, samples)
    folder = out or WEIGHTS / "subgoals"
    with saved_config(subgoals, folder):
        _install(work, folder, "subgoals", ("broad", "bridge") if bridge else ("broad",))


@default_of(lambda given: {"config": keypoints_preset()})
def keypoints(
    config: Annotated[FitConfig, FLAT],
    samples: Annotated[KeypointSampleSet, FLAT],
    dagger_share: Share = 0.4,
    start: Path | None = None,
    policy: Path | None = None,
    recolor_tables: bool = False,
    size: PredictorSize = _SAME_SIZE,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Train the keypoint predictor of a compact subgoal generator further; its renderer stays as it is.

    It learns from single states of many *broad* scenes: an expert's disturbed states, and those in which the
    system itself requests subgoals (DAgger).

    Example: `soar pretrain keypoints --scenes 2500 --dagger-scenes 800 --steps 8000`.

    Args:
        config: optimization.
        samples: what it learns from.
        dagger_share: share of the system's own states in a batch.
        start: the generator's folder; by default the package's own.
        policy: folder of the system's policy; by default the package's own.
        recolor_tables: another color for the table in half of the samples.
        size: the predictor's size, where it is to differ from the generator's; it begins with the weights that fit.
        out: folder of the checkpoint and its card; by default the package's own.
    """
    from soar.pretraining.keypoint_samples import expert_and_system_samples
    from soar.registry import COMPACT, WEIGHTS, packaged
    from soar.subgoals.compact.generator import KIND
    from soar.training import keypoint_predictor as training

    before = _load(start or packaged("subgoals"), KIND)
    assert before is not None
    begin = before if size == _SAME_SIZE else training.resized(before, size, config.seed)
    identity = before.id + (f"-{acting.id}" if (acting := _load(policy, "gcbc")) else "")
    system, cache = (str(policy or "gcbc"), str(start or COMPACT)), cache_folder() / "pretrain"
    expert, dagger = expert_and_system_samples(samples, cache, system, identity)
    learned = {
        "started_from": before.id, "scenes": samples.scenes, "scene_offset": samples.scene_offset,
        "samples": len(expert.images), "dagger_scenes": samples.dagger_scenes, "dagger_samples": len(dagger.images),
        "dagger_share": dagger_share, "recolor_tables": recolor_tables, "size": to_plain(size),
    }  # fmt: skip
    sources = _digest([config, replace(samples, workers=1), size, dagger_share, recolor_tables])
    training.train_keypoint_predictor(
        begin,
        training.MixedKeypointBatches(dagger, expert, dagger_share, config.seed),
        made := cache / f"keypoints-steps-{config.steps}-start-{identity}-{sources}",
        config,
        SubgoalTrainConfig.attention_weight,
        {**before.provenance, "keypoints": [*_keypoint_trainings(before), learned]},
        recolor_tables=recolor_tables,
    )
    folder = out or WEIGHTS / "subgoals"
    with saved_config(keypoints, folder):
        _install(made, folder, "subgoals", ("broad",))


def _keypoint_trainings(before: Checkpoint) -> list[Any]:
    """Return the keypoint predictor's trainings from a checkpoint's provenance, where a single one isn't a list."""
    known = before.provenance.get("keypoints", [])
    return known if isinstance(known, list) else [known]


def _policy(
    kind: Literal["gcbc", "lcbc"],
    config: PolicyTrainConfig,
    episodes: int,
    start: Path | None,
    generated_goals: float,
    workers: int,
    out: Path | None,
) -> None:
    """Demonstrations, behavior cloning, checkpoint and card."""
    from soar.pretraining.weights import pretrain_policy
    from soar.registry import WEIGHTS
    from soar.subgoals.compact.generator import load_compact

    before = _load(start, "gcbc" if kind == "gcbc" else None)
    name = f"{kind}-episodes-{episodes}-steps-{config.fit.steps}"
    name += f"-imagined-{generated_goals:g}" if generated_goals else ""
    made = pretrain_policy(
        config,
        DemonstrationSet(episodes, workers=workers),
        _work(name, before, config, policy_preset(kind, start)),
        start=start,
        generator=load_compact().generate_from_futures if generated_goals else None,
        generated_goals=generated_goals,
    )
    folder = out or WEIGHTS / kind
    with saved_config(gcbc if kind == "gcbc" else lcbc, folder):
        _install(made, folder, kind, ("bridge",))


def _clips(
    work: Path, episodes: int, dagger: int, bridge: DemonstrationSet | None, workers: int
) -> ClipCorpus:
    """Clips of the *broad* regime, and of the requested others."""
    from soar.pretraining.clips import make_clip_corpus
    from soar.pretraining.dagger_clips import packaged_dagger_clips
    from soar.pretraining.keypoint_samples import SYSTEM_SEED
    from soar.pretraining.weights import demonstrations
    from soar.subgoals.clips import ClipCorpus

    clips = make_clip_corpus(work / "clips", episodes, workers)
    if bridge:
        clips = ClipCorpus.concatenate(ClipCorpus.from_frames(demonstrations(bridge)), clips)
    if dagger:
        more = make_clip_corpus(
            work / "trouble", dagger, workers, SYSTEM_SEED, maker=packaged_dagger_clips
        )
        clips = ClipCorpus.concatenate(clips, more)
    return clips


def _load(start: Path | None, kind: str | None) -> Checkpoint | None:
    """The checkpoint to begin from. Raises CheckpointError: `start` holds none, or one of another kind."""
    from soar import checkpoint as checkpoints

    return checkpoints.load(start, kind) if start else None


def _work(name: str, before: Checkpoint | None, config: object, preset: Any) -> Path:
    """Folder in the cache for a training, different for every configuration."""
    name += f"-start-{before.id}" if before else ""
    steps = config.fit.steps  # type: ignore[attr-defined]
    if config != replace(preset, fit=replace(preset.fit, steps=steps)):
        name += f"-{_digest(config)}"
    return cache_folder() / "pretrain" / name


def _digest(config: object) -> str:
    """Return a short name of a configuration, so that trainings with other seeds or rates have their own folders."""
    return sha256(json.dumps(to_plain(config)).encode()).hexdigest()[:8]


def _install(
    made: Path,
    folder: Path,
    role: Literal["gcbc", "lcbc", "vlm", "subgoals"],
    regimes: tuple[Regime, ...],
) -> None:
    from soar.cli import command_line
    from soar.pretraining.weights import install

    print(f"checkpoint {install(made, folder, role, command_line(), regimes)} in {folder}")
