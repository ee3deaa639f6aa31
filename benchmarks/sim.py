"""Speed of the simulator in comparison with OGBench's: `python benchmarks/sim.py`.

Control steps per second with one image each, physics included, and memory of one process. Each line is measured in a
separate process that is pinned to one core, so that the ratios are fair.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from typing import NamedTuple

WARM_UP = 5


class Rate(NamedTuple):
    """Result of one measurement."""

    per_second: float
    """Control steps per second of wall-clock time."""
    cpu_ms: float
    """CPU time per control step [ms], which doesn't depend on other load of the core."""
    peak_mib: float
    """Largest resident memory of the process [MiB]."""


def measure(step: Callable[[], object], steps: int) -> Rate:
    for _ in range(WARM_UP):
        step()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return Rate(steps / wall, cpu / steps * 1e3, peak)


def soar_scene(scene: str, size: int, steps: int) -> Rate:
    """Measure a replay of the expert's actions, whose contacts are typical."""
    import numpy as np

    from soar.sim.expert.expert import Expert
    from soar.sim.scenes.catalog import load_scene
    from soar.sim.world import World

    world = World(load_scene(scene), size)
    goal = world.scene.tasks[0].goal
    world.reset(0, goal)
    start, expert = world.snapshot(), Expert(world, goal, np.random.default_rng(0))
    actions = []
    while not expert.done:
        actions.append(world.step(expert.act()))
    replay = cycle(range(len(actions)))

    def step() -> None:
        i = next(replay)
        if i == 0:
            world.restore(start)
        world.step(actions[i])
        world.render()

    return measure(step, steps)


def ogbench_cube(steps: int) -> Rate:
    import gymnasium
    import ogbench  # noqa: F401  registers its environments

    env = gymnasium.make("visual-cube-single-v0")
    env.reset(seed=0)
    return measure(lambda: env.step(env.action_space.sample()), steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--scenes", nargs="*", default=["1", "5", "8", "10"])
    args = parser.parse_args()
    os.environ.setdefault("MUJOCO_GL", "egl")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'':28}{'steps/s':>9}{'CPU ms':>9}{'MiB':>7}")

    def show(name: str, function: Callable[..., Rate], *values: object) -> Rate:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rate = pool.submit(function, *values).result()
        print(f"{name:28}{rate.per_second:9.1f}{rate.cpu_ms:9.1f}{rate.peak_mib:7.0f}", flush=True)
        return rate

    reference = show("OGBench visual-cube-single", ogbench_cube, max(10, args.steps // 10))
    for scene in args.scenes:
        own = show(f"soar scene {scene}, 256 px", soar_scene, scene, 256, args.steps)
        print(
            f"{'':4}{own.per_second / reference.per_second:.1f}x by wall clock, {reference.cpu_ms / own.cpu_ms:.1f}x by CPU time"
        )
    show(f"soar scene {args.scenes[0]}, 64 px", soar_scene, args.scenes[0], 64, args.steps)


if __name__ == "__main__":
    main()
