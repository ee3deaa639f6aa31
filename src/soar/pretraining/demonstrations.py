"""Scripted demonstrations: what BridgeData V2 stands for, made by the expert and kept in an episode store.

A session is one scene, placed by one seed, in which the expert does a few tasks in a row without a
reset, so that episodes start from many states. Only successful demonstrations are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from soar import __version__
from soar.errors import ConfigError, RobotFault
from soar.sim import layout
from soar.sim.expert.expert import Expert
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.types import Action, Episode, Provenance, Query, Regime, Verdict
from soar.utils.processes import worker_pool

EXPERT = "expert"
"""Station, checkpoint and judge of every demonstration."""
_MISTAKEN = 0.5
"""Share of the attempts gone wrong that were at some task of the scene, and maybe another one."""
_SESSIONS_A_PROCESS = 100
"""Each world leaves a quarter of a MiB behind in the OpenGL driver; a fresh process now and then frees it."""


@dataclass(frozen=True)
class DemonstrationConfig:
    """What the expert's sessions are like."""

    max_steps: int = 80
    """An attempt that takes longer is a failure."""
    tasks: tuple[int, int] = (1, 3)
    """Fewest and most tasks in a row without a reset."""
    speed: tuple[float, float] = (0.75, 1.25)
    """Range of the expert's pace, drawn for each demonstration."""
    noise: tuple[float, float] = (0.5, 1.6)
    """Range of its waver."""
    home: float = 0.7
    """Chance that the arm goes home between two tasks; otherwise it starts where it is."""
    disturbed: float = 0.5
    """Chance that a demonstration begins where an attempt went wrong, and so shows the way out."""
    image_size: int = 256

    def __post_init__(self) -> None:
        for name in ("tasks", "speed", "noise"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f"{name} must be a range (low, high), not ({low}, {high})")
        if not (0 <= self.home <= 1 and 0 <= self.disturbed <= 1):
            raise ConfigError("home and disturbed are chances in [0, 1]")
        if self.max_steps < 1 or self.tasks[0] < 1:
            raise ConfigError("max_steps and tasks are at least 1")


class DemonstrationCounts(NamedTuple):
    """How many demonstrations succeeded, and so were kept, and how many failed."""

    kept: int = 0
    failed: int = 0

    def __add__(self, other: DemonstrationCounts) -> DemonstrationCounts:  # type: ignore[override]
        return DemonstrationCounts(self.kept + other.kept, self.failed + other.failed)

    @property
    def rate(self) -> float:
        """Share that succeeded; 1 when there was none."""
        return self.kept / max(1, self.kept + self.failed)


def demonstrate(
    world: World,
    task: SceneTask,
    rng: np.random.Generator,
    max_steps: int = 100,
    *,
    seed: int = 0,
    noise: float = 1.0,
    speed: float = 1.0,
) -> Episode:
    """The expert's attempt at `task` from the world as it is, successful or not.

    `actions` are what was executed, waver included, and `wanted` what the expert meant, without it. The
    verdict is the simulator's own; `seed` only goes into the provenance.
    Raises RobotFault when the physics diverges.
    """
    expert = Expert(world, task.goal, rng, noise=noise, speed=speed)
    images, states, times = [world.render()], [world.state()], [world.data.time]
    wanted: list[Action] = []
    executed: list[Action] = []
    started_s = time.time()
    while len(wanted) < max_steps:
        action = expert.act()
        if expert.done and wanted:
            break
        wanted.append(expert.commanded)
        executed.append(world.step(action))
        images.append(world.render())
        states.append(world.state())
        times.append(world.data.time)
    success = world.fulfilled(task.goal)
    return Episode(
        instruction=task.instruction,
        actions=np.stack(executed),
        wanted=np.stack(wanted),
        images=np.stack(images),
        states=np.stack(states),
        times_s=np.array(times),
        subgoals=(),
        verdict=Verdict("success" if success else "failure", float(success), judge=EXPERT),
        provenance=Provenance(
            station=EXPERT,
            regime=world.scene.regime,
            scene=world.scene.name,
            seed=seed,
            started_s=started_s,
            checkpoint=EXPERT,
            code_version=__version__,
            truth=success,
        ),
    )


def session(
    scene: Scene, seed: int, config: DemonstrationConfig | None = None
) -> Iterator[Episode]:
    """The demonstrations of one session, successful or not; it ends early after a failure."""
    c, rng = config or DemonstrationConfig(), np.random.default_rng(seed)
    world = World(scene, c.image_size)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(int(rng.integers(c.tasks[0], c.tasks[1] + 1))):
            if rng.random() < c.disturbed and not disturb(world, task, rng):
                return
            pace, waver = rng.uniform(*c.speed), rng.uniform(*c.noise)
            episode = demonstrate(world, task, rng, c.max_steps, seed=seed, noise=waver, speed=pace)
            yield episode
            feasible = [t for t in scene.tasks if layout.is_feasible(world, t.goal)]
            if not episode.provenance.truth or world.objects_lost() or not feasible:
                return
            task = feasible[int(rng.integers(len(feasible)))]
            if rng.random() < c.home:
                world.home()
    except RobotFault:
        return
    finally:
        world.close()


def disturb(world: World, task: SceneTask, rng: np.random.Generator) -> bool:
    """An attempt that goes wrong: stopped somewhere, drifts off, with the gripper open or closed.

    At this task, or by mistake at another. What is held may be dropped or be the wrong thing, and the hand
    may close on nothing: states that a policy gets into and an expert doesn't, and in which the arm doesn't
    tell what is wanted. Returns whether the goal is still there to be reached.
    """
    wanted = task.goal
    others = [t for t in world.scene.tasks if layout.is_feasible(world, t.goal)]
    if others and rng.random() < _MISTAKEN:
        task = others[int(rng.integers(len(others)))]
    expert = Expert(world, task.goal, rng, noise=float(rng.uniform(0.5, 2.0)))
    for _ in range(int(rng.integers(40))):
        action = expert.act()
        if expert.done:
            break
        world.step(action)
    gripper, drift = float(rng.random() < 0.5), rng.normal(0, 0.025, 3)
    for _ in range(int(rng.integers(1, 9))):
        drift = 0.8 * drift + rng.normal(0, 0.01, 3)
        world.step(np.array([*drift, *rng.normal(0, 0.05, 3), gripper], np.float32))
    return not world.fulfilled(wanted) and not world.objects_lost()


def demonstrations(
    regime: Regime, seeds: Sequence[int], config: DemonstrationConfig | None = None
) -> Iterator[Episode]:
    """Successful demonstrations, scene after scene, one session for each seed."""
    for seed in seeds:
        for episode in session(sample_scene(regime, seed), seed, config):
            if episode.provenance.truth:
                yield episode


def collect_demonstrations(
    store: str | Path,
    regime: Regime,
    episodes: int,
    *,
    workers: int = 2,
    first_seed: int = 0,
    scenes: Sequence[str] = (),
    config: DemonstrationConfig | None = None,
) -> DemonstrationCounts:
    """Fill an episode store up to at least `episodes` demonstrations of a regime; resumes where it was.

    Sessions have the seeds `first_seed`, `first_seed + 1`, ...; those already in the store are skipped, so
    a second call with the same arguments goes on, and one with a larger `episodes` adds.

    Args:
        store: the store's folder, made when missing.
        regime: "broad" or "bridge", whose scenes each seed samples; any other needs `scenes`.
        episodes: how many demonstrations the store should hold in the end.
        workers: processes.
        first_seed: of the first session.
        scenes: names or files of scenes to take in turn, instead of sampling.
        config: what sessions are like.

    Returns:
        what this call kept and what failed.
    """
    from soar.data.store.lance import open_store
    from soar.utils.progress import progress_bar

    names = tuple(load_scene(s).name for s in scenes)
    query = Query(stations=(EXPERT,), regimes=(regime,), scenes=names)
    found = [s.provenance.seed for s in open_store(store, create=True).query(query)]
    have, done = len(found), set(found)
    seeds = (s for s in count(first_seed) if s not in done)
    run = partial(_run_session, str(store), regime, tuple(scenes), config)
    with progress_bar() as bar:
        line = bar.add_task(f"{regime} demonstrations", total=episodes, completed=have, note="")

        def show(tally: DemonstrationCounts) -> None:
            bar.update(line, completed=have + tally.kept, note=f"success {tally.rate:.1%}")

        return _run_until(run, seeds, episodes - have, workers, show)


def _run_until(
    run: Callable[[int], DemonstrationCounts],
    seeds: Iterator[int],
    wanted: int,
    workers: int,
    show: Callable[[DemonstrationCounts], None],
) -> DemonstrationCounts:
    """Call `run` with seed after seed in worker processes until `wanted` demonstrations are kept."""
    tally = DemonstrationCounts()
    while tally.kept < wanted:
        # Fresh processes now and then. An executor's own max_tasks_per_child hangs in Python 3.11 (gh-115634).
        with worker_pool(workers) as pool:
            some, running = (
                islice(seeds, workers * _SESSIONS_A_PROCESS),
                set[Future[DemonstrationCounts]](),
            )
            while tally.kept < wanted:
                running |= {
                    pool.submit(run, seed) for seed in islice(some, 2 * workers - len(running))
                }
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                tally = sum((f.result() for f in finished), tally)
                show(tally)
            tally = sum((f.result() for f in running if not f.cancel()), tally)
    return tally


def _run_session(
    store: str,
    regime: Regime,
    scenes: tuple[str, ...],
    config: DemonstrationConfig | None,
    seed: int,
) -> DemonstrationCounts:
    """One worker's share: a session's successes go into the store."""
    from soar.data.store.lance import open_store

    scene = load_scene(scenes[seed % len(scenes)]) if scenes else sample_scene(regime, seed)
    where, tally = open_store(store), DemonstrationCounts()
    for episode in session(scene, seed, config):
        success = bool(episode.provenance.truth)
        if success:
            where.append(episode)
        tally += DemonstrationCounts(int(success), int(not success))
    return tally
