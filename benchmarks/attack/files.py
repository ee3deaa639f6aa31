"""Mutated files of every kind: reading one ends well or in one clear line, in time, and runs no code of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.tools.file_kinds import KINDS, FileKind
from benchmarks.attack.tools.mutations import CANARY, mutate, sign_again

from soar.errors import SoarError

_HANG_S = 30
"""Time after which a reader hangs, on a busy machine, in seconds."""
_MOST_MB = 800
"""Memory that reading one small file may take [MB]."""
_MOST_VIRTUAL = 4 * 2**30
"""Memory that a reader may reserve [bytes]."""
_CODE = frozenset(
    {
        "os.system",
        "subprocess.Popen",
        "os.exec",
        "os.posix_spawn",
        "pickle.find_class",
        "socket.connect",
    }
)
"""Audit events that reading a file must not cause."""
_ARRAYS = frozenset(
    {(f"numpy{_}core.multiarray", n) for _ in (".", "._") for n in ("_reconstruct", "scalar")}
    | {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }
)
"""Functions that make an array of a pickle's numbers, which a reader of raw logs lets through."""


class MutatedFiles(Attack):
    """Twenty mutated files of one kind in each step, all kinds in turn, read by a forked process."""

    title = f"mutated files, 1,000 of each of {len(KINDS)} kinds"
    tries = 1000 * len(KINDS)
    size = 20

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(["benchmarks.attack.tools.warm_reader"])

    def step(self, index: int) -> Outcome:
        """Read mutated files of the kind whose turn it is."""
        kind, harm, first = KINDS[index % len(KINDS)], [], 0
        folder = self.folder / "example"
        while first < self.size:
            rows = self._in_child(folder, index, first)
            for row in rows:
                harm += (
                    [f"{kind.name}, try {index}.{row['try']} ({row['how']}): {row['problem']}"]
                    if row["problem"]
                    else []
                )
            first += len(rows)
        shutil.rmtree(folder, ignore_errors=True)
        return Outcome(tuple(harm), leftovers=_escaped(self.folder))

    def _in_child(self, folder: Path, index: int, first: int) -> list[dict[str, Any]]:
        """Read files in a process; a hang or a crash ends the list with the file that caused it.

        It is forked from one that has the libraries loaded and has used none: Lance doesn't survive a fork.
        """
        receive, send = self._server.Pipe(duplex=False)
        child = self._server.Process(target=_read_all, args=(folder, index, first, self.size, send))
        child.start()
        send.close()
        rows = []
        with receive, contextlib.suppress(EOFError):
            while True:
                rows.append(receive.recv())
        child.join()
        done = [row for row in rows if "problem" in row]
        if len(done) < self.size - first:
            last = (
                rows[-1]
                if rows and "problem" not in rows[-1]
                else {"try": first + len(done), "how": "?"}
            )
            hangs = child.exitcode == -signal.SIGALRM
            how = f"hangs for over {_HANG_S} s" if hangs else f"crashes with exit code {child.exitcode}"  # fmt: skip
            done.append({**last, "problem": how})
        return done


def _escaped(folder: Path) -> int:
    """Count files that a mutated file made outside of its example's folder."""
    return sum(p.name != "example" for p in folder.iterdir())


def _read_all(folder: Path, index: int, first: int, end: int, send: Connection) -> None:
    """Mutate and read files, and send one row before and one after each."""
    kind, events = KINDS[index % len(KINDS)], list[str]()
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    limit = _reserved() + _MOST_VIRTUAL  # an absurd file must not exhaust the machine
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _make(kind, folder)
    right = kind.read(folder)  # intact, which also loads what is loaded once
    valid = {k: {label, "unknown"} for k, label in right.items()}
    for k, labels in kind.earlier(folder).items():
        valid.setdefault(k, {"unknown"}).update(labels)
    sys.addaudithook(lambda event, args: _audit(event, args, folder.parent, events))
    for number in range(first, end):
        rng = np.random.default_rng([3, index, number])
        _make(kind, folder)
        targets = sorted(p for p in folder.glob(kind.targets) if p.is_file())
        target = targets[rng.integers(len(targets))]
        how = f"{target.relative_to(folder)}: {mutate(rng, target)}"
        if kind.checkpoint and rng.random() < 0.8:
            sign_again(target.parent)
        row: dict[str, Any] = {"try": number, "how": how}
        send.send(row)
        events.clear()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(_HANG_S)
        with contextlib.chdir(folder):
            problem = _read(kind, folder, valid)
        signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if events:
            problem = f"ran {events[0]}"
        elif (folder / CANARY).exists():
            problem = "its code was run"
        elif not problem and grown > _MOST_MB:
            problem = f"takes {grown:.0f} MB"
        send.send({**row, "problem": problem})


def _reserved() -> int:
    """Return the memory that this process has reserved for data [bytes]."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) * 1024


def _make(kind: FileKind, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind.make(folder)


def _read(kind: FileKind, folder: Path, valid: Mapping[Any, set[Any]]) -> str:
    """Read a mutated example, and say what is wrong; empty if nothing is."""
    try:
        labels = kind.read(folder)
    except SoarError as error:
        return "" if str(error).strip() else "an error without a message"
    except BaseException as error:  # noqa: BLE001  any other exception is a traceback to a user
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "/soar/" in f.filename]
        return f"{type(error).__name__}: {error!s:.120} at {' '.join(ours[-2:])}"
    wrong = [k for k, label in labels.items() if k in valid and label not in valid[k]]
    return f"a made-up label of {wrong[0]!r:.60}: {labels[wrong[0]]!r:.60}" if wrong else ""


def _audit(event: str, args: tuple[Any, ...], folder: Path, events: list[str]) -> None:
    """Note code that is run, and files that are opened for writing elsewhere."""
    if event in _CODE and args not in _ARRAYS:
        events.append(f"{event} {args!r:.100}")
    elif event == "open" and isinstance(args[0], str) and isinstance(args[2], int):
        writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = os.path.abspath(args[0])
        if writes and not path.startswith((str(folder), "/dev/", "/proc/")):
            events.append(f"open for writing of {path}")
