"""Attempts of the packaged system during which an expert is asked how to continue (DAgger, Ross et al. 2011).

A scripted expert doesn't reach the states that a policy with generated subgoals gets into: beside the object, too low,
closed on nothing. Privileged: no component of the loop may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from soar.interfaces import Policy, SubgoalGenerator
from soar.registry import COMPACT, load_policy, load_subgoals
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.rollout.fixed_task import fixed_station, run_fixed_tasks
from soar.rollout.station import EpisodeConfig
from soar.sim.scenes.spec import SceneTask
from soar.sim.world import World
from soar.types import Images, Observation, Task


def attempt(
    robot: SimRobot,
    task: SceneTask,
    seed: int,
    models: tuple[Policy, SubgoalGenerator],
    at_request: Callable[[World], None],
    rng: np.random.Generator,
    config: EpisodeConfig | None = None,
) -> None:
    """Let the models attempt a task once.

    Args:
        robot: simulated robot, which is reset.
        task: a task of its scene.
        seed: seed of the start.
        models: policy and subgoal generator.
        at_request: called with the robot's world whenever a subgoal is requested; must leave it as it is.
        rng: random numbers of the models.
        config: numbers of subgoals and of control steps.

    Raises:
        ConfigError: the objects don't fit on the table.
        RobotFault: the physics diverged.
    """
    policy, subgoals = models
    robot.world.reset(seed, goal=task.goal)
    station = fixed_station("0", SafeRobot(robot), task.instruction, robot.world.scene.name, seed)
    observed = _ObservedGenerator(subgoals, lambda: at_request(robot.world))
    run_fixed_tasks([station], policy, observed, config or EpisodeConfig(), rng)


@cache
def system_models(policy: str = "gcbc", subgoals: str = COMPACT) -> tuple[Policy, SubgoalGenerator]:
    """Return a policy and a subgoal generator by name, loaded once per process; by default the packaged ones."""
    return load_policy(policy), load_subgoals(subgoals)


class _ObservedGenerator:
    """A subgoal generator that calls a function at each request."""

    def __init__(self, subgoals: SubgoalGenerator, at_request: Callable[[], None]) -> None:
        self.name = subgoals.name
        self._subgoals, self._at_request = subgoals, at_request

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Call the function and generate subgoals."""
        self._at_request()
        return self._subgoals.generate(observations, tasks, rng)
