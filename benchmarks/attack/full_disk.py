"""A full disk: one clear line, nothing finished is lost, no temporary stays, and after space is freed it goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.fleets import write_models
from benchmarks.attack.store_writers import make_episode
from benchmarks.attack.tools.commands import WarmServer, problem_of
from benchmarks.attack.tools.file_kinds import MADE

from soar.data.store.lance import open_store
from soar.data.store.verify import verify

_DISK_MB = 24
_LIMIT_S = 20.0
"""Time after which a command that waits for space is stopped [s]."""


class Writer(NamedTuple):
    """A command that writes, and the most free space from which its disk becomes full [bytes]."""

    words: str
    most: int
    waits: bool = False
    """Whether it waits for space instead of ending."""


WRITERS = (
    Writer("train gcbc --store {store} --out {disk}/policy --preset debug --fit.steps 12 --fit.save-every 3 "
        "--fit.log-every 3",
        600_000),
    Writer("collect --store {disk}/toy --station toy.yaml --models models.yaml --episodes 12", 250_000, waits=True),
    Writer("data sweep --store {disk}/own", 60_000),
    Writer("data video 1 --store {made}/store --out {disk}/episode.mp4", 30_000),
    Writer("report {made}/runs/finished --out {disk}/report.html", 150_000),
    Writer("evaluate --scene {made}/files/mug.yaml --trials 1 --checkpoint {made}/checkpoints/gcbc --subgoals "
        "{made}/checkpoints/subgoals@10 --workers 1 --video-size 64 --out {disk}/evaluation",
        12_000),
    Writer("judge --store {disk}/own --models models.yaml", 40_000),
)  # fmt: skip
"""Commands that write into {disk}."""


class FullDisk(Attack):
    """One command in each step on a disk of a few megabytes, of which a random part is free."""

    title = "full disk"
    tries = 70

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = WarmServer(folder)
        self._disk, self._store = folder / "disk", folder / "store"
        self._disk.mkdir(exist_ok=True)
        write_models(folder)
        (folder / "toy.yaml").write_text("robot: toy\n")
        if not self._store.exists():
            self._fill(self._store)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(self._disk)]
        self._mounted = (
            os.geteuid() == 0
            and not subprocess.run(mount, capture_output=True, check=False).returncode
        )

    def step(self, index: int) -> Outcome:
        """Run a command into the full disk, free space, and run it again."""
        if not self._mounted:
            return Outcome()
        rng, writer = np.random.default_rng([2, index]), WRITERS[index % len(WRITERS)]
        for path in self._disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._fill(self._disk / "own")
        before = _episodes(self._disk / "own")
        ballast = self._disk / "ballast"
        self._occupy(ballast, int(rng.integers(0, writer.most)))
        moments = (
            ((_LIMIT_S, int(signal.SIGINT)), (_LIMIT_S + 5, int(signal.SIGINT)))
            if writer.waits
            else ()
        )
        full = self._run(writer, moments)
        problem = problem_of(full, (0, 2, 130, -signal.SIGINT))  # the last: again while it ends
        if (
            not problem
            and full.code == 2
            and "disk is full" not in full.text
            and "space" not in full.text
        ):
            problem = f"the message doesn't name the disk: {full.text.strip()[-150:]}"
        harm = [problem]
        ballast.unlink()
        again = self._run(writer, ())
        harm.append(problem_of(again, (0,)) and f"after space was freed: {problem_of(again, (0,))}")
        if _episodes(self._disk / "own") != before:
            harm.append("episodes of the store differ")
        for store in (self._disk / "own", self._disk / "toy"):
            if store.exists():
                harm += [
                    f"{f.part}: {f.problem}"
                    for f in verify(open_store(store), 1)
                    if f.problem and not f.is_orphan
                ]
        name = writer.words.split(" --")[0]
        return Outcome(tuple(f"{name}: {h}" for h in harm if h), _temporaries(self._disk))

    def close(self) -> None:
        """End the server, and unmount the disk."""
        self._server.close()
        if self._mounted:
            subprocess.run(["umount", str(self._disk)], check=False)

    def note(self) -> str:
        """Say what stood for the disk."""
        if self._mounted:
            return f"a tmpfs of {_DISK_MB} MB"
        return "not run: mounting a tmpfs isn't permitted"

    def _run(self, writer: Writer, moments: tuple[tuple[float, int], ...]):  # type: ignore[no-untyped-def]
        words = writer.words.format(made=MADE, disk=self._disk, store=self._store).split()
        if words[:2] == ["data", "video"]:
            words[2] = _episodes(MADE / "store")[0]
        return self._server.run(words, self.folder, moments)

    def _fill(self, path: Path) -> None:
        store = open_store(path, create=True)
        for seed in range(4):
            store.append(make_episode(seed, steps=6, pixels=64))

    def _occupy(self, ballast: Path, free: int) -> None:
        """Fill the disk up to a number of free bytes."""
        stat = os.statvfs(self._disk)
        with contextlib.suppress(OSError):
            ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))


def _episodes(path: Path) -> list[str]:
    return [e.id for e in open_store(path, read_only=True).query()]


def _temporaries(folder: Path) -> int:
    """Count temporaries, apart from those of Lance, which a sweep removes."""
    return sum(1 for p in folder.rglob(".*soar-tmp"))
