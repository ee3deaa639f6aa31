"""Duty cycle of the arm with sequential and with overlapped inference, on a real-time simulated robot.

    python benchmarks/loop.py --episodes 5

The whole of `soar collect` runs, with a simulated arm behind its safety limits and a real store; the models sleep for
their latencies. The arm moves while it executes actions and while it homes (1.5 s, as the paper's arm), and not while
it waits for a subgoal, an answer, or the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from soar.collection.collector import collect
from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.robots.duty_cycle import MeteredRobot
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.sim.scenes.paper_scenes import SCENES
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Actions, Answer, Image, Images, Noise, Observation, Question, Task
from soar.utils.clock import Clock


@dataclass
class SlowVLM:
    """A VLM with a given latency that answers yes."""

    clock: Clock
    latency_s: float
    name: str = "slow-vlm"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Answer yes to every question."""
        self.clock.sleep(self.latency_s)
        return [[Answer(q, 0.9) for q in asked] for asked in questions]


@dataclass
class SlowSubgoals:
    """A subgoal generator with a given latency that returns its observations."""

    clock: Clock
    latency_s: float
    name: str = "slow-subgoals"

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return the observations' images."""
        self.clock.sleep(self.latency_s)
        return np.stack([o.image for o in observations])


@dataclass
class SlowPolicy:
    """A policy with a given latency that moves at random."""

    clock: Clock
    latency_s: float
    name: str = "slow-policy"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return small random motions."""
        self.clock.sleep(self.latency_s)
        actions = rng.normal(0, 0.01, (len(observations), 7)).astype(np.float32)
        actions[:, 6] = 1.0
        return actions

    def reset(self) -> None:
        """Do nothing: the policy has no state."""


class SteadyState(Callback):
    """Measures from the end of the first episode to the end of the last, as in days of collection."""

    def __init__(self, robot: MeteredRobot, clock: Clock) -> None:
        self.duty_cycle = self.seconds = 0.0
        self._robot, self._clock = robot, clock
        self._start_s: float | None = None

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Start to measure, or measure until now."""
        if self._start_s is None:
            self._start_s = self._clock.now()
            self._robot.start()
        self.duty_cycle = self._robot.duty_cycle()
        self.seconds = self._clock.now() - self._start_s


@dataclass(frozen=True)
class Result:
    """Measurement of one order of inference."""

    name: str
    duty_cycle: float
    seconds: float
    late_ms: float


def measure(
    name: str,
    overlap: bool,
    episode_config: EpisodeConfig,
    episodes: int,
    vlm_s: float,
    subgoal_s: float,
    policy_s: float,
    speed: float,
) -> Result:
    clock = Clock(speed)
    vlm = SlowVLM(clock, vlm_s)
    models = Models(
        vlm,
        SlowPolicy(clock, policy_s),
        SlowSubgoals(clock, subgoal_s),
        VLMSuccessDetector(vlm),
    )
    scene = SCENES["1"]
    robot = MeteredRobot(SafeRobot(SimRobot(scene, 0, realtime=True, clock=clock)), clock)
    tasks = tuple(task_from_instruction(t.instruction) for t in scene.tasks)
    station = Station("one", robot, tasks, UncertaintyProposer(tasks), scene.name, "soar")
    config = CollectionConfig(episode=episode_config, overlap=overlap)
    with tempfile.TemporaryDirectory() as folder:
        store, status_folder = (
            open_store(Path(folder) / "store", create=True),
            StatusFolder(folder, "one"),
        )
        meter = SteadyState(robot, clock)
        collect(
            [station],
            models,
            store,
            [status_folder],
            config,
            episodes=1 + episodes,
            clock=clock,
            callbacks=[meter],
        )
        late_ms = status_folder.status().late_ms or 0.0
    robot.close()
    return Result(name, meter.duty_cycle, meter.seconds / episodes, late_ms)


def main(
    episodes: int = 5,
    vlm_s: float = 1.5,
    subgoal_s: float = 0.3,
    policy_s: float = 0.03,
    speed: float = 1.0,
) -> None:
    """Measure the orders. `speed` below 1 slows the robot's clock, for a busy machine."""
    orders = [
        ("sequential", False, EpisodeConfig()),
        ("overlapped, subgoals when due", True, EpisodeConfig()),
        ("overlapped, subgoals 2 steps ahead", True, EpisodeConfig(prefetch_steps=2)),
    ]
    table = Table(
        title=f"VLM {vlm_s} s, subgoal {subgoal_s} s, policy {policy_s} s; {episodes} episodes"
    )
    for column in ("order", "duty cycle", "s / episode", "mean lateness of a step"):
        table.add_column(column)
    for name, overlap, episode_config in orders:
        r = measure(name, overlap, episode_config, episodes, vlm_s, subgoal_s, policy_s, speed)
        table.add_row(r.name, f"{r.duty_cycle:.1%}", f"{r.seconds:.2f}", f"{r.late_ms:.1f} ms")
    Console(width=100).print(table)


if __name__ == "__main__":
    tyro.cli(main)
