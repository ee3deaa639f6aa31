"""How far a generator's keypoints are off in states of the system itself, in the development scenes.

    python benchmarks/keypoints.py --subgoals compact FOLDER

The states are those in which the packaged models request subgoals; they are made once and kept in `--states`.
"""

from __future__ import annotations

import pickle
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path

import rich
import tyro
from rich.table import Table

from soar.evaluation.subgoals.keypoints import KeypointScore, score_keypoints, system_samples
from soar.pretraining.dagger import packaged_models
from soar.pretraining.keypoint_samples import Sample
from soar.sim.scenes.catalog import DEVELOPMENT, load_scene
from soar.subgoals.compact.generator import load_compact
from soar.utils.files import cache_folder, replace_file
from soar.utils.processes import worker_pool

SEED = 70_000
STATES = cache_folder() / "keypoint-states"


def main(
    subgoals: tuple[str, ...] = ("compact",),
    scenes: tuple[str, ...] = DEVELOPMENT,
    attempts: int = 28,
    workers: int = 2,
    states: Path = STATES,
) -> None:
    with worker_pool(workers) as pool:
        made = list(pool.map(partial(_states, attempts=attempts, folder=states), scenes))
    table = Table("generator", *(f.name for f in fields(KeypointScore)), box=None)
    for name in subgoals:
        generator = load_compact(name)
        score = score_keypoints(generator, [s for samples in made for s in samples])
        table.add_row(generator.name, *(f"{x:.3g}" for x in astuple(score)))
    rich.print(table)


def _states(scene: str, attempts: int, folder: Path) -> list[Sample]:
    """Return the states of one scene, made in a worker process unless they are there."""
    path = folder / f"{scene}-{attempts}.pickle"
    if not path.exists():
        samples = system_samples(load_scene(scene), attempts, packaged_models(), SEED)
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            pickle.dump(samples, file)
    made: list[Sample] = pickle.loads(path.read_bytes())
    return made


if __name__ == "__main__":
    tyro.cli(main)
