"""A robot of your own: any class with the five methods of `soar.interfaces.Robot` is one.

    python examples/own_robot.py          three episodes on the robot below, in a second

The same robot from the command line, for days, with a station file that says `robot: own_robot:make`:

    cd examples && soar doctor --store /tmp/store --station own_robot.yaml --models toy_models.yaml
"""

from __future__ import annotations

import time

import numpy as np

from soar.robots.safety import SafeRobot
from soar.rollout.assessment import assess
from soar.rollout.callbacks import EpisodeResult
from soar.rollout.loop import run_episodes
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig, Station
from soar.rollout.station_config import StationConfig, station_tasks
from soar.tasks.proposer import UncertaintyProposer
from soar.types import Action, Image, Observation

TASKS = ("move the green block to the left side", "move the green block to the right side")
TABLE, BLOCK = (205, 190, 165), (40, 170, 60)
NEAR, FAR = np.array((0.156, -0.205)), np.array((0.423, 0.283))  # corners of the image [m], x, y
HOME = np.array((0.29, 0.0, 0.10))


class Magnet:
    """A magnet over a table that drags one green block. Replace what it does by your driver's calls."""

    period_s = 0.2

    def __init__(self, seed: int = 0) -> None:
        self._block = np.random.default_rng(seed).uniform((0.2, -0.15), (0.38, 0.15))
        self._hand, self._turn, self._on = HOME.copy(), np.zeros(3), False

    def observe(self) -> Observation:
        """A picture, and the hand's x, y, z [m], roll, pitch, yaw [rad] and opening in the base frame."""
        state = np.array([*self._hand, *self._turn, not self._on], np.float32)
        return Observation(self._photograph(), state, time.monotonic())

    def execute(self, action: Action) -> Action:
        """Move and turn by the action; 0 at its end switches the magnet on. Raise RobotFault if you can't."""
        self._on = action[6] < 0.5
        caught = self._on and np.abs(self._hand[:2] - self._block).max() < 0.03
        self._hand, self._turn = self._hand + action[:3], self._turn + action[3:6]
        if caught:
            self._block = self._hand[:2].copy()
        return action.copy()  # what was really executed: training learns from this

    def home(self) -> None:
        """Go to a neutral pose, let go; the things on the table stay where they are."""
        self._hand, self._turn, self._on = HOME.copy(), np.zeros(3), False

    def recover(self) -> None:
        """Reboot motors, reopen the camera: whatever clears a fault without a person."""

    def close(self) -> None:
        """Release the hardware."""

    def _photograph(self) -> Image:
        image = np.full((32, 32, 3), TABLE, np.uint8)
        hand = (60, 60, round(255 * np.clip(self._hand[2] / 0.3, 0, 1)))  # bluer, the higher it is
        for at, color, half in ((self._hand[:2], hand, 3), (self._block, BLOCK, 2)):
            at = np.clip(31 * (at - NEAR) / (FAR - NEAR), 0, 31).round().astype(int)
            spans = (slice(max(n - half, 0), n + half + 1) for n in 31 - at)  # x is up, y is left
            image[tuple(spans)] = color
        return image


def make(seed: int = 0) -> Magnet:
    """What a station file names; its `options` are these arguments."""
    return Magnet(seed)


def main(episodes: int = 3) -> list[EpisodeResult]:
    """Run a few episodes, each from where the last one left the block."""
    tasks = station_tasks(StationConfig("magnet", "own_robot:make", tasks=TASKS))
    robot = SafeRobot(make(seed=1))  # never outside of its box, whatever a policy asks for
    station = Station("magnet", robot, tasks, UncertaintyProposer(tasks), scene="magnet")
    toys = "python:soar.robots.toy_models:Toy"
    models = ModelsConfig(
        vlm=f"{toys}VLM", subgoals=f"{toys}Subgoals", policy=f"{toys}Policy"
    ).load()
    [assessment] = assess(models.vlm, [(robot.observe(), tasks)])
    rng, results = np.random.default_rng(0), []
    for _ in range(episodes):
        [result] = run_episodes([station], [assessment], models, EpisodeConfig(), [{}], rng)
        print(f"{result.proposal.task.instruction}: {result.verdict.outcome}")
        assessment = result.after  # judged this episode, and proposes the next task
        results.append(result)
    return results


if __name__ == "__main__":
    main()
