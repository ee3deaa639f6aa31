"""Scripted demonstrations in an episode store, in the role of BridgeData V2.

In a session, the expert performs a few tasks in a row in one scene without a reset, so that episodes start from many
states. Only successful demonstrations are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from soar import __version__
from soar.errors import ConfigError, RobotFault
from soar.sim.expert.expert import Expert
from soar.sim.layout import NoRoom, is_feasible
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import CAMERA_PIXELS, World
from soar.types import Action, Episode, Provenance, Query, Regime, Verdict
from soar.utils.config import check_ranges
from soar.utils.processes import worker_pool

EXPERT = "expert"
"""Station, checkpoint and judge of every demonstration."""
_RANDOM_TASK_PROBABILITY = 0.5
"""Probability that a failed attempt is at a random feasible task of the scene."""
_SESSIONS_PER_PROCESS = 100
"""Sessions after which a process is replaced, because every world leaks 0.25 MiB in the OpenGL driver."""
_FRUITLESS_SESSIONS = 500
"""Sessions in a row without a kept demonstration after which nothing more is tried."""
_PLACEMENTS = 3
"""Seeds with which a named scene's objects are placed before its first session."""


@dataclass(frozen=True)
class DemonstrationConfig:
    """Behavior of the expert in its sessions."""

    max_steps: Annotated[int, Ge(1)] = 80
    """Control steps after which an attempt has failed."""
    tasks: tuple[int, int] = (1, 3)
    """Range of the number of tasks in a row without a reset."""
    speed: tuple[float, float] = (0.75, 1.25)
    """Range of the speed factor, sampled for each demonstration."""
    noise: tuple[float, float] = (0.5, 1.6)
    """Range of the noise factor, sampled for each demonstration."""
    home_probability: Annotated[float, Ge(0), Le(1)] = 0.7
    """Probability that the arm goes home between two tasks; otherwise the next one starts where it is."""
    disturb_probability: Annotated[float, Ge(0), Le(1)] = 0.5
    """Probability that a demonstration starts after a failed attempt, and so shows the recovery."""
    image_size: Annotated[int, Ge(1)] = CAMERA_PIXELS
    """Image side in pixels."""

    def __post_init__(self) -> None:
        for name in ("tasks", "speed", "noise"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f"{name} must be a range (low, high), not ({low}, {high})")
        if self.tasks[0] < 1:
            raise ConfigError(f"tasks starts at {self.tasks[0]}; valid: at least 1")
        check_ranges(self)


class DemonstrationCounts(NamedTuple):
    """Numbers of successful demonstrations, which are kept, and of failed ones."""

    kept: int = 0
    failed: int = 0

    def __add__(self, other: DemonstrationCounts) -> DemonstrationCounts:  # type: ignore[override]
        return DemonstrationCounts(self.kept + other.kept, self.failed + other.failed)

    @property
    def rate(self) -> float:
        """Success rate; 0 without demonstrations."""
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
    """Record the expert's attempt at a task from the present state, successful or not.

    The episode's `actions` are the executed ones, with noise, and `commanded` those without it. The verdict is the
    simulator's.

    Args:
        rng: source of the expert's noise and choices.
        max_steps: control steps after which the attempt ends.
        seed: seed for the provenance.
        noise: factor on the expert's noise.
        speed: factor on the expert's speed.

    Raises:
        RobotFault: the physics diverged.
    """
    expert = Expert(world, task.goal, rng, noise=noise, speed=speed)
    images, states, times = [world.render()], [world.state()], [world.data.time]
    commanded, executed = list[Action](), list[Action]()
    started_s = time.time()
    while len(commanded) < max_steps:
        action = expert.act()
        if expert.done and commanded:
            break
        commanded.append(expert.commanded)
        executed.append(world.step(action))
        images.append(world.render())
        states.append(world.state())
        times.append(world.data.time)
    success = world.fulfilled(task.goal)
    return Episode(
        instruction=task.instruction,
        actions=np.stack(executed),
        commanded=np.stack(commanded),
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


def record_session(
    scene: Scene, seed: int, config: DemonstrationConfig | None = None
) -> Iterator[Episode]:
    """Record the demonstrations of one session, successful or not; ends after a failure."""
    c, rng = config or DemonstrationConfig(), np.random.default_rng(seed)
    world = World(scene, c.image_size)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(int(rng.integers(c.tasks[0], c.tasks[1] + 1))):
            if rng.random() < c.disturb_probability and not disturb(world, task, rng):
                return
            speed, noise = rng.uniform(*c.speed), rng.uniform(*c.noise)
            episode = demonstrate(
                world, task, rng, c.max_steps, seed=seed, noise=noise, speed=speed
            )
            yield episode
            feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
            if not episode.provenance.truth or world.objects_lost() or not feasible:
                return
            task = feasible[int(rng.integers(len(feasible)))]
            if rng.random() < c.home_probability:
                world.home()
    except (RobotFault, NoRoom):  # the physics diverged, or the objects don't fit on the table
        return
    finally:
        world.close()


def disturb(world: World, task: SceneTask, rng: np.random.Generator) -> bool:
    """Attempt a task or another one, stop somewhere, and drift away with the gripper open or closed.

    The gripper may drop its object, hold the wrong one, or close on nothing: states that a policy gets into and an
    expert doesn't, and from which the arm's pose doesn't show the task.

    Returns:
        Whether the task is still unfulfilled, with all objects within reach.
    """
    goal = task.goal
    others = [t for t in world.scene.tasks if is_feasible(world, t.goal)]
    if others and rng.random() < _RANDOM_TASK_PROBABILITY:
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
    return not world.fulfilled(goal) and not world.objects_lost()


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
    """Fill an episode store with at least `episodes` demonstrations of a regime, or resume an interrupted call.

    Sessions have the seeds `first_seed`, `first_seed + 1`, ...; those in the store are skipped, so a call with a larger
    `episodes` adds demonstrations.

    Args:
        store: folder of the store, created if needed.
        regime: "broad" or "bridge", whose scenes are sampled by seed; not used with `scenes`, which have their own.
        episodes: number of demonstrations in the store at the end.
        workers: number of processes.
        first_seed: seed of the first session.
        scenes: names or files of scenes to use in turn instead of sampled ones.
        config: behavior of the expert.

    Returns:
        The numbers of demonstrations that this call kept and that failed.

    Raises:
        ConfigError: there is no such scene, its objects don't fit on the table, or no demonstration succeeds.
    """
    from soar.data.store.lance import open_store
    from soar.utils.progress import progress_bar

    named = [load_scene(s) for s in scenes]
    regimes = tuple(dict.fromkeys(s.regime for s in named)) or (regime,)
    query = Query(
        stations=(EXPERT,), regimes=regimes, scenes=tuple(dict.fromkeys(s.name for s in named))
    )
    found = [s.provenance.seed for s in open_store(store, create=True).query(query)]
    have, done = len(found), set(found)
    if have < episodes:
        for scene in named:
            _check_room(scene, first_seed)
    seeds = (s for s in count(first_seed) if s not in done)
    run = partial(_run_session, str(store), regime, tuple(scenes), config)
    with progress_bar() as bar:
        line = bar.add_task(
            f"{', '.join(regimes)} demonstrations", total=episodes, completed=have, note=""
        )

        def show(counts: DemonstrationCounts) -> None:
            bar.update(line, completed=have + counts.kept, note=f"success {counts.rate:.1%}")

        return _run_until(run, seeds, episodes - have, workers, show)


def _check_room(scene: Scene, seed: int) -> None:
    """Place a scene's objects. Raises ConfigError: they don't fit on the table with any of a few seeds."""
    world = World(scene)
    for tries in range(_PLACEMENTS):
        try:
            world.reset(seed + tries, scene.tasks[0].goal)
            break
        except (RobotFault, NoRoom):
            if tries == _PLACEMENTS - 1:
                raise


def _run_until(
    run: Callable[[int], DemonstrationCounts],
    seeds: Iterator[int],
    missing: int,
    workers: int,
    show: Callable[[DemonstrationCounts], None],
) -> DemonstrationCounts:
    """Call `run` with seed after seed in worker processes until `missing` demonstrations are kept.

    Raises:
        ConfigError: many sessions in a row kept none.
    """
    counts, fruitless = DemonstrationCounts(), 0
    while counts.kept < missing:
        # Fresh processes by new pools: an executor's max_tasks_per_child hangs in Python 3.11 (gh-115634).
        with worker_pool(workers) as pool:
            batch = islice(seeds, workers * _SESSIONS_PER_PROCESS)
            running: set[Future[DemonstrationCounts]] = set()
            while counts.kept < missing:
                free = 2 * workers - len(running)
                running |= {pool.submit(run, seed) for seed in islice(batch, free)}
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                new = sum((f.result() for f in finished), DemonstrationCounts())
                counts += new
                show(counts)
                fruitless = 0 if new.kept else fruitless + len(finished)
                if fruitless >= _FRUITLESS_SESSIONS:
                    raise ConfigError(
                        f"no demonstration succeeded in {fruitless} sessions in a row; valid: scenes and settings in "
                        "which the expert can succeed, as `soar sim video` shows"
                    )
            counts = sum((f.result() for f in running if not f.cancel()), counts)
    return counts


def _run_session(
    store: str,
    regime: Regime,
    scenes: tuple[str, ...],
    config: DemonstrationConfig | None,
    seed: int,
) -> DemonstrationCounts:
    """Record a session in a worker process, and append its successes to the store."""
    from soar.data.store.lance import open_store

    scene = load_scene(scenes[seed % len(scenes)]) if scenes else sample_scene(regime, seed)
    episodes, counts = open_store(store), DemonstrationCounts()
    for episode in record_session(scene, seed, config):
        success = bool(episode.provenance.truth)
        if success:
            episodes.append(episode)
        counts += DemonstrationCounts(int(success), int(not success))
    return counts
