"""Success rate of the scripted expert at each task: `python benchmarks/expert.py --seeds 100`.

Every task of every scene from random layouts, with noise and speed varied as in the demonstrations.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from soar.errors import SoarError
from soar.pretraining.demonstrations import DemonstrationConfig
from soar.sim.expert.expert import Expert
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.world import World


class Attempt(NamedTuple):
    """One attempt of the expert at one task."""

    kind: str
    """Class of the goal."""
    seed: int
    success: bool
    steps: int


def attempt(world: World, task: int, seed: int) -> tuple[bool, int]:
    """Return whether the expert fulfilled a task, and the number of control steps."""
    config, rng = DemonstrationConfig(), np.random.default_rng(seed)
    goal = world.scene.tasks[task].goal
    world.reset(seed, goal)
    expert = Expert(
        world, goal, rng, noise=rng.uniform(*config.noise), speed=rng.uniform(*config.speed)
    )
    steps = 0
    while not expert.done and steps < config.max_steps:
        world.step(expert.act())
        steps += 1
    return world.fulfilled(goal), steps


def run_scene(name: str, first: int, seeds: int) -> dict[str, list[Attempt]]:
    world = World(SCENES[name])
    tasks: dict[str, list[Attempt]] = {}
    for index, task in enumerate(world.scene.tasks):
        rows = tasks[f"{name:5} {task.instruction}"] = []
        for seed in range(first, first + seeds):
            try:
                success, steps = attempt(world, index, seed)
            except SoarError as error:
                print(f"scene {name} seed {seed}: {error}")
                success, steps = False, 0
            rows.append(Attempt(type(task.goal).__name__, seed, success, steps))
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scenes", nargs="*", default=list(SCENES))
    args = parser.parse_args()
    kinds: dict[str, list[bool]] = defaultdict(list)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(run_scene, s, args.first, args.seeds) for s in args.scenes]
        for job in jobs:
            for label, rows in job.result().items():
                show(label, rows)
                kinds[rows[0].kind] += [row.success for row in rows]
    for kind, successes in kinds.items():
        print(f"{np.mean(successes):7.1%} of {len(successes):4} {kind}")


def show(label: str, rows: list[Attempt]) -> None:
    failed = [row.seed for row in rows if not row.success]
    steps = [row.steps for row in rows if row.success]
    rate, median = 1 - len(failed) / len(rows), np.median(steps or [0])
    print(f"{rate:7.1%} {median:5.0f} steps  {label:85} failed: {failed[:8]}", flush=True)


if __name__ == "__main__":
    main()
