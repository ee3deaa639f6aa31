"""Every kind of file that soar reads: an intact example, and how it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from benchmarks.attack.tools import data_sets

from soar import checkpoint as checkpoints
from soar.collection.status import status_folders
from soar.data.frame_cache import Frames
from soar.data.generated_goals import regenerated_goals
from soar.data.store.lance import open_store
from soar.data.store.verify import verify
from soar.evaluation.results import open_evaluation
from soar.evaluation.tables import read_trial_video
from soar.improvement.run import Run
from soar.registry import load_policy, load_subgoals, load_vlm
from soar.report.facts import read_facts
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, station_tasks
from soar.sim.scenes.catalog import load_scene
from soar.tasks.question_file import read_questions
from soar.types import Query
from soar.utils.arrays import read_arrays
from soar.utils.config import load
from soar.utils.files import read_lines
from soar.utils.media import read_image
from soar.vlm.labels import read_labels

Labels: TypeAlias = Mapping[Any, Any]
"""Labels of success that were read, by what they are of."""
MADE = Path(__file__).parents[3] / "tests" / "formats" / "made_by_975160d"


@dataclass(frozen=True)
class FileKind:
    """A kind of file."""

    name: str
    make: Callable[[Path], None]
    """Makes an intact example in a new folder."""
    targets: str
    """Pattern of the files in it that are mutated."""
    read: Callable[[Path], Labels]
    """Reads the example as the commands do."""
    checkpoint: bool = False
    """Whether the folder is a checkpoint, whose id is computed again after most changes."""
    earlier: Callable[[Path], Mapping[Any, set[str]]] = lambda _: {}
    """Labels that its earlier versions hold, to which a reader goes back where the newest is damaged."""


def _copy(*names: str) -> Callable[[Path], None]:
    """Copy examples that an earlier version of this package wrote."""

    def make(folder: Path) -> None:
        for name in names:
            source, target = MADE / name, folder / Path(name).name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    return make


def _nothing(read: Callable[[Path], object]) -> Callable[[Path], Labels]:
    """A reader of what has no labels."""

    def reader(folder: Path) -> Labels:
        read(folder)
        return {}

    return reader


def _read_store(folder: Path) -> Labels:
    store = open_store(folder / "store", read_only=True)
    labels = {e.id: e.verdict.outcome for e in store.query()}
    store.history()
    for finding in verify(store, 1):
        str(finding.problem)
    for id in list(labels)[:3]:
        store.load(id)
    return labels


def _earlier_labels(folder: Path) -> Mapping[Any, set[str]]:
    store = open_store(folder / "store", read_only=True)
    found: dict[Any, set[str]] = {}
    for version, _ in store.index.manifests():
        for episode in store.query(Query(version=version)):
            found.setdefault(episode.id, set()).add(episode.verdict.outcome)
    return found


def _read_evaluation(folder: Path) -> Labels:
    evaluation = open_evaluation(folder / "round-0")
    evaluation.overall()
    evaluation.by_task()
    evaluation.by_scene()
    return {t.key: t.outcome for t in evaluation.trials}


def _read_video(folder: Path) -> object:
    evaluation = open_evaluation(folder / "round-0")
    return [read_trial_video(evaluation, t) for t in evaluation.trials if t.video]


def _read_run(folder: Path) -> object:
    run = Run(folder / "finished")
    record = run.record()
    run.models_in_force(record)
    run.evaluations()
    run.train_logs()
    run.finetune_logs()
    return read_facts(folder / "finished")


def _read_stations(folder: Path) -> object:
    found = status_folders(folder / "store")
    return [(f.status(), f.runs(), f.events(), f.command()) for f in found]


def _read_station_file(folder: Path) -> object:
    config = StationConfig.read(folder / "arm1.yaml")
    return station_tasks(config) if config.tasks else None


def _make_images(folder: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff", "ppm", "tga", "ico"):
        Image.fromarray(pixels).save(folder / f"image.{suffix}")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "gray.png")


def _read_images(folder: Path) -> object:
    from soar.errors import ConfigError

    errors = []
    for path in sorted(folder.iterdir()):
        try:
            read_image(path)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return None


def _make_arrays(folder: Path) -> None:
    """Shards and caches, of the shapes that pretraining writes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(
        folder / "labeled.npz",
        images=images,
        rows=np.arange(6),
        instructions=np.array(["open the drawer"] * 6),
        points=np.zeros((6, 3, 2), np.float32),
        done=np.ones(6, bool),
    )
    np.savez(
        folder / "moments.npz",
        images=images,
        points=np.zeros((6, 4, 7, 2), np.float32)[:, 0],
        later=np.zeros((6, 17, 7, 2), np.float32),
        states=np.zeros((6, 7), np.float32),
        words=np.zeros((1, 5, 16), np.float16),
        rows=np.zeros(6, np.int64),
        sided=np.zeros(6, bool),
    )
    np.savez(folder / "0000000.npz", a=np.zeros((3, 2)), b=np.ones(3, bool))
    _make_shards(folder)


def _make_shards(folder: Path) -> None:
    (folder / "shards").mkdir()
    for name in ("000000", "000006"):
        np.savez(
            folder / "shards" / f"{name}.npz",
            images=np.zeros((6, 8, 8, 3), np.uint8),
            questions=np.array([["Is it open?", "Is it closed?"]] * 6),
            kinds=np.zeros((6, 2), np.int32),
            answers=np.ones((6, 2), bool),
            points=np.zeros((6, 2, 2, 2), np.float32),
            scenes=np.arange(6, dtype=np.int32),
        )


def _read_arrays(folder: Path) -> Labels:
    from soar.evaluation.subgoals.classifier import LabeledImages
    from soar.pretraining.vlm_corpus import join_shards
    from soar.training.keypoint_samples import KeypointSamples
    from soar.training.vlm_corpus import VLMCorpus

    labeled = LabeledImages.load(folder / "labeled.npz")
    KeypointSamples.concatenate([KeypointSamples.load(folder)] * 2)
    read_arrays(folder / "0000000.npz", {"a": "f8 n m", "b": "b1 n"})
    join_shards(folder, sorted((folder / "shards").iterdir()), {})
    corpus = VLMCorpus.load(folder)
    corpus.split(0.5)
    return {"done": tuple(labeled.done.tolist()), "answers": tuple(corpus.answers.ravel().tolist())}


def _read_frames(folder: Path) -> object:
    frames = Frames.load(folder / "adb37bc574f0f169")
    [frames.images[s:e] for s, e in zip(frames.starts, frames.starts[1:], strict=False)]
    goals = folder / "painted-1.npz"  # without it they would be generated
    return goals.is_file() and regenerated_goals(frames, _no_generator, 0.5, 0, goals)


def _no_generator(*_: object) -> Any:
    raise AssertionError("the goals are there")


def _make_frames(folder: Path) -> None:
    _copy("frames/adb37bc574f0f169")(folder)
    count = len(np.load(folder / "adb37bc574f0f169" / "images.npy"))
    images, pursued = np.zeros((2, 8, 8, 3), np.uint8), np.zeros(count, np.int64)
    np.savez(folder / "painted-1.npz", images=images, pursued=pursued)


def _read_lease(folder: Path) -> object:
    from soar.collection.lease import held

    with held(folder / "lease.json", "the station", lambda: None):
        return None


def _make_config(folder: Path) -> None:
    (folder / "config.yaml").write_text(_CONFIG)


def _make_lease(folder: Path) -> None:
    import json

    lease = {"token": "ab", "host": "elsewhere", "pid": 77, "process": "1", "expires_s": 1e3}
    (folder / "lease.json").write_text(json.dumps(lease))


def _read_config(folder: Path) -> object:
    import contextlib
    import io

    from soar.cli import main

    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(heard):
            main(["collect", "--config", str(folder / "config.yaml"), "--print-config"])
    except SystemExit as end:
        lines = heard.getvalue().strip().splitlines()
        if end.code not in (0, None) and (len(lines) != 1 or end.code != 2):
            raise RuntimeError(f"exit code {end.code} with {len(lines)} lines") from None
    return None


_CONFIG = """\
store: s
scene: '1'
stations: 2
vlm: compact
threshold: 0.5
collection: {exploring: 0.5, backoff: {max_s: 30.0}, fault_limits: {max_drops: 3}}
episodes: 3
"""

KINDS = (
    FileKind("checkpoint of a policy", _copy("checkpoints/gcbc"), "gcbc/*",
        _nothing(lambda f: load_policy(str(f / "gcbc"))), True),
    FileKind("training state", _copy("training"), "training/**/*.json*",
        _nothing(lambda f: (checkpoints.load(f / "training/state"), read_lines(f / "training/log.jsonl")))),
    FileKind("station file", _copy("files/arm1.yaml", "files/questions.yaml", "files/cups.yaml"), "arm1.yaml",
        _nothing(_read_station_file)),
    FileKind("models file", _copy("files/all_models.yaml"), "*.yaml",
        _nothing(lambda f: load(ModelsConfig, f / "all_models.yaml"))),
    FileKind("question file", _copy("files/questions.yaml"), "*.yaml",
        _nothing(lambda f: read_questions(f / "questions.yaml"))),
    FileKind("scene file", _copy("files/mug.yaml"), "*.yaml", _nothing(lambda f: load_scene(f / "mug.yaml"))),
    FileKind("labels in CSV", _copy("files/labels.csv"), "*.csv", lambda f: read_labels(f / "labels.csv")),
    FileKind("image", _make_images, "*", _nothing(_read_images)),
    FileKind("video", _copy("runs/finished/evaluations/round-0"), "round-0/videos/**/*.mp4", _nothing(_read_video)),
    FileKind("episode store", _copy("store"), "store/**/*", _read_store, earlier=_earlier_labels),
    FileKind("status of stations", _copy("store"), "store/stations/*/*", _nothing(_read_stations)),
    FileKind("lease", _make_lease, "*", _nothing(_read_lease)),
    FileKind("run.json", _copy("runs/finished"), "finished/run.json", _nothing(_read_run)),
    FileKind("evaluation.json, trials.jsonl", _copy("runs/finished/evaluations/round-0"), "round-0/*.json*",
        _read_evaluation),
    FileKind("shards in npz and npy", _make_arrays, "**/*.npz", _read_arrays),
    FileKind("decoded frames", _make_frames, "**/*.np*", _nothing(_read_frames)),
    FileKind("checkpoint of a VLM", _copy("checkpoints/vlm"), "vlm/*",
        _nothing(lambda f: load_vlm(str(f / "vlm"))), True),
    FileKind("checkpoint of a subgoal generator", _copy("checkpoints/subgoals"), "subgoals/*",
        _nothing(lambda f: load_subgoals(str(f / "subgoals"))), True),
    FileKind("configuration", _make_config, "*.yaml", _nothing(_read_config)),
    FileKind("LeRobot data set", data_sets.make("lerobot", MADE / "store"), "set/**/*", _nothing(data_sets.read)),
    FileKind("RLDS data set", data_sets.make("rlds", MADE / "store"), "set/**/*", _nothing(data_sets.read)),
    FileKind("logs of the paper's robots", data_sets.make("soar-logs", MADE / "store"), "set/**/*",
        _nothing(data_sets.read)),
    FileKind("raw BridgeData", data_sets.make("bridge-raw", MADE / "store"), "set/**/*", _nothing(data_sets.read)),
)  # fmt: skip
"""All kinds."""
