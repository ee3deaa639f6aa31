"""Clips of an expert that continues from the system's own states (DAgger, Ross et al. 2011).

A scripted expert doesn't reach the states that a policy with generated subgoals gets into: beside the object, too low,
closed on nothing. So the system acts in scenes of the *broad* regime, and whenever it requests a subgoal, an expert
continues from the same state in a second world. Privileged: no component of the loop may use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.clips import Clip, ClipConfig, LabeledWorld, clip_of
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
    """Record clips from the states of the packaged policy and subgoal generator in the *broad* scene with this seed."""
    return dagger_clips(sample_scene("broad", seed), seed, *_packaged(), config)


def dagger_clips(
    scene: Scene, seed: int, policy: Policy, subgoals: SubgoalGenerator, config: ClipConfig
) -> list[Clip]:
    """Attempt a random task of a scene, and record a clip for each subgoal that is requested.

    Empty where the objects don't fit on the table or the physics diverged.
    """
    rng = np.random.default_rng(seed)
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    robot = SimRobot(scene, seed=0)
    recorder = ExpertRecorder(robot.world, task, subgoals, rng, config)
    try:
        robot.world.reset(seed, goal=task.goal)
        station = fixed_station("0", SafeRobot(robot), task.instruction, scene.name, seed)
        run_fixed_tasks([station], policy, recorder, EpisodeConfig(), rng)
    except (RobotFault, ConfigError):
        pass
    finally:
        robot.close()
        recorder.close()
    return recorder.clips


class ExpertRecorder:
    """A subgoal generator that also records, at each request, how an expert continues from the present state."""

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
        self._robot_world, self._task, self._subgoals = world, task, subgoals
        self._rng, self._config = rng, config
        self._expert_world = LabeledWorld(world.scene)

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Generate subgoals. The robot's world stays as it is."""
        if not self._robot_world.fulfilled(self._task.goal):
            self._expert_world.restore(self._robot_world.snapshot())
            self._expert_world.start_labels(self._task.goal)
            episode = demonstrate(self._expert_world, self._task, self._rng, self._config.max_steps)
            if episode.provenance.truth:
                self.clips.append(clip_of(episode, self._expert_world, self._config.resolution))
        return self._subgoals.generate(observations, tasks, rng)

    def close(self) -> None:
        """Free the renderer of the expert's world."""
        self._expert_world.close()


@cache
def _packaged() -> tuple[Policy, SubgoalGenerator]:
    """Return the packaged models, loaded once per process."""
    return load_policy("gcbc"), load_subgoals()
