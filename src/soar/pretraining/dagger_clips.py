"""Clips of how to go on from where the system itself got to (DAgger, Ross et al. 2011), for the imagination.

A scripted hand that begins anywhere still isn't where a policy that follows imagined subgoals ends up: beside
the thing, too low, closed on nothing. So the system acts in scenes of the *broad* regime, and whenever it asks
for a subgoal, an expert shows in a second world, in the same state, what it would do. Privileged, as all that
is made for training is; no component of the loop knows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.clips import CAMERA_PIXELS, Clip, ClipConfig, LabeledWorld, clip_of
from soar.pretraining.demonstrations import demonstrate
from soar.registry import load_policy, load_subgoals
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.rollout.fixed_task import fixed_station, run_fixed_tasks
from soar.rollout.station import EpisodeConfig
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.types import Images, Observation, Task


def packaged_dagger_clips(seed: int, config: ClipConfig) -> list[Clip]:
    """Clips from where the packaged policy and imagination get to in the scene of this seed."""
    return dagger_clips(sample_scene("broad", seed), seed, *_packaged(), config)


def dagger_clips(
    scene: Scene, seed: int, policy: Policy, subgoals: SubgoalGenerator, config: ClipConfig
) -> list[Clip]:
    """One attempt at some task of a scene, and a clip for each subgoal that it asked for.

    Empty where the things don't fit on the table or the physics diverged.
    """
    rng = np.random.default_rng(seed)
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    robot = SimRobot(scene, seed=0)
    helper = ExpertRecorder(robot.world, task, subgoals, rng, config)
    try:
        robot.world.reset(seed, goal=task.goal)
        station = fixed_station("0", SafeRobot(robot), task.instruction, scene.name, seed)
        run_fixed_tasks([station], policy, helper, EpisodeConfig(), rng)
    except (RobotFault, ConfigError):
        pass
    finally:
        robot.close()
        helper.close()
    return helper.clips


class ExpertRecorder:
    """A subgoal generator that, asked for a subgoal, also has an expert show what it would do now."""

    def __init__(
        self,
        world: World,
        task: SceneTask,
        subgoals: SubgoalGenerator,
        rng: np.random.Generator,
        config: ClipConfig,
    ) -> None:
        self.name = subgoals.name
        self.clips: list[Clip] = []
        self._watched, self._task, self._subgoals = world, task, subgoals
        self._rng, self._config = rng, config
        self._world = LabeledWorld(world.scene, CAMERA_PIXELS)

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """What the generator imagines. The robot's own world stays as it is."""
        if not self._watched.fulfilled(self._task.goal):
            self._world.restore(self._watched.snapshot())
            self._world.watch(self._task.goal)
            episode = demonstrate(self._world, self._task, self._rng, self._config.max_steps)
            if episode.provenance.truth:
                self.clips.append(clip_of(episode, self._world, self._config.resolution))
        return self._subgoals.generate(observations, tasks, rng)

    def close(self) -> None:
        """Free the second world's renderer."""
        self._world.close()


@cache
def _packaged() -> tuple[Policy, SubgoalGenerator]:
    """Loaded once in each process."""
    return load_policy("gcbc"), load_subgoals()
