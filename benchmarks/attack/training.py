"""kill -9 of `soar train`: the same command goes on, and ends with the weights of a run that nobody killed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.store_writers import make_episode
from benchmarks.attack.tools.commands import Ended, WarmServer, problem_of

from soar import checkpoint as checkpoints
from soar.data.store.lance import open_store
from soar.utils.files import read_lines

_STEPS = 30
_OPTIONS = (
    "--preset",
    "debug",
    "--fit.steps",
    str(_STEPS),
    "--fit.save-every",
    "3",
    "--fit.log-every",
    "1",
)
_KILLS_PER_RUN = 4
"""Kills of one training before it may end."""
_EPISODES = 4


class TrainingKills(Attack):
    """One kill in each step, at a random moment of a training that goes on from the kill before."""

    title = "kill -9 of training"
    tries = 100

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = WarmServer(folder)
        self._store, self._whole = folder / "store", folder / "whole"
        if not self._store.exists():
            _fill(self._store)
        self._seconds = self._train("whole", ()).seconds

    def step(self, index: int) -> Outcome:
        """Kill the training; after some kills, let it end and compare."""
        rng = np.random.default_rng([9, index])
        at = float(rng.uniform(0, 1.1 * self._seconds))
        ended = self._train("broken", ((at, signal.SIGKILL),))
        problem = problem_of(ended, (-signal.SIGKILL, 0))
        harm = [problem] if problem else []
        if index % _KILLS_PER_RUN == _KILLS_PER_RUN - 1:
            more = self.finish()
            return Outcome((*harm, *more.harm), ended.orphans + more.leftovers)
        return Outcome(tuple(harm), ended.orphans)

    def finish(self) -> Outcome:
        """Let the killed training end, and compare weights, log and files with the uninterrupted one's."""
        ended = self._train("broken", ())
        if problem := problem_of(ended, (0,)):
            return Outcome((problem,))
        broken = self.folder / "broken"
        whole, same = checkpoints.load(self._whole), checkpoints.load(broken)
        harm = []
        if any(not (whole.weights[k] == same.weights[k]).all() for k in whole.weights):
            harm.append("the weights differ from those of an uninterrupted run")
        rows = [(r["step"], r["loss"]) for r in read_lines(broken / "log.jsonl")]
        if rows != [(r["step"], r["loss"]) for r in read_lines(self._whole / "log.jsonl")]:
            harm.append(f"log.jsonl has {len(rows)} rows that differ from an uninterrupted run's")
        left = _names(broken) - _names(self._whole)
        shutil.rmtree(broken)
        return Outcome(tuple(harm), len(left))

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def _train(self, name: str, signals: tuple[tuple[float, int], ...]) -> Ended:
        words = ["train", "gcbc", "--store", str(self._store), "--out", str(self.folder / name)]
        return self._server.run([*words, *_OPTIONS], self.folder, signals)


def _fill(path: Path) -> None:
    """Fill a store."""
    store = open_store(path, create=True)
    for seed in range(_EPISODES):
        store.append(make_episode(seed, steps=6, pixels=64))


def _names(folder: Path) -> set[str]:
    """Names of a training's files, apart from those that carry a hash, a time or a process's id."""
    names = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return {n for n in names if "weights-" not in n and "events.out" not in n}
