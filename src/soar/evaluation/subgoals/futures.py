"""Comparison of sampled futures with those that experts bring about: how near they are, and how varied.

From states in which the system requests subgoals, several noisy experts go on; a generator draws as many futures. Uses
the simulator's truth; for measuring only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from soar.errors import RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.pretraining.dagger import attempt
from soar.robots.simulated import SimRobot
from soar.rollout.station import EpisodeConfig
from soar.sim.expert.expert import Expert
from soar.sim.layout import NoRoom
from soar.sim.projection import project_point
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.tasks.grammar import parse_instruction
from soar.types import Image, Observation, State

FUTURES = 16
"""Experts that go on from a state, and futures that a generator draws for it."""
_WITHIN = 0.07
"""Distance from the nearest expert's hand up to which a sampled hand counts as an expert's [half an image]."""
_ATTEMPT = EpisodeConfig(num_subgoals=10, steps_per_subgoal=10)


@dataclass(frozen=True)
class ExpertFutures:
    """A state, and where the hands of several experts are some steps later."""

    image: Image
    state: State
    instruction: str
    hands: Float32[np.ndarray, "k 2"]
    """x and y in [-1, 1]; NaN outside the image."""


@dataclass(frozen=True)
class FutureScore:
    """Sampled hands beside those of experts, in half images."""

    states: int
    """Number of states."""
    nearest: float
    """Median distance of a sampled hand from the nearest expert's."""
    within: float
    """Share of sampled hands within .07 of an expert's."""
    spread: float
    """Mean distance of the sampled hands from their mean, relative to the same for the experts'."""
    experts_nearest: float
    """Median distance of an expert's hand from the nearest other expert's."""


def system_futures(
    scene: Scene,
    attempts: int,
    models: tuple[Policy, SubgoalGenerator],
    seed: int,
    steps_ahead: int,
) -> list[ExpertFutures]:
    """Return the futures of the states in which a system requests subgoals for random tasks."""
    found: list[ExpertFutures] = []
    for number in range(seed, seed + attempts):
        rng = np.random.default_rng(number)
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        robot = SimRobot(scene, seed=0)

        def record(world: World, task: SceneTask = task, number: int = number) -> None:
            if not world.fulfilled(task.goal):
                hands = expert_hands(world, task, steps_ahead, number)
                found.append(ExpertFutures(world.render(), world.state(), task.instruction, hands))

        try:
            attempt(robot, task, number, models, record, rng, _ATTEMPT)
        except (RobotFault, NoRoom):
            continue  # the physics diverged, or the objects don't fit: states up to there count
        finally:
            robot.close()
    return found


def expert_hands(
    world: World, task: SceneTask, steps_ahead: int, seed: int
) -> Float32[np.ndarray, "k 2"]:
    """Return the image positions of the hands of FUTURES experts; the world stays as it is."""
    before, hands = world.snapshot(), []
    for number in range(FUTURES):
        expert = Expert(world, task.goal, np.random.default_rng((seed, number)))
        for _ in range(steps_ahead):
            if expert.done:
                break
            world.step(expert.act())
        hands.append(project_point(world, world.gripper_pose()[0]))
        world.restore(before)
    return np.stack(hands)


def score_futures(
    generator: CompactSubgoalGenerator, states: Sequence[ExpertFutures], seed: int = 0
) -> FutureScore:
    """Draw FUTURES futures for each state, and compare their hands with the experts'."""
    rng, drawn = np.random.default_rng(seed), []
    for s in states:
        observations = [Observation(s.image, s.state, 0.0)] * FUTURES
        tasks = [parse_instruction(s.instruction)] * FUTURES
        drawn.append(generator.sample_keypoints(observations, tasks, rng)[:, 0])
    return compare_futures(np.stack(drawn), np.stack([s.hands for s in states]))


def compare_futures(
    drawn: Float[np.ndarray, "n k 2"], experts: Float[np.ndarray, "n k 2"]
) -> FutureScore:
    """Compare sampled hands with experts'; states in which an expert's hand leaves the image don't count."""
    seen = ~np.isnan(experts).any((1, 2))
    drawn, experts = drawn[seen], experts[seen]
    nearest = _distances(drawn, experts).min(2)
    others = _distances(experts, experts) + np.where(np.eye(experts.shape[1], dtype=bool), 9, 0)
    return FutureScore(
        states=len(drawn),
        nearest=float(np.median(nearest)),
        within=float((nearest < _WITHIN).mean()),
        spread=_spread(drawn) / _spread(experts),
        experts_nearest=float(np.median(others.min(2))),
    )


def _distances(
    a: Float[np.ndarray, "n k 2"], b: Float[np.ndarray, "n k 2"]
) -> Float[np.ndarray, "n k k"]:
    distances: Float[np.ndarray, "n k k"] = np.linalg.norm(a[:, :, None] - b[:, None], axis=-1)
    return distances


def _spread(points: Float[np.ndarray, "n k 2"]) -> float:
    return float(np.linalg.norm(points - points.mean(1, keepdims=True), axis=-1).mean())
