"""Prove that a refactoring has changed no number: this checkout's code against commit 975160d, bit for bit.

A git worktree of that commit is made in a temporary folder and removed at the end. `golden_975160d.py` runs
its code and `golden.py` the code that lies in this checkout, committed or not, both with that commit's
weights. What is measured is told in `golden_975160d.py`.

    python scripts/compare_golden.py --base-json base.json

Ends with 1 where a number differs, and with 2 where the numbers couldn't be made.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from golden_common import PARTS, Json, machine

BASE = "975160d"
SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
LONGEST = 60
"""Characters of a differing value that are shown."""


class Difference(NamedTuple):
    """A number that isn't what it was."""

    place: str
    base: str
    head: str


class Broken(Exception):
    """The numbers couldn't be made."""


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of a commit in a temporary folder, which goes whatever happens."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / commit
        try:
            git("worktree", "add", "--quiet", "--detach", str(tree), commit)
            yield tree
        finally:
            if tree.exists():  # twice forced: also where its making was cut short
                git("worktree", "remove", "--force", "--force", str(tree))


def git(*words: str) -> None:
    """Run git in this checkout. Raises Broken."""
    try:
        subprocess.run(["git", "-C", str(ROOT), *words], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Broken(f"git {words[0]} failed: {error}") from error


def measure(driver: str, source: Path, weights: Path, only: Sequence[str]) -> Json:
    """The numbers of some parts of the code in `source`. Raises Broken."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "numbers.json"
        command = [sys.executable, str(SCRIPTS / driver), "--weights", str(weights)]
        command += ["--out", str(out), "--only", *only]
        environment = {**os.environ, "PYTHONPATH": str(source), "TMPDIR": work}
        print(f"{driver} measures {', '.join(only)} of {source}", file=sys.stderr, flush=True)
        done = subprocess.run(command, env=environment, cwd=work, check=False)
        if done.returncode:
            raise Broken(f"{driver} ended with {done.returncode}")
        numbers = json.loads(out.read_text())
    if not Path(numbers["about"]["source"]).is_relative_to(source.resolve()):
        raise Broken(f"{driver} measured {numbers['about']['source']}, not {source}")
    return numbers


def measure_base(tree: Path, only: Sequence[str], kept: Path | None) -> Json:
    """The base's numbers, of which those in the file `kept` are taken from there; the others join them."""
    known = json.loads(kept.read_text()) if kept and kept.exists() else {}
    if known and known["about"]["machine"] != machine():
        raise Broken(f"{kept} is of another machine or other libraries; remove it: {machine()}")
    missing = [part for part in only if part not in known]
    if missing:
        source, weights = tree / "src", weights_of(tree)
        fresh = measure(f"golden_{BASE}.py", source, weights, missing)
        seconds = known.get("about", {}).get("seconds", {}) | fresh["about"]["seconds"]
        known |= fresh
        known["about"] = {"commit": BASE, "machine": machine(), "seconds": seconds}
        if kept:
            kept.write_text(json.dumps(known, indent=1) + "\n")
    return known


def weights_of(tree: Path) -> Path:
    """The base's packaged weights, which both sides load."""
    return tree / "src" / "soar" / "weights"


def differences(base: Json, head: Json, place: str = "") -> Iterator[Difference]:
    """Whatever is not equal in two JSON values, in order."""
    if isinstance(base, dict) and isinstance(head, dict):
        for key in [*base, *(k for k in head if k not in base)]:
            one, other = base.get(key, "nothing"), head.get(key, "nothing")
            yield from differences(one, other, f"{place}.{key}")
    elif isinstance(base, list) and isinstance(head, list) and len(base) == len(head):
        for i, (one, other) in enumerate(zip(base, head, strict=True)):
            yield from differences(one, other, f"{place}[{i}]")
    elif base != head or type(base) is not type(head):
        yield Difference(place.lstrip("."), shown(base), shown(head))


def without_metric_names(value: Json) -> Json:
    """Replace the metrics of each row of a training log by their sorted values: metrics may be renamed."""
    if not isinstance(value, dict):
        return value
    return {
        k: [sorted(map(str, row.values())) for row in v]
        if k == "logged"
        else without_metric_names(v)
        for k, v in value.items()
    }


def shown(value: Json) -> str:
    """A value for people to read, hexadecimal numbers as decimal ones, too."""
    text = json.dumps(value)
    if isinstance(value, str) and value.lstrip("-").startswith("0x"):
        text = f"{value} ({float.fromhex(value)!r})"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def table(base: Mapping[str, Json], head: Mapping[str, Json], only: Sequence[str]) -> bool:
    """Print one line for every piece of every part; returns whether all are equal."""
    equal = True
    for part in only:
        for piece in [*base[part], *(k for k in head[part] if k not in base[part])]:
            pair = (
                without_metric_names(numbers[part].get(piece, "nothing"))
                for numbers in (base, head)
            )
            found = list(differences(*pair))
            equal = equal and not found
            print(f"{part:<11} {piece:<15} {verdict_on(found)}")
    return equal


def verdict_on(found: Sequence[Difference]) -> str:
    """What a line of the table says."""
    if not found:
        return "equal"
    first = found[0]
    where = f" at {first.place}" if first.place else ""
    return f"{len(found)} DIFFER, the first{where}: {first.base} was, {first.head} is"


def main() -> int:
    """Measure both sides and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base-json", type=Path, help="keeps the base's numbers for the next call")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        with worktree(BASE) as tree:
            base = measure_base(tree, told.only, told.base_json)
            head = measure("golden.py", ROOT / "src", weights_of(tree), told.only)
    except Broken as error:
        print(error, file=sys.stderr)
        return 2
    if head["about"]["machine"] != base["about"]["machine"]:
        print(f"other libraries: {head['about']['machine']}", file=sys.stderr)
        return 2
    return 0 if table(base, head, told.only) else 1


if __name__ == "__main__":
    sys.exit(main())
