"""Does the demonstration keep its word? `soar demo` with ten seeds: in how many does its gain lie above chance?

    python -m benchmarks.demo --out runs/demos
    python -m benchmarks.demo --out runs/demos --jobs 2      # two at a time, each with half of the machine

Every seed has its own starts, stations, and order of samples, and each demonstration its 15 minutes. Writes demo.md.
The same command resumes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from soar.evaluation.plots import format_change
from soar.evaluation.results import FIRST_SEED
from soar.experiments.run_config import RunConfig
from soar.report.facts import read_facts
from soar.report.result_sections import duration
from soar.utils.config import load
from soar.utils.files import write_bytes

STRIDE = 1000
"""Distance of the seeds of two demonstrations' starts and stations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--scene", default="dev1")
    parser.add_argument("--jobs", type=int, default=1, help="demonstrations at a time")
    args = parser.parse_args()
    folders = [args.out / f"seed-{seed}" for seed in range(args.seeds)]
    cores = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(partial(_run, args.scene, args.minutes, cores), range(args.seeds), folders))
    text = _table(folders)
    write_bytes(args.out / "demo.md", text.encode())
    print(text)


def _run(scene: str, minutes: float, cores: int, seed: int, folder: Path) -> None:
    """Run a demonstration on `cores` cores, or what is left of it; its messages go to a file beside its folder."""
    command = [sys.executable, "-m", "soar", "demo", "--out", str(folder), "--scene", scene]
    command += ["--minutes", str(minutes), "--workers", str(cores), "--fit.seed", str(seed)]
    command += [
        "--first-seed",
        str(FIRST_SEED + STRIDE * seed),
        "--collect.seed",
        str(STRIDE * seed),
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    with open(folder.with_suffix(".log"), "a") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)


def _table(folders: list[Path]) -> str:
    """Return a row for each demonstration, and how many gains lie above zero."""
    rows, gains = [], []
    for folder in folders:
        facts = read_facts(folder)
        if facts.run is None or facts.run.comparison is None:
            raise SystemExit(f"{folder} has no result")
        comparison, gain = facts.run.comparison, facts.run.comparison.difference
        before, after = (sum(outcomes) for outcomes in comparison.outcomes)
        judged = sum(e.verdict.outcome == "success" for e in facts.episodes)
        steps = load(RunConfig, folder / "config.yaml").fit.steps
        rows.append(
            f"| {folder.name} | {len(facts.episodes)}, {judged} | {steps} "
            f"| {before}, {after} of {len(comparison.pairs)} | {format_change(gain)} "
            f"| {duration(3600 * facts.run.hours)} |"
        )
        gains.append(gain)
    mean = 100 * np.mean([gain.value for gain in gains])
    above = sum(gain.low > 0 for gain in gains)
    return "\n".join([
        "| | own episodes, judged a success | steps | before, after | points | in all |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Above zero: {above} of {len(gains)}; mean {mean:+.0f} points.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
