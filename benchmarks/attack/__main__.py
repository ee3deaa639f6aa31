"""Runner of the attacks: one table, and the same as JSON.

SCALE=.1 python -m benchmarks.attack --out runs/attack            # all; the same command resumes
SCALE=1 python -m benchmarks.attack --only actions replies        # some of them, in full
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from benchmarks.attack.attack import Attack, Findings, one_arena, run, to_plain

from soar.utils.files import read_json, write_json

ATTACKS = {
    "writers": "store_writers:StoreWriters",
    "training": "training:TrainingKills",
    "fleets": "fleets:FleetKills",
    "signals": "signals:Signals",
    "disk": "full_disk:FullDisk",
    "actions": "actions:WildActions",
    "replies": "replies:HostileReplies",
    "files": "files:MutatedFiles",
    "day": "day:LongRun",
}
"""Module and class of each attack, by its name on the command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run attacks, and return 1 if any found harm or leftovers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--out", type=Path, default=Path("runs/attack"))
    parser.add_argument("--table", action="store_true", help="print the table of what has run")
    options = parser.parse_args(argv)
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # forks have one thread
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    one_arena()
    scale = _scale()
    path = options.out / "attack.json"
    if not options.table:
        for name in options.only:
            findings = run(attack_class(name), scale, options.out / name)
            _store(path, name, findings, scale)
    rows = _read(path)
    print(table([rows[name] for name in ATTACKS if name in rows]))
    return int(any(row["harm"] or row["leftovers"] for row in rows.values()))


def attack_class(name: str) -> type[Attack]:
    """Import an attack's class."""
    module, kind = ATTACKS[name].split(":")
    found: type[Attack] = getattr(importlib.import_module(f"benchmarks.attack.{module}"), kind)
    return found


def table(rows: Sequence[dict[str, object]]) -> str:
    """Format findings as a table in Markdown."""
    lines = [
        "| attack | tries (of) | harm found | leftovers | worst memory growth | seconds | date, CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        growth = row["growth_mb"]
        memory = "" if growth is None else f"{growth:.1f} MB"
        lines.append(
            f"| {row['attack']} | {row['tries']:,} ({row['full']:,}) | {row['harm']} "
            f"| {row['leftovers']} | {memory} | {row['seconds']:,.0f} | {row['date']}, {row['cpu']} |"
        )
    notes = [f"- {row['attack']}: {row['note']}" for row in rows if row["note"]]
    found = [f"- {row['attack']}: {line}" for row in rows for line in _examples(row)]
    return "\n".join([*lines, *([""] if notes or found else []), *notes, *found])


def _examples(row: dict[str, object]) -> Sequence[str]:
    examples = row["examples"]
    assert isinstance(examples, list | tuple)
    return [str(line)[:200] for line in examples]


def _scale() -> float:
    text = os.environ.get("SCALE", ".1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 1:
        sys.exit(
            f"SCALE is {text!r}; valid: above 0, at most 1 (all tries; .1 takes about an hour)"
        )
    return scale


def _store(path: Path, name: str, findings: Findings, scale: float) -> None:
    row = {
        **to_plain(findings),
        "scale": scale,
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{len(os.sched_getaffinity(0))} x {_cpu()}",
    }
    write_json(path, {**_read(path), name: row})


def _read(path: Path) -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = read_json(path) if path.exists() else {}
    return rows


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


if __name__ == "__main__":
    sys.exit(main())
