"""Clips of an expert that continues from the system's own states (see `soar.pretraining.dagger`).

The system acts in scenes of the *broad* regime, and whenever it requests a subgoal, an expert continues from the same
state in a second world.
"""

from __future__ import annotations

import numpy as np

from soar.errors import RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.clips import Clip, ClipConfig, LabeledWorld, clip_of
from soar.pretraining.dagger import attempt, system_models
from soar.pretraining.demonstrations import demonstrate
from soar.robots.simulated import SimRobot
from soar.sim.layout import NoRoom
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World


def packaged_dagger_clips(seed: int, config: ClipConfig) -> list[Clip]:
    """Record clips from the states of the packaged policy and subgoal generator in the *broad* scene with this seed."""
    return dagger_clips(sample_scene("broad", seed), seed, *system_models(), config)


def dagger_clips(
    scene: Scene, seed: int, policy: Policy, subgoals: SubgoalGenerator, config: ClipConfig
) -> list[Clip]:
    """Attempt a random task of a scene, and record a clip for each subgoal that is requested.

    Those before the physics diverged, where it does; none if the objects don't fit on the table.
    """
    rng = np.random.default_rng(seed)
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    robot, expert_world = SimRobot(scene, seed=0), LabeledWorld(scene)
    clips: list[Clip] = []

    def record(world: World) -> None:
        if world.fulfilled(task.goal):
            return
        expert_world.restore(world.snapshot())
        expert_world.start_labels(task.goal)
        episode = demonstrate(expert_world, task, rng, config.max_steps)
        if episode.provenance.truth:
            clips.append(clip_of(episode, expert_world, config.resolution))

    try:
        attempt(robot, task, seed, (policy, subgoals), record, rng)
    except (RobotFault, NoRoom):
        pass
    finally:
        robot.close()
        expert_world.close()
    return clips
