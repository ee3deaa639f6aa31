"""What clutter costs: success, precision of the verdicts and feasible proposals with 0, 3 and 6 distracting objects.

    python -m benchmarks.clutter --out runs/clutter
    soar sim sheet --scenes dev1 dev1+3 dev1+6 dev4 dev4+3 dev4+6 --out clutter.png

The whole system collects in each scene on its own, and the simulator says what was true. Writes episodes.jsonl, table.md
and clutter.png. The same command resumes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.data.store.lance import open_store
from soar.evaluation.plots import plot_rates
from soar.robots.simulated import SimRobot
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.models import ModelsConfig
from soar.rollout.station import Station
from soar.rollout.station_config import episode_config, sim_stations
from soar.sim.layout import is_feasible
from soar.types import Outcome, Proposal, Step
from soar.utils.files import append_lines, read_lines
from soar.utils.statistics import Interval, wilson

COUNTS = (0, 3, 6)
MEASURES = ("success", "precision of verdicts", "feasible proposals")


@dataclass(frozen=True)
class Attempt:
    """One episode, with the simulator's truth about it."""

    scene: str
    distractors: int
    instruction: str
    feasible: bool
    """Whether its task was undone and possible when it was proposed."""
    done: bool
    """Whether it was feasible, and done at the end."""
    verdict: Outcome


class Truth(Callback):
    """Appends each stored episode to a file, with what the simulator knows."""

    def __init__(self, path: Path, scene: str, distractors: int) -> None:
        """`path`: the file; `scene`, `distractors`: what its lines say."""
        self._path, self._scene, self._distractors = path, scene, distractors

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Ask whether the task is feasible."""
        robot = station.simulation
        assert isinstance(robot, SimRobot)
        tasks = {t.instruction: t for t in robot.scene.tasks}
        self._goal = tasks[proposal.task.instruction].goal
        self._feasible = is_feasible(robot.world, self._goal)

    def on_step(self, station: Station, step: Step) -> None:
        """Ask whether the task is done, of which the last step's answer counts."""
        assert isinstance(station.simulation, SimRobot)
        self._done = station.simulation.world.fulfilled(self._goal)

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Append a line."""
        if result.fault is None:
            instruction, done = result.proposal.task.instruction, self._feasible and self._done
            made = Attempt(
                self._scene,
                self._distractors,
                instruction,
                self._feasible,
                done,
                result.verdict.outcome,
            )
            append_lines(self._path, [asdict(made)])


def main() -> None:
    """Collect what is missing, and write table and plot after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=["dev1", "dev4"])
    parser.add_argument("--episodes", type=int, default=40, help="for each scene and count")
    args = parser.parse_args()
    path = args.out / "episodes.jsonl"
    for scene in args.scenes:
        for count in COUNTS:
            have = [a for a in attempts(path) if (a.scene, a.distractors) == (scene, count)]
            if missing := args.episodes - len(have):
                _collect(scene, count, missing, len(have), path)
            _report(attempts(path), args.out)


def attempts(path: Path) -> list[Attempt]:
    """Return the episodes so far."""
    return [Attempt(**row) for row in read_lines(path)] if path.exists() else []


def _collect(scene: str, count: int, episodes: int, done: int, path: Path) -> None:
    """Collect with one station; the episodes themselves aren't kept."""
    name = f"{scene}+{count}" if count else scene
    [station] = sim_stations(name, 1, seed=done)
    models = ModelsConfig()
    config = CollectionConfig(episode_config([station], models.subgoals))
    with tempfile.TemporaryDirectory() as store:
        open_store(store, create=True)
        job = CollectionJob(Path(store), models, config, episodes=episodes)
        run_lockstep([station], job, threading.Event(), [Truth(path, scene, count)])


def measures(found: Sequence[Attempt]) -> dict[str, Interval]:
    """Return success and precision of the verdicts, and the share of feasible proposals, with 95 % intervals."""
    feasible = [a for a in found if a.feasible]
    praised = [a for a in found if a.verdict == "success"]
    shares = ([a.done for a in feasible], [a.done for a in praised], [a.feasible for a in found])
    return {m: wilson(sum(s), len(s)) for m, s in zip(MEASURES, shares, strict=True)}


def _report(found: Sequence[Attempt], out: Path) -> None:
    by_count = {c: [a for a in found if a.distractors == c] for c in COUNTS}
    rates = {c: measures(some) for c, some in by_count.items() if some}
    lines = [
        "| distracting objects | episodes | " + " | ".join(MEASURES) + " |",
        "|---|---|---|---|---|",
    ]
    for count, of_count in rates.items():
        cells = [f"{r.value:.0%} ({r.low:.0%} to {r.high:.0%})" for r in of_count.values()]
        lines.append(f"| {count} | {len(by_count[count])} | {' | '.join(cells)} |")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    plot_rates({f"{c} distractors": r for c, r in rates.items()}).savefig(
        out / "clutter.png", dpi=120
    )
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
