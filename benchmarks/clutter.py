"""What clutter costs: success, precision of the verdicts and feasible proposals with 0, 3 and 6 distracting objects.

    python -m benchmarks.clutter --out runs/clutter
    soar sim sheet --scenes dev1 dev1+3 dev1+6 dev4 dev4+3 dev4+6 --out clutter.png

The whole system collects in each scene on its own, and the simulator tells the truth. Writes episodes.jsonl, table.md
and clutter.png. The same command resumes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.data.store.lance import open_store
from soar.evaluation.plots import plot_rates
from soar.experiments.paper.observed import (
    Attempt,
    Observer,
    feasible,
    precision,
    read_attempts,
    success,
)
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import episode_config, sim_stations

COUNTS = (0, 3, 6)
MEASURES = {"success": success, "precision of verdicts": precision, "feasible proposals": feasible}


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
            name = f"{scene}+{count}" if count else scene
            have = sum(a.scene == name for a in read_attempts(path))
            if (missing := args.episodes - have) > 0:
                _collect(name, missing, have, path)
            _report(read_attempts(path), args.out)


def _collect(name: str, episodes: int, done: int, path: Path) -> None:
    """Collect with one station; the episodes themselves aren't kept."""
    [station] = sim_stations(name, 1, seed=done)
    models = ModelsConfig()
    config = CollectionConfig(episode_config([station], models.subgoals))
    with tempfile.TemporaryDirectory() as store:
        open_store(store, create=True)
        job = CollectionJob(Path(store), models, config, episodes=episodes)
        run_lockstep([station], job, threading.Event(), [Observer(path)])


def _report(found: Sequence[Attempt], out: Path) -> None:
    by_count = {c: [a for a in found if _distractors(a) == c] for c in COUNTS}
    rates = {
        c: {name: measure(some) for name, measure in MEASURES.items()}
        for c, some in by_count.items()
        if some
    }
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


def _distractors(attempt: Attempt) -> int:
    return int(attempt.scene.rpartition("+")[2]) if "+" in attempt.scene else 0


if __name__ == "__main__":
    main()
