"""Episodes of a collection with what the simulator knew about them: whether the task was feasible, and is done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import collect_in_simulation
from soar.improvement.run import Run
from soar.robots.simulated import SimRobot
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Station
from soar.sim.layout import is_feasible
from soar.types import Outcome, Proposal, Step
from soar.utils.files import append_lines, read_lines, write_bytes
from soar.utils.statistics import Interval, wilson


@dataclass(frozen=True)
class Attempt:
    """One episode, with the simulator's truth about it."""

    scene: str
    instruction: str
    feasible: bool
    """Whether its task was undone and possible when it was proposed."""
    feasible_share: float
    """Share of the scene's tasks of which that was true: what a random proposer has."""
    done: bool
    """Whether it was feasible, and done at the end."""
    verdict: Outcome
    station: str = ""


class Observer(Callback):
    """Appends each judged episode of a simulated station in this process to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Ask which tasks are feasible. Raises ConfigError: the station isn't simulated in this process."""
        robot = self._robot(station)
        feasible = {t.instruction: is_feasible(robot.world, t.goal) for t in robot.scene.tasks}
        self._instruction, self._done = proposal.task.instruction, False
        self._feasible = feasible[self._instruction]
        self._share = float(np.mean(list(feasible.values())))

    def on_step(self, station: Station, step: Step) -> None:
        """Ask whether the task is done; the last step's answer counts."""
        self._done = self._robot(station).truth(self._instruction)

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Append a line."""
        if result.fault is None:
            attempt = Attempt(
                station.scene,
                self._instruction,
                self._feasible,
                self._share,
                self._feasible and self._done,
                result.verdict.outcome,
                station.name,
            )
            append_lines(self._path, [asdict(attempt)])

    def _robot(self, station: Station) -> SimRobot:
        if not isinstance(station.simulation, SimRobot):
            raise ConfigError(f"station {station.name} isn't simulated in this process")
        return station.simulation


def observed_collection(
    config: RunConfig, run: Run, policy: str, subgoals: str, callbacks: Sequence[Callback] = ()
) -> list[Attempt]:
    """Collect with one station in each scene, or what is left of it, and return the judged episodes."""
    path = run.folder / "observed.jsonl"
    forget_lost(path, run.store)
    alone = replace(config, collect=replace(config.collect, stations=1))
    collect_in_simulation(alone, run, 1, policy, subgoals, [Observer(path), *callbacks])
    return read_attempts(path)


def forget_lost(path: Path, store: Path) -> None:
    """Drop the lines of episodes that a killed collection hadn't stored yet: they are made again.

    Args:
        path: an observer's file; it may be missing.
        store: store of the collection, which has each station's episodes in the order of the lines.
    """
    attempts = read_attempts(path)
    if not attempts:
        return
    stored = Counter(e.provenance.station for e in open_store(store, read_only=True).query())
    kept = []
    for attempt in attempts:
        stored[attempt.station] -= 1
        if stored[attempt.station] >= 0 or not attempt.station:  # of an earlier version
            kept.append(json.dumps(asdict(attempt)) + "\n")
    write_bytes(path, "".join(kept).encode())


def read_attempts(path: Path) -> list[Attempt]:
    """Return the episodes of a file; none if it is missing."""
    return [Attempt(**row) for row in read_lines(path)]


def success(attempts: Sequence[Attempt]) -> Interval:
    """Return the share of feasible tasks that were done."""
    feasible = [a.done for a in attempts if a.feasible]
    return wilson(sum(feasible), len(feasible))


def precision(attempts: Sequence[Attempt]) -> Interval:
    """Return the share of judged successes that were done."""
    praised = [a.done for a in attempts if a.verdict == "success"]
    return wilson(sum(praised), len(praised))


def feasible(attempts: Sequence[Attempt]) -> Interval:
    """Return the share of proposals that were feasible."""
    return wilson(sum(a.feasible for a in attempts), len(attempts))
