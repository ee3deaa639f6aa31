"""How far a generator's keypoints are off in states of the system itself, in the development scenes.

    python benchmarks/keypoints.py --subgoals compact FOLDER
    python benchmarks/keypoints.py --subgoals compact FOLDER --futures      samples beside sixteen experts that go on

The states are those in which the packaged models request subgoals; they are made once and kept in `--states`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import rich
import tyro
from rich.table import Table

from soar.evaluation.subgoals.futures import (
    ExpertFutures,
    FutureScore,
    score_futures,
    system_futures,
)
from soar.evaluation.subgoals.keypoints import KeypointScore, score_keypoints, system_samples
from soar.pretraining.dagger import system_models
from soar.pretraining.keypoint_samples import Sample
from soar.registry import COMPACT_STEPS_AHEAD
from soar.sim.scenes.catalog import DEVELOPMENT, load_scene
from soar.subgoals.compact.generator import load_compact
from soar.utils.files import cache_folder, replace_file
from soar.utils.processes import worker_pool

T = TypeVar("T")
SEED = 70_000
STATES = cache_folder() / "keypoint-states"


def main(
    subgoals: tuple[str, ...] = ("compact",),
    scenes: tuple[str, ...] = DEVELOPMENT,
    attempts: int = 28,
    workers: int = 2,
    states: Path = STATES,
    futures: bool = False,
) -> None:
    make: Callable[..., list[Any]] = _futures if futures else _states
    with worker_pool(workers) as pool:
        made = list(pool.map(partial(make, attempts=attempts, folder=states), scenes))
    found: list[Any] = [s for samples in made for s in samples]
    kind, score = (FutureScore, score_futures) if futures else (KeypointScore, score_keypoints)
    table = Table("generator", *(f.name for f in fields(kind)), box=None)
    for name in subgoals:
        generator = load_compact(name)
        table.add_row(generator.name, *(f"{x:.3g}" for x in astuple(score(generator, found))))
    rich.print(table)


def _states(scene: str, attempts: int, folder: Path) -> list[Sample]:
    """Return the states of one scene with an expert's keypoints, made in a worker process unless they are there."""
    return _kept(
        folder / f"{scene}-{attempts}.pickle",
        lambda: system_samples(load_scene(scene), attempts, system_models(), SEED),
    )


def _futures(scene: str, attempts: int, folder: Path) -> list[ExpertFutures]:
    """Return the states of one scene with several experts' hands, likewise."""
    return _kept(
        folder / f"{scene}-{attempts}-futures.pickle",
        lambda: system_futures(
            load_scene(scene), attempts, system_models(), SEED, COMPACT_STEPS_AHEAD
        ),
    )


def _kept(path: Path, make: Callable[[], list[T]]) -> list[T]:
    if not path.exists():
        samples = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            pickle.dump(samples, file)
    kept: list[T] = pickle.loads(path.read_bytes())
    return kept


if __name__ == "__main__":
    tyro.cli(main)
