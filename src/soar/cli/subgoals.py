"""`soar subgoals`: train subgoal generators, draw what they generate, and measure it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from soar.cli.options import FLAT, OUT, default_of, saved_config
from soar.errors import ConfigError
from soar.registry import COMPACT, COMPACT_STEPS_AHEAD
from soar.subgoals.clips import ClipCorpus, Part
from soar.training.subgoals import SubgoalTrainConfig, SusieTrainConfig
from soar.types import Query
from soar.utils.config import OneOf
from soar.utils.progress import print_table

if TYPE_CHECKING:
    from soar.evaluation.subgoals.scores import Score
    from soar.evaluation.subgoals.sequences import ExpertSequence

SUSIE_PIXELS = 256
"""Height and width of SuSIE's images."""
TEN = tuple(str(n) for n in range(1, 11))
Training = Annotated[
    SubgoalTrainConfig | SusieTrainConfig,
    OneOf({"compact": SubgoalTrainConfig, "susie": SusieTrainConfig}),
    FLAT,
]


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    from soar.data.frame_cache import Frames
    from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig

    if given["base"]:
        return {"config": SusieTrainConfig()}
    if not given["frames"]:  # none, or not known yet, as for --help
        return {}
    pixels = Frames.load(given["frames"][0]).resolution
    net = CompactSubgoalConfig(resolution=pixels, input_resolution=pixels)
    return {"config": SubgoalTrainConfig(net)}


@default_of(_defaults)
def train(
    out: Annotated[Path, OUT],
    which: Annotated[Query, FLAT],
    frames: tuple[Path, ...] = (),
    store: tuple[Path, ...] = (),
    videos: tuple[Path, ...] = (),
    weights: tuple[float, ...] = (),
    config: Training = SubgoalTrainConfig(),  # noqa: B008
    base: str = "",
) -> None:
    """Train a subgoal generator on image sequences with instructions; resumes a run that stopped.

    Without a base, a compact network is trained from scratch, in pixels, at the frames' resolution. With
    one, an InstructPix2Pix model in diffusers format (SuSIE's, for example) is fine-tuned, and written to
    OUT/model. `soar pretrain subgoals` makes the packaged weights ("compact"), corpus included.

    Data come from folders of frames, stores, and folders of videos of people with captions, as in Something-Something:
    ID.webm, and a JSON list of {"id": ID, "label": CAPTION} beside them or in labels/. Stores and videos are decoded
    once, into OUT/frames.

    Examples: from frames; and, as SuSIE was trained, from robots' and people's videos:
        soar subgoals train --frames frames --out generator --fit.steps 20000
        soar subgoals train --base instruct-pix2pix --store bridge --videos something --weights 45 75 --out susie

    Args:
        out: folder of the checkpoint.
        which: filter of the stores' episodes.
        frames: folders of frames, as `soar pretrain` and the frame cache write them.
        store: stores' folders.
        videos: folders of videos with captions.
        weights: share of the samples from each of these, frames first, then stores, then videos; with any sum, and
            equal by default.
        config: model and optimization; with a base, SuSIE's.
        base: folder or hub id of a model to fine-tune.
    """
    from soar.training.subgoals import fine_tune_susie, train_compact_subgoals

    pixels = SUSIE_PIXELS if isinstance(config, SusieTrainConfig) else config.net.input_resolution
    count = len(frames) + len(store) + len(videos)
    if not count or len(weights) not in (0, count) or any(w <= 0 for w in weights):
        raise ConfigError(
            f"{count} folders of data and weights {weights}; valid: at least one of --frames, --store and "
            "--videos, and "
            "no weights or one above 0 for each"
        )
    with saved_config(train, out):
        corpora = _corpora(frames, store, which, videos, pixels, out / "frames")
        parts = [Part(c, w) for c, w in zip(corpora, weights or (1.0,) * count, strict=True)]
        if isinstance(config, SusieTrainConfig):
            result = fine_tune_susie(base, parts, out, config)
        else:
            result = train_compact_subgoals(parts, out, config)
    print(
        f"{out}: {result.step} steps, loss {result.loss:.4f}, {result.samples_per_s:.0f} samples/s"
    )


def _corpora(
    frames: Sequence[Path],
    stores: Sequence[Path],
    which: Query,
    videos: Sequence[Path],
    pixels: int,
    cache: Path,
) -> list[ClipCorpus]:
    """Return the data of each folder, stores and videos decoded at the resolution of the first frames, or `pixels`."""
    from soar.data.frame_cache import build_frames
    from soar.data.store.lance import open_store
    from soar.data.video_frames import build_video_frames

    found = [ClipCorpus.load(folder) for folder in frames]
    if found:
        pixels = found[0].frames.resolution
    stored = (open_store(folder, read_only=True) for folder in stores)
    decoded = [build_frames(store, which, pixels, cache) for store in stored]
    decoded += [build_video_frames(folder, pixels, cache) for folder in videos]
    return [*found, *(ClipCorpus.from_frames(frames, cache=cache) for frames in decoded)]


def sheet(
    subgoals: str = COMPACT,
    out: Path = Path("subgoals.png"),
    scenes: tuple[str, ...] = TEN,
    tasks: Annotated[int, Ge(1)] = 2,
    length: Annotated[int, Ge(1)] = 5,
    steps_ahead: Annotated[int, Ge(1)] = COMPACT_STEPS_AHEAD,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Draw sequences of generated images above the frames of a scripted expert from the same start.

    Every image of a sequence is generated from the one before, so errors add up; in the loop each one is
    generated from a camera frame.

    Example: `soar subgoals sheet --scenes 1 3 --out sheet.png`.

    Args:
        subgoals: "compact", a checkpoint's folder, or "susie:FOLDER_OR_HUB_ID".
        out: PNG to write.
        scenes: names or YAML files.
        tasks: number of tasks of each scene.
        length: images in a sequence.
        steps_ahead: control steps between two frames of the expert.
        seed: seed of placements and of the generator.
    """
    from soar.evaluation.subgoals.sequences import generate_sequences, sequence_sheet
    from soar.registry import load_subgoals
    from soar.utils.media import write_png

    experts = _expert_sequences(scenes, tasks, 1, seed, steps_ahead, length)
    write_png(out, sequence_sheet(generate_sequences(load_subgoals(subgoals), experts, seed)))
    print(out)


def evaluate(
    subgoals: str = COMPACT,
    classifier: Path = Path("subgoal-judge"),
    vlm: str = COMPACT,
    out: Path = Path("subgoals.json"),
    scenes: tuple[str, ...] = TEN,
    trials: Annotated[int, Ge(1)] = 5,
    length: Annotated[int, Ge(1)] = 5,
    steps_ahead: Annotated[int, Ge(1)] = COMPACT_STEPS_AHEAD,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Measure sequences of generated images: is the instruction completed at the end?

    The loop's vision-language model is asked, and so is a classifier trained for this measurement on the same
    scenes, with the simulator's truth. The classifier also locates gripper and object, which gives position errors.
    A scripted expert's frames from the same starts are measured beside them.

    Example: `soar subgoals evaluate --scenes dev1 dev2 --trials 10`.

    Args:
        subgoals: "compact", a checkpoint's folder, or "susie:FOLDER_OR_HUB_ID".
        classifier: folder of the classifier; it is trained first if there is none.
        vlm: as for `soar vlm`; "none" asks only the classifier.
        out: JSON file of the scores.
        scenes: names or YAML files.
        trials: starts of each task.
        length: images in a sequence.
        steps_ahead: control steps between two frames of the expert.
        seed: seed of the first start and of the generator.
    """
    from dataclasses import asdict

    from soar.evaluation.subgoals.classifier import train_classifier
    from soar.evaluation.subgoals.scores import predict, score
    from soar.evaluation.subgoals.sequences import generate_sequences
    from soar.registry import load_subgoals, load_vlm
    from soar.sim.scenes.catalog import load_scene
    from soar.tasks.question_file import tasks_from_instructions
    from soar.utils.files import write_json

    model = None if vlm == "none" else load_vlm(vlm)
    generator = load_subgoals(subgoals)
    loaded = [load_scene(s) for s in scenes]
    tasks = {
        task.instruction: task
        for scene in loaded
        for task in tasks_from_instructions([t.instruction for t in scene.tasks], scene.questions)
    }
    trained = train_classifier(loaded, classifier)
    experts = _expert_sequences(scenes, 0, trials, seed, steps_ahead, length)
    sequences = generate_sequences(generator, experts, seed)
    scores = score(sequences, predict(sequences, trained, model, tasks))
    _show(scores, trained.accuracy)
    write_json(out, {"subgoals": generator.name, "scores": [_json(asdict(s)) for s in scores]})


def _expert_sequences(
    scenes: Sequence[str], tasks: int, trials: int, seed: int, steps_ahead: int, length: int
) -> list[ExpertSequence]:
    """Record the scenes' first tasks, or all of them when `tasks` is 0."""
    from dataclasses import replace

    from soar.evaluation.subgoals.sequences import expert_sequences
    from soar.sim.scenes.catalog import load_scene
    from soar.utils.progress import progress_bar

    loaded = [load_scene(name) for name in scenes]
    chosen = [replace(s, tasks=s.tasks[: tasks or None]) for s in loaded]
    with progress_bar() as bar:
        line = bar.add_task("expert", total=trials * sum(len(s.tasks) for s in chosen), note="")
        sequences = []
        for sequence in expert_sequences(chosen, trials, seed, steps_ahead, length):
            sequences.append(sequence)
            bar.advance(line)
    if not sequences:
        raise ConfigError(
            "the expert completed none of these tasks; choose other scenes or more trials"
        )
    return sequences


def _show(scores: Sequence[Score], accuracy: float) -> None:
    from rich.table import Table

    table = Table(box=None)
    columns = ("n", "classifier", "expert", "VLM", "expert", "gripper error", "object error")
    for name in ("scene", "instruction", *columns):
        table.add_column(name, justify="right" if name in columns else "left")
    for s in [*scores, _mean(scores)]:
        shares = (s.generated, s.expert, s.vlm_generated, s.vlm_expert)
        table.add_row(
            s.scene, s.instruction, str(s.sequences), *(f"{x:.2f}" for x in shares),
            f"{s.first_gripper_error:.3f}", f"{s.last_object_error:.3f}",
        )  # fmt: skip
    print_table(table)
    print(f"The classifier is right on {accuracy:.1%} of held-out images.")


def _mean(scores: Sequence[Score]) -> Score:
    import numpy as np

    from soar.evaluation.subgoals.scores import Score

    weights = [s.sequences for s in scores]
    names = (
        "generated", "expert", "vlm_generated", "vlm_expert", "first_gripper_error", "last_object_error",
    )  # fmt: skip
    averages = {
        n: float(np.average([getattr(s, n) for s in scores], weights=weights)) for n in names
    }
    return Score("all", "", sum(weights), **averages)


def _json(row: dict[str, object]) -> dict[str, object]:
    """Replace NaN, which JSON lacks, by None."""
    return {k: None if v != v else v for k, v in row.items()}
