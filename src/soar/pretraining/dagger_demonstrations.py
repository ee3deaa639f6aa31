"""Demonstrations in which an expert continues from where the packaged system itself got to (see `soar.pretraining.dagger`).

The system attempts a random task of a *bridge* scene, and whenever it requests a subgoal, an expert continues from the
same state in a second world, for a few steps. With hindsight goals they show how to reach an image from beside an object,
too low, or closed on nothing, where no demonstration from the start ever is.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from soar.data.store.lance import open_store
from soar.errors import ConfigError, RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.dagger import attempt, packaged_models
from soar.pretraining.demonstrations import (
    EXPERT,
    DemonstrationConfig,
    DemonstrationCounts,
    demonstrate,
    run_until,
)
from soar.robots.simulated import SimRobot
from soar.rollout.station import EpisodeConfig
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.types import Episode, Query, Regime
from soar.utils.progress import progress_bar

REGIME: Regime = "bridge"
FIRST_SEED = 500_000
"""Seed of the first scene, far from those of the other demonstrations."""
_STEPS = 24
"""Control steps for which the expert continues: as far ahead as the farthest hindsight goal."""
_ATTEMPT = EpisodeConfig(num_subgoals=10, steps_per_subgoal=10)


def continue_from_attempt(
    scene: Scene, seed: int, models: tuple[Policy, SubgoalGenerator]
) -> list[Episode]:
    """Attempt a random task of a scene, and let an expert continue wherever a subgoal is requested.

    Args:
        scene: the scene.
        seed: seed of its start, of the task, and of all noise.
        models: policy and subgoal generator that attempt it.

    Returns:
        The expert's continuations; none where the objects don't fit on the table or the physics diverged.
    """
    config, rng = DemonstrationConfig(), np.random.default_rng(seed)
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    robot, expert_world = SimRobot(scene, seed=0), World(scene)
    episodes: list[Episode] = []

    def record(world: World) -> None:
        if world.fulfilled(task.goal):
            return
        expert_world.restore(world.snapshot())
        speed, noise = rng.uniform(*config.speed), rng.uniform(*config.noise)
        episodes.append(
            demonstrate(expert_world, task, rng, _STEPS, seed=seed, noise=noise, speed=speed)
        )

    try:
        attempt(robot, task, seed, models, record, rng, _ATTEMPT)
    except (RobotFault, ConfigError):
        pass
    finally:
        robot.close()
        expert_world.close()
    return episodes


def collect_continuations(store: str | Path, episodes: int, workers: int = 2) -> None:
    """Fill an episode store with at least `episodes` continuations, or resume an interrupted call."""
    query = Query(stations=(EXPERT,), regimes=(REGIME,))
    found = [s.provenance.seed for s in open_store(store, create=True).query(query)]
    have, done = len(found), set(found)
    seeds = (s for s in count(FIRST_SEED) if s not in done)
    with progress_bar() as bar:
        line = bar.add_task("continued attempts", total=episodes, completed=have, note="")

        def show(counts: DemonstrationCounts) -> None:
            bar.update(line, completed=have + counts.kept)

        run_until(partial(_run_scene, str(store)), seeds, episodes - have, workers, show)


def _run_scene(store: str, seed: int) -> DemonstrationCounts:
    """Record a scene's continuations in a worker process, and append them to the store."""
    found = continue_from_attempt(sample_scene(REGIME, seed), seed, packaged_models())
    episodes = open_store(store)
    for episode in found:
        episodes.append(episode)
    return DemonstrationCounts(len(found))
