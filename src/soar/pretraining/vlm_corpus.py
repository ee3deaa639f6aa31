"""Generation of the compact VLM's training corpus in parallel processes, with resuming."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from numpy.lib.format import open_memmap

from soar.errors import ConfigError
from soar.pretraining.labeled_images import LabeledImage, LabeledImageConfig, label_scene
from soar.sim.layout import NoRoom
from soar.sim.scenes.regimes import sample_scene
from soar.tasks.questions import QUESTION_KINDS
from soar.training.vlm_corpus import ARRAYS, VLMCorpus
from soar.utils.arrays import read_arrays
from soar.utils.files import Json, read_json, replace_file, write_bytes
from soar.utils.processes import worker_pool
from soar.utils.progress import progress_bar

_SCENES_PER_SHARD = 4
_SHARDS_PER_PROCESS = 25
"""Shards after which a process is replaced, because every world leaks some memory in the OpenGL driver."""
_SHARD = {**ARRAYS, "questions": "U n q"}
"""Type and shape of each array of a shard."""
_RENAMED = {"moments": "stops"}
"""Fields of `LabeledImageConfig` that older plan files call by other names."""


def make_vlm_corpus(
    folder: str | Path,
    images: int,
    workers: int = 2,
    seed: int = 0,
    config: LabeledImageConfig | None = None,
) -> VLMCorpus:
    """Generate a corpus of *broad* scenes, or resume an interrupted generation.

    The same seed and config give the same corpus.

    Args:
        folder: folder of the corpus.
        images: approximate number of images.
        workers: number of processes.
        seed: seed of the first scene.
        config: contents of a scene's images.

    Raises:
        ConfigError: `folder` holds parts of another corpus.
    """
    folder, config = Path(folder), config or LabeledImageConfig()
    about = {"images": images, "seed": seed, "regime": "broad", "play": asdict(config)}
    _claim(folder, about)
    if not (folder / "corpus.json").is_file():
        scenes = -(-images // config.images)
        shards = [
            range(i, min(i + _SCENES_PER_SHARD, scenes))
            for i in range(0, scenes, _SCENES_PER_SHARD)
        ]
        _make_shards(folder, shards, workers, seed, config)
        join_shards(folder, [_shard_file(folder, s) for s in shards], about)
    return VLMCorpus.load(folder)


def _claim(folder: Path, about: Mapping[str, Json]) -> None:
    """Record what is generated in a folder, or check that it is the same as before."""
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.json"
    if plan.is_file():
        known = read_json(plan)
        if isinstance(known, dict) and isinstance(play := known.get("play"), dict):
            known["play"] = {_RENAMED.get(k, k): v for k, v in play.items()}
        if known != about:
            raise ConfigError(
                f"{folder} holds another corpus; delete it, or choose another --seed: {json.dumps(known):.300}"
            )
    write_bytes(plan, (json.dumps(about) + "\n").encode())


def _make_shards(
    folder: Path, shards: Sequence[range], workers: int, seed: int, config: LabeledImageConfig
) -> None:
    missing = [s for s in shards if not _shard_file(folder, s).is_file()]
    if not missing:
        return
    with progress_bar() as bar:
        task = bar.add_task("broad images", total=len(shards), note="")
        bar.advance(task, len(shards) - len(missing))
        # Fresh processes by new pools: an executor's max_tasks_per_child hangs in Python 3.11 (gh-115634).
        at_once = workers * _SHARDS_PER_PROCESS
        for first in range(0, len(missing), at_once):
            some = missing[first : first + at_once]
            with worker_pool(workers) as pool:
                jobs = [pool.submit(_make_shard, folder, s, seed, config) for s in some]
                for job in as_completed(jobs):
                    job.result()
                    bar.advance(task)


def _make_shard(folder: Path, scenes: range, seed: int, config: LabeledImageConfig) -> None:
    """Generate the images of a few scenes into one file, whole or not at all."""
    images: list[LabeledImage] = []
    numbers: list[int] = []
    for number in scenes:
        found = scene_images(number, seed, config)
        images += found
        numbers += [number] * len(found)
    path = _shard_file(folder, scenes)
    with replace_file(path) as file:
        np.savez(file, **_columns(images, numbers), allow_pickle=False)


def scene_images(number: int, seed: int, config: LabeledImageConfig) -> list[LabeledImage]:
    """Return all `config.images` images of one *broad* scene; none of one whose objects don't fit on the table.

    Args:
        number: number of the scene.
        seed: seed of all scenes; each has its own, derived from both.
        config: contents of its images.
    """
    own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    scene = sample_scene("broad", own)
    try:
        return list(islice(label_scene(scene, own, config), config.images))
    except NoRoom:
        return []


def _columns(images: Sequence[LabeledImage], scenes: Sequence[int]) -> dict[str, np.ndarray]:
    return {
        "images": np.stack([k.image for k in images]),
        "questions": np.array([k.questions for k in images]),
        "kinds": np.array([[QUESTION_KINDS.index(x) for x in k.kinds] for k in images], np.int32),
        "answers": np.stack([k.answers for k in images]),
        "points": np.stack([k.points for k in images]),
        "scenes": np.array(scenes, np.int32),
    }


def _shard_file(folder: Path, scenes: range) -> Path:
    return folder / "shards" / f"{scenes.start:06d}.npz"


def join_shards(folder: Path, files: Sequence[Path], about: Mapping[str, Json]) -> None:
    """Concatenate all shards into one file per array and delete them; corpus.json comes last.

    Raises:
        ConfigError: a shard is damaged.
    """
    words: dict[str, int] = {}
    arrays = {name: _like(part) for name, part in read_arrays(files[0], _SHARD).items()}
    counts = [len(part) for part in _parts(files, "scenes")]
    ends = np.cumsum(counts)
    for name, (shape, dtype) in arrays.items():
        whole = open_memmap(folder / f"{name}.npy", "w+", dtype, (int(ends[-1]), *shape))
        for part, end in zip(_parts(files, name), ends, strict=True):
            whole[end - len(part) : end] = _numbered(part, words) if name == "questions" else part
        whole.flush()
    write_bytes(folder / "corpus.json", json.dumps({**about, "words": list(words)}).encode())
    for file in files:
        file.unlink()


def _like(part: np.ndarray) -> tuple[tuple[int, ...], np.dtype]:
    """Shape of one row, and dtype on disk: questions are stored as indices."""
    return part.shape[1:], np.dtype(np.int32) if part.dtype.kind == "U" else part.dtype


def _parts(files: Iterable[Path], name: str) -> Iterator[np.ndarray]:
    for file in files:
        yield read_arrays(file, _SHARD)[name]


def _numbered(questions: np.ndarray, words: dict[str, int]) -> Int32[np.ndarray, "n q"]:
    """Questions as indices into `words`, which grows."""
    return np.array(
        [[words.setdefault(str(q), len(words)) for q in row] for row in questions], np.int32
    )
