"""The paper's third question: are proposed tasks meaningful, and is what the robot then does useful data?

    FOLDER/ARM/store, observed.jsonl   episodes of each way to collect, and what the simulator knew about them
    FOLDER/proposals.json, .md, .png   feasible proposals, success and spread of the attempts

Each arm changes one thing: tasks at random, feasibility as the simulator knows it (from a station's second
episode on), and subgoals that are always drawn from the same noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from soar.data.store.lance import LanceStore, open_store
from soar.evaluation.plots import format_rate
from soar.experiments.paper.observed import (
    Attempt,
    feasible,
    observed_collection,
    precision,
    success,
)
from soar.experiments.paper.tables import write_study
from soar.experiments.run_config import RunConfig
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.interfaces import SubgoalGenerator, VisionLanguageModel
from soar.registry import load_subgoals
from soar.robots.simulated import SimRobot
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Station
from soar.sim.layout import is_feasible
from soar.tasks.proposer import select_task, uncertainties
from soar.types import Answer, History, Images, Observation, Proposal, Query, Question, Task
from soar.utils.statistics import Interval, wilson

_HERE = f"python:{__name__}"
_PATH_POINTS = 20
"""Points, at equal times, at which two attempts' paths of the hand are compared."""


@dataclass(frozen=True)
class Arm:
    """A way to collect: what proposes tasks, and what generates subgoals."""

    proposer: str = "uncertain"
    subgoals: str = ""
    """Empty for the system's own."""


ARMS: Mapping[str, Arm] = {
    "system": Arm(),
    "random-tasks": Arm(proposer=f"{_HERE}:RandomTasks"),
    "true-feasibility": Arm(proposer=f"{_HERE}:TrueFeasibility"),
    "fixed-noise": Arm(subgoals=f"{_HERE}:fixed_noise"),
}


class Collected(NamedTuple):
    """What an arm's episodes were worth."""

    feasible: Interval
    """Share of proposals that were feasible."""
    success: Interval
    """Share of feasible proposals that were done."""
    useful: Interval
    """Share of all episodes that were a true success."""
    precision: Interval
    """Share of judged successes that were true."""
    task_entropy: float | None
    """See `task_entropy`."""
    path_spread_m: float | None
    """See `path_spread`."""


class RandomTasks:
    """Proposes any of the tasks, without asking anyone."""

    def __init__(self, tasks: Sequence[Task], vlm: VisionLanguageModel) -> None:
        self.tasks = tuple(tasks)

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """See `TaskProposer.propose`."""
        return Proposal(self.tasks[int(rng.integers(len(self.tasks)))], "asked")


class TrueFeasibility(RandomTasks):
    """Proposes by Eq. 1 among the tasks that the simulator finds feasible; any task until it is told."""

    feasible: tuple[Task, ...] = ()

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """See `TaskProposer.propose`."""
        if not self.feasible:
            return super().propose(observation, answers, history, rng)
        names = tuple(t.instruction for t in self.feasible)
        scores = uncertainties(self.feasible, history)
        return Proposal(select_task(self.feasible, history, rng), "uncertain", names, scores)


class _TellFeasible(Callback):
    """Tells a station's proposer, after each episode, which tasks are feasible now."""

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        robot = station.simulation
        if isinstance(station.proposer, TrueFeasibility) and isinstance(robot, SimRobot):
            goals = {t.instruction: t.goal for t in robot.scene.tasks}
            station.proposer.feasible = tuple(
                t for t in station.tasks if is_feasible(robot.world, goals[t.instruction])
            )


class FixedNoise:
    """The packaged subgoal generator, which always draws from the same noise."""

    def __init__(self, generator: SubgoalGenerator) -> None:
        self.name = f"{generator.name}, fixed noise"
        self._generator = generator

    def generate(
        self, observations: Sequence[Observation], tasks: Sequence[Task], rng: np.random.Generator
    ) -> Images:
        """See `SubgoalGenerator.generate`."""
        return self._generator.generate(observations, tasks, np.random.default_rng(0))


def fixed_noise() -> FixedNoise:
    """Return the packaged generator without its randomness."""
    return FixedNoise(load_subgoals("compact"))


def reproduce_proposals(folder: Path, config: RunConfig, on_message: OnMessage) -> Path:
    """Collect with each arm, or what is left of it; write numbers, table and figure; return the table's path.

    Args:
        folder: folder for all of it.
        config: scenes, episodes in each, and how they are collected.
        on_message: called with a few words before each stage.

    Raises:
        ConfigError: there is no such scene.
    """
    steps = config.episode_config.steps_per_subgoal
    found = {}
    for name, arm in ARMS.items():
        on_message(f"collection with {name}, {config.episodes} episodes in each scene")
        collect = replace(config.collect, proposer=arm.proposer)
        run, subgoals = Run(folder / name), arm.subgoals or config.subgoals
        here = replace(config, collect=collect, subgoals=subgoals, steps_per_subgoal=steps)
        attempts = observed_collection(here, run, config.policy, subgoals, [_TellFeasible()])
        found[name] = measure(attempts, open_store(run.store, read_only=True))
    bars = {
        what: {name: getattr(c, what) for name, c in found.items()}
        for what in ("feasible", "success", "useful")
    }
    numbers = {name: c._asdict() for name, c in found.items()}
    return write_study(folder, "proposals", numbers, _markdown(found), bars)


def measure(attempts: Sequence[Attempt], store: LanceStore) -> Collected:
    """Return what an arm's episodes were worth."""
    paths: dict[tuple[str, str], list[Float64[np.ndarray, "p 3"]]] = {}
    for episode in store.query(Query()):
        states = store.steps(episode.id).states[:, :3].astype(np.float64)
        at = np.linspace(0, len(states) - 1, _PATH_POINTS).round().astype(int)
        paths.setdefault((episode.provenance.scene, episode.instruction), []).append(states[at])
    useful = sum(a.done for a in attempts)
    return Collected(
        feasible(attempts),
        success(attempts),
        wilson(useful, len(attempts)),
        precision(attempts),
        task_entropy(attempts),
        path_spread(list(paths.values())),
    )


def task_entropy(attempts: Sequence[Attempt]) -> float | None:
    """Return the entropy of the attempted tasks in each scene, on average, as a share of the largest.

    None where no scene has two attempted tasks or more.
    """
    shares = []
    for scene in {a.scene for a in attempts}:
        counts = Counter(a.instruction for a in attempts if a.scene == scene)
        p = np.array(list(counts.values())) / counts.total()
        if len(p) > 1:
            shares.append(float(-(p * np.log(p)).sum() / np.log(len(p))))
    return float(np.mean(shares)) if shares else None


def path_spread(groups: Sequence[Sequence[Float64[np.ndarray, "p 3"]]]) -> float | None:
    """Return how far apart the hands of two attempts at the same task are, at the same share of their time [m].

    None without a pair of attempts.

    Args:
        groups: paths of the hand, at points of equal times, of each task.
    """
    distances = [
        float(np.linalg.norm(a - b, axis=1).mean())
        for paths in groups
        for a, b in combinations(paths, 2)
    ]
    return float(np.mean(distances)) if distances else None


def _markdown(found: Mapping[str, Collected]) -> str:
    lines = [
        "| collection | feasible proposals | success of these | true successes of all | judged successes that are true "
        "| entropy of tasks | spread of paths |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, c in found.items():
        rates = " | ".join(map(format_rate, (c.feasible, c.success, c.useful, c.precision)))
        entropy = "" if c.task_entropy is None else f"{c.task_entropy:.2f}"
        spread = "" if c.path_spread_m is None else f"{100 * c.path_spread_m:.1f} cm"
        lines.append(f"| {name} | {rates} | {entropy} | {spread} |")
    return "\n".join(lines) + "\n"
