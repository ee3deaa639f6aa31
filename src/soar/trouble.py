"""Clips of how to go on from where the system itself got to (DAgger, Ross et al. 2011), for the imagination.

A scripted hand that begins anywhere still isn't where a policy that follows imagined subgoals ends up: beside
the thing, too low, closed on nothing. So the system acts in scenes of the *broad* regime, and whenever it asks
for a subgoal, an expert shows in a second world, in the same state, what it would do. Privileged, as all that
is made for training is; no component of the loop knows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.evaluate.bench import SimBench
from soar.evaluate.results import Key
from soar.evaluate.trials import run_trials
from soar.interfaces import Policy, SubgoalGenerator
from soar.models import load_policy, load_subgoals
from soar.rollout import Plan
from soar.sim.demos import demonstrate
from soar.sim.scenes import sample_scene
from soar.sim.spec import Scene, SceneTask
from soar.subgoals.play import CAMERA_PIXELS, Clip, PlayConfig, WatchedWorld, clip_of
from soar.types import Images, Observation


def packaged_trouble(seed: int, config: PlayConfig) -> list[Clip]:
    """Clips from where the packaged policy and imagination get to in the scene of this seed."""
    return trouble(sample_scene("broad", seed), seed, *_packaged(), config)


def trouble(
    scene: Scene, seed: int, policy: Policy, subgoals: SubgoalGenerator, config: PlayConfig
) -> list[Clip]:
    """One attempt at some task of a scene, and a clip for each subgoal that it asked for.

    Empty where the things don't fit on the table or the physics diverged.
    """
    rng = np.random.default_rng(seed)
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    bench = SimBench(scene)
    helper = Helper(bench, task, subgoals, rng, config)
    try:
        key = Key(scene.name, task.instruction, seed)
        run_trials([bench], [key], policy, helper, Plan(), rng, Path())
    except (RobotFault, ConfigError):
        pass
    finally:
        bench.close()
        helper.close()
    return helper.clips


class Helper:
    """A subgoal generator that, asked for a subgoal, also has an expert show what it would do now."""

    def __init__(
        self,
        bench: SimBench,
        task: SceneTask,
        subgoals: SubgoalGenerator,
        rng: np.random.Generator,
        config: PlayConfig,
    ) -> None:
        self.name = subgoals.name
        self.clips: list[Clip] = []
        self._bench, self._task, self._subgoals = bench, task, subgoals
        self._rng, self._config = rng, config
        self._world = WatchedWorld(bench.scene, CAMERA_PIXELS)

    def generate(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """What the generator imagines. The bench's own world stays as it is."""
        if not self._bench.fulfilled():
            self._world.restore(self._bench.world.snapshot())
            self._world.watch(self._task.goal)
            episode = demonstrate(self._world, self._task, self._rng, self._config.max_steps)
            if episode.provenance.truth:
                self.clips.append(clip_of(episode, self._world, self._config.resolution))
        return self._subgoals.generate(observations, instructions, rng)

    def close(self) -> None:
        """Free the second world's renderer."""
        self._world.close()


@cache
def _packaged() -> tuple[Policy, SubgoalGenerator]:
    """Loaded once in each process."""
    return load_policy("gcbc"), load_subgoals()
