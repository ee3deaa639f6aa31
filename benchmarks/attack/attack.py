"""An attack: tries with fixed seeds, resumed where they were broken off, and the sum of what they found."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from soar.utils.files import append_lines, read_lines

_REPORT_S = 10.0
"""Interval of progress lines in seconds."""


class Outcome(NamedTuple):
    """Findings of one step of an attack."""

    harm: tuple[str, ...] = ()
    """What was broken, one line each."""
    leftovers: int = 0
    """Files and processes that should be gone."""
    growth_mb: float | None = None
    """Growth of the attacked process's memory in this step [MB], where it is another process."""


class Attack:
    """A sequence of steps against one promise, each of `size` tries. A subclass implements `step`."""

    title: ClassVar[str]
    tries: ClassVar[int]
    """Number of tries at scale 1."""
    size: ClassVar[int] = 1
    """Tries of one step."""
    in_process: ClassVar[bool] = False
    """Whether the attacked code runs in this process, so that its memory is measured here."""

    def __init__(self, folder: Path) -> None:
        """Prepare the attack. `folder`: files that its steps share, kept when it is resumed."""
        self.folder = folder

    def step(self, index: int) -> Outcome:
        """Make the tries of a step, whose random numbers follow from `index`."""
        raise NotImplementedError

    def finish(self) -> Outcome:
        """Check what all steps left together."""
        return Outcome()

    def close(self) -> None:
        """Release processes and servers."""

    def note(self) -> str:
        """Say how it was done where that depends on the machine; empty if it doesn't."""
        return ""


@dataclass(frozen=True)
class Findings:
    """Sum of an attack's outcomes: one row of the table."""

    attack: str
    tries: int
    full: int
    """Number of tries at scale 1."""
    harm: int
    leftovers: int
    growth_mb: float | None
    """Worst growth of memory after the first tenth of the steps [MB]; None where nothing was measured."""
    seconds: float
    examples: tuple[str, ...] = ()
    """The first things that were broken."""
    note: str = ""


def steps_at(kind: type[Attack], scale: float) -> int:
    """Return the number of steps at a scale, at least one."""
    return max(1, round(kind.tries * scale / kind.size))


def run(kind: type[Attack], scale: float, folder: Path) -> Findings:
    """Make an attack's steps that `folder` lacks, and return the sum of all.

    Args:
        kind: the attack.
        scale: share of the full number of tries.
        folder: results (outcomes.jsonl) and files of the attack.
    """
    done_file, count = folder / "outcomes.jsonl", steps_at(kind, scale)
    rows = read_lines(done_file)
    done = {row["step"] for row in rows}
    todo = [i for i in range(count) if i not in done]
    if not todo and any(row["step"] == -1 for row in rows):
        return summed(kind, rows, count)
    (folder / "files").mkdir(parents=True, exist_ok=True)
    attack = kind(folder / "files")
    progress = _Progress(kind.title, len(todo))
    session = os.urandom(4).hex()
    try:
        for index in todo:
            began = time.monotonic()
            outcome = attack.step(index)
            _record(done_file, index, outcome, time.monotonic() - began, session, kind.in_process)
            progress.advance(outcome.harm)
        began = time.monotonic()
        outcome = attack.finish()
        _record(done_file, -1, outcome, time.monotonic() - began, session, False, attack.note())
        progress.end(outcome.harm)
    finally:
        attack.close()
    return summed(kind, read_lines(done_file), count)


def summed(kind: type[Attack], rows: Sequence[dict[str, object]], count: int) -> Findings:
    """Sum the rows of outcomes.jsonl up to a number of steps; the check at the end counts last."""
    table = {row["step"]: _Row(**row) for row in rows}  # type: ignore[arg-type]
    used = [row for step, row in table.items() if step < count]  # type: ignore[operator]
    harm = [h for row in used for h in row.harm]
    growths = [row.growth_mb for row in used if row.growth_mb is not None] + _growths(used)
    return Findings(
        kind.title,
        kind.size * sum(row.step >= 0 for row in used),
        kind.tries,
        len(harm),
        sum(row.leftovers for row in used),
        max(growths) if growths else None,
        sum(row.seconds for row in used),
        tuple(harm[:20]),
        next((row.note for row in used if row.note), ""),
    )


def one_arena() -> None:
    """Let all threads allocate from one arena; else what each of them once needed counts as growth (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX


def memory_mb(pid: int | str = "self") -> float:
    """Return a process's resident memory in megabytes; 0 if it has ended.

    This process first returns what it has freed, which the allocator would keep in each thread's arena.
    """
    if pid == "self":
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def to_plain(findings: Findings) -> dict[str, object]:
    """Convert findings to JSON's values."""
    return asdict(findings)


@dataclass(frozen=True)
class _Row:
    """A row of outcomes.jsonl."""

    step: int
    harm: tuple[str, ...]
    leftovers: int
    growth_mb: float | None
    memory_mb: float | None
    session: str
    seconds: float
    note: str = ""


def _record(
    path: Path,
    step: int,
    outcome: Outcome,
    seconds: float,
    session: str,
    in_process: bool,
    note: str = "",
) -> None:
    memory = memory_mb() if in_process else None
    row = _Row(step, outcome.harm, outcome.leftovers, outcome.growth_mb, memory, session, seconds, note)  # fmt: skip
    append_lines(path, [asdict(row)])


def _growths(rows: Sequence[_Row]) -> list[float]:
    """Growth of this process's memory after a tenth of the steps [MB], for each time it was started."""
    found = []
    for session in {row.session for row in rows}:
        series = [r.memory_mb for r in rows if r.session == session and r.memory_mb is not None]
        if len(series) > 1:
            warm = series[max(0, len(series) // 10 - 1)]
            found.append(max(0.0, series[-1] - warm))
    return found


class _Progress:
    """Lines on standard error with what is done and the time left."""

    def __init__(self, title: str, steps: int) -> None:
        self._title, self._steps = title, steps
        self._done = self._harm = 0
        self._began = self._told = time.monotonic()

    def advance(self, harm: Sequence[str]) -> None:
        self._done += 1
        self._tell(harm)
        now = time.monotonic()
        if now - self._told > _REPORT_S:
            self._told = now
            left = (now - self._began) / self._done * (self._steps - self._done)
            print(
                f"{self._title}: {self._done} of {self._steps}, {self._harm} harm, {left / 60:.1f} min left",
                file=sys.stderr,
            )

    def end(self, harm: Sequence[str]) -> None:
        self._tell(harm)
        seconds = time.monotonic() - self._began
        print(f"{self._title}: done in {seconds:.0f} s, {self._harm} harm", file=sys.stderr)

    def _tell(self, harm: Sequence[str]) -> None:
        self._harm += len(harm)
        for line in harm:
            print(f"  HARM {json.dumps(line)}", file=sys.stderr)
