"""`soar pretrain`: make the packaged weights again, each with one command that resumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from soar.types import Regime

if TYPE_CHECKING:
    from soar.checkpoint import Checkpoint
    from soar.pretraining.weights import DemonstrationSet
    from soar.subgoals.clips import ClipCorpus


_MOMENTS = 800_000
"""Seed of the first scene for moments, far from the clips' scenes."""
_TROUBLE = 500_000
"""Seed of the first scene in which the system gets into trouble, far from the other clips' scenes."""


def policy(
    kind: Literal["gcbc", "lcbc"],
    episodes: int,
    steps: int,
    workers: int,
    out: Path | None,
    start: Path | None,
    imagined: float = 0.0,
) -> None:
    """Demonstrations, behaviour cloning, checkpoint and card."""
    from soar.pretraining.weights import DemonstrationSet, install, pretrain_policy
    from soar.registry import WEIGHTS
    from soar.subgoals.compact.generator import load_compact
    from soar.training.policy import compact, with_fit

    recipe = with_fit(compact(kind), steps=steps, **({"learning_rate": 4e-4} if start else {}))
    command = f"soar pretrain {kind} --episodes {episodes} --steps {steps}"
    command += f" --imagined {imagined:g}" if imagined else ""
    _, command, work = _going_on(start, command, "gcbc" if kind == "gcbc" else None)
    made = pretrain_policy(
        recipe,
        DemonstrationSet(episodes, workers=workers),
        work,
        start=start,
        painter=load_compact().generate_from_futures if imagined else None,
        imagined=imagined,
    )
    folder = out or WEIGHTS / kind
    _done(install(made, folder, kind, command, ("bridge",)), folder)


def gcbc(
    episodes: int = 6000,
    steps: int = 10_500,
    start: Path | None = None,
    imagined: float = 0.0,
    workers: int = 2,
    out: Path | None = None,
) -> None:
    """Make the goal-conditioned policy: demonstrations of the *bridge* regime, then training.

    Args:
        episodes: demonstrations, shared with `soar pretrain lcbc`.
        steps: of training, with 128 samples each.
        start: a checkpoint's folder to go on from, at a learning rate of 4e-4 instead of 1e-3.
        imagined: share of the samples whose goal the packaged imagination paints, told what came; best
            once the policy can reach photographs (docs/log.md).
        workers: processes that make demonstrations.
        out: where the checkpoint and its card go; the package's own folder by default.
    """
    policy("gcbc", episodes, steps, workers, out, start, imagined)


def lcbc(
    episodes: int = 6000,
    steps: int = 10_500,
    start: Path | None = None,
    workers: int = 2,
    out: Path | None = None,
) -> None:
    """Make the language-conditioned policy: demonstrations of the *bridge* regime, then training.

    Args:
        episodes: demonstrations, shared with `soar pretrain gcbc`.
        steps: of training, with 128 samples each.
        start: a checkpoint's folder to go on from, at a learning rate of 4e-4 instead of 1e-3; a "gcbc"
            one serves, too, with new words in its goal's place.
        workers: processes that make demonstrations.
        out: where the checkpoint and its card go; the package's own folder by default.
    """
    policy("lcbc", episodes, steps, workers, out, start)


def vlm(
    images: int = 15_000,
    steps: int = 2300,
    seed: int = 0,
    start: Path | None = None,
    workers: int = 2,
    out: Path | None = None,
) -> None:
    """Make the compact eyes: images and questions of the *broad* regime, training, calibration.

    Args:
        images: in the corpus, each with several questions.
        steps: of training.
        seed: of the corpus; another one has other scenes.
        start: a checkpoint's folder to go on from, at a learning rate of 5e-4 instead of 1e-3.
        workers: processes that make the corpus.
        out: where the checkpoint and its card go; the package's own folder by default.
    """
    from dataclasses import replace

    from soar.pretraining.vlm_corpus import make_vlm_corpus
    from soar.pretraining.weights import install
    from soar.registry import WEIGHTS
    from soar.training.vlm import VLMTrainConfig, train_compact_vlm
    from soar.utils.files import cache_folder
    from soar.vlm.compact.model import KIND

    config = VLMTrainConfig()
    fit = replace(config.fit, steps=steps)
    if start:
        fit = replace(fit, learning_rate=5e-4)
    command = f"soar pretrain vlm --images {images} --steps {steps} --seed {seed}"
    before, command, made = _going_on(start, command, KIND)
    corpus = cache_folder() / "pretrain" / f"vlm-corpus-{images}-{seed}"
    make_vlm_corpus(corpus, images, workers, seed)
    train_compact_vlm(corpus, made, replace(config, fit=fit), before)
    _done(install(made, out or WEIGHTS / "vlm", "vlm", command), out or WEIGHTS / "vlm")


def subgoals(
    episodes: int = 2500,
    moments: int = 1850,
    trouble: int = 0,
    bridge: int = 0,
    steps: int = 7500,
    start: Path | None = None,
    workers: int = 2,
    out: Path | None = None,
) -> None:
    """Make the compact imagination: image sequences with words, then training.

    From episodes of the *broad* regime, images and words alone, with where in the image hand and things
    are; and, if you like, from *bridge* demonstrations, as SuSIE learns from BridgeData.

    Args:
        episodes: image sequences of the *broad* regime.
        moments: scenes of the *broad* regime for foresight alone, with about eight single looks each; 0 for none.
        trouble: more sequences, in which an expert goes on from where the packaged system itself got to.
        bridge: demonstrations of the *bridge* regime; they don't say where things are in the image.
        steps: of training.
        start: a checkpoint's folder to go on from.
        workers: processes that make the corpus.
        out: where the checkpoint and its card go; the package's own folder by default.
    """
    from dataclasses import replace

    from soar import checkpoint as checkpoints
    from soar.pretraining.keypoint_samples import make_keypoint_samples
    from soar.pretraining.weights import DemonstrationSet, install
    from soar.registry import WEIGHTS
    from soar.subgoals.compact.generator import KIND
    from soar.subgoals.compact.network import CompactSubgoalNet
    from soar.training.subgoals import SubgoalTrainConfig, train_compact_subgoals
    from soar.utils.files import cache_folder

    config = SubgoalTrainConfig()
    config = replace(config, fit=replace(config.fit, steps=steps))
    command = (
        f"soar pretrain subgoals --episodes {episodes} --moments {moments} --trouble {trouble} "
        f"--bridge {bridge} --steps {steps}"
    )
    before, command, made = _going_on(start, command, KIND)
    if before:  # that it fits is known now, not after hours
        checkpoints.load_weights(CompactSubgoalNet(config.net), before)
    work = cache_folder() / "pretrain"
    corpus = work / f"subgoals-corpus-{episodes}-{trouble}-{bridge}"
    if not (corpus / "frames.json").exists():
        size = config.net.input_resolution
        wanted = DemonstrationSet(bridge, resolution=size, workers=workers) if bridge else None
        _clips(work, episodes, trouble, wanted, workers).save(corpus)
    at = work / f"moments-{moments}"
    looks = make_keypoint_samples(at, moments, workers, _MOMENTS) if moments else None
    train_compact_subgoals(corpus, made, config, before, looks)
    folder = out or WEIGHTS / "subgoals"
    regimes: list[Regime] = ["broad", "bridge"] if bridge else ["broad"]
    _done(install(made, folder, "subgoals", command, regimes), folder)


def _clips(
    work: Path, episodes: int, trouble: int, bridge: DemonstrationSet | None, workers: int
) -> ClipCorpus:
    """Clips of the *broad* regime, and of the others that are asked for."""
    from soar.pretraining.clips import make_clip_corpus
    from soar.pretraining.dagger_clips import packaged_dagger_clips
    from soar.pretraining.weights import demonstrations
    from soar.subgoals.clips import ClipCorpus

    clips = make_clip_corpus(work / "clips", episodes, workers)
    if bridge:
        clips = ClipCorpus.concatenate(ClipCorpus.from_frames(demonstrations(bridge)), clips)
    if trouble:
        more = make_clip_corpus(
            work / "trouble", trouble, workers, _TROUBLE, maker=packaged_dagger_clips
        )
        clips = ClipCorpus.concatenate(clips, more)
    return clips


def _going_on(
    start: Path | None, command: str, kind: str | None = None
) -> tuple[Checkpoint | None, str, Path]:
    """The checkpoint to go on from, the whole command, and the folder in the cache that is its own.

    Raises CheckpointError: `start` holds none, or one of another kind.
    """
    from soar import checkpoint as checkpoints
    from soar.utils.files import cache_folder

    before = checkpoints.load(start, kind) if start else None
    command += f" --start {before.id}" if before else ""
    name = command.removeprefix("soar pretrain ").replace(" --", "-").replace(" ", "-")
    return before, command, cache_folder() / "pretrain" / name


def _done(id: str, folder: Path) -> None:
    print(f"checkpoint {id} in {folder}")
