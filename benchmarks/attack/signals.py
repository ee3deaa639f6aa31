"""SIGINT, SIGTERM and SIGHUP at random moments of every long command: one line, no traceback, no orphan, a resume."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.fleets import write_models, write_station
from benchmarks.attack.store_writers import make_episode
from benchmarks.attack.tools.commands import Ended, WarmServer, problem_of
from benchmarks.attack.tools.file_kinds import MADE

from soar.data.store.lance import open_store

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Command(NamedTuple):
    """A command and when it is interrupted."""

    words: str
    """Its words; {made} is the folder of examples, {store} a store of a few episodes."""
    latest_s: float = 6.0
    """Latest moment of a signal [s]."""
    ends: bool = True
    """Whether it is short enough to be run to its end after all interruptions."""


_SIMULATED = "--workers 2"
_DEBUG = "--fit.steps 30 --fit.save-every 3 --fit.log-every 3"
COMMANDS = (
    Command("collect --store toy --station toy.yaml --models models.yaml --episodes 200", ends=False),
    Command("collect --store fleet --station arm0.yaml arm1.yaml --models models.yaml --episodes 200", 12, ends=False),
    Command(f"train gcbc --store {{store}} --out policy --preset debug {_DEBUG}"),
    Command(f"train critic --store {{store}} --out critic --preset debug {_DEBUG}"),
    Command("evaluate --scene {made}/files/mug.yaml --trials 2 --checkpoint {made}/checkpoints/gcbc --subgoals "
        "{made}/checkpoints/subgoals@10 --workers 2 --video-size 0 --out evaluation",
        12),
    Command("improve --out run --scenes {made}/files/mug.yaml --episodes 2 --trials 1 --policy "
        "{made}/checkpoints/gcbc --subgoals {made}/checkpoints/subgoals@10 --workers 1 --demonstrations none",
        20, ends=False),
    Command("doctor --store {store} --station toy.yaml --models models.yaml"),
    Command("judge --store {store} --models models.yaml"),
    Command("report {made}/runs/finished --out report.html"),
    Command("data verify --store {store}", 2),
    Command("data sweep --store {store}", 2),
    Command("status --store {store} --watch", 4, ends=False),
    Command("vlm calibrate --store {made}/store --labels {made}/files/labels.csv --vlm {made}/checkpoints/vlm "
        "--out plot.png"),
    Command("vlm evaluate --vlm {made}/checkpoints/vlm --scenes {made}/files/mug.yaml --images 4 --out vlm.json", 8),
    Command("sim demos --store demos --episodes 4 --workers 2 --image-size 32", 15, ends=False),
    Command("sim video --scene {made}/files/mug.yaml --size 64 --out expert.mp4", 8),
    Command("sim sheet --out sheet.png", 8),
    Command("subgoals sheet --subgoals {made}/checkpoints/subgoals --scenes {made}/files/mug.yaml --out subgoals.png",
        8),
    Command("subgoals evaluate --subgoals {made}/checkpoints/subgoals --vlm none --classifier classifier --scenes "
        "{made}/files/mug.yaml --trials 1 --out scores.json",
        12, ends=False),
    Command("subgoals train --store {store} --out trained --fit.steps 30 --fit.save-every 3 --fit.log-every 3 "
        "--fit.batch-size 4",
        12, ends=False),
    Command("vlm label --store {store} --labels labels.csv", 4, ends=False),
    Command("subgoals finetune --store {made}/runs/finished/store --subgoals {made}/checkpoints/subgoals --out "
        "finetuned --steps 4 --workers 1",
        12, ends=False),
    Command("pretrain gcbc --episodes 4 --workers 2 --out gcbc", 15, ends=False),
    Command("pretrain lcbc --episodes 4 --workers 2 --out lcbc", 15, ends=False),
    Command("pretrain vlm --images 8 --workers 2 --out vlm", 15, ends=False),
    Command("pretrain subgoals --episodes 2 --workers 2 --out subgoals", 15, ends=False),
    Command("reproduce figure5 --scenes 1 --episodes 2 --trials 1 --workers 1 --demonstrations none --out figure5",
        15, ends=False),
    Command("demo --minutes 1 --out demo", 15, ends=False),
)  # fmt: skip
"""Every command that runs for long, or waits for a person."""


class Signals(Attack):
    """One signal to one command in each step, which goes on from the step in which it was interrupted before."""

    title = f"SIGINT, SIGTERM, SIGHUP to {len(COMMANDS)} commands"
    tries = 500

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = WarmServer(folder, {"SOAR_CACHE": str(folder / "cache")})
        write_models(folder)
        for i in range(2):
            write_station(folder, f"arm{i}", i)
        (folder / "toy.yaml").write_text("robot: toy\n")
        self._store = folder / "store"
        if not self._store.exists():
            store = open_store(self._store, create=True)
            for seed in range(6):
                store.append(make_episode(seed, steps=6, pixels=64))

    def step(self, index: int) -> Outcome:
        """Interrupt the command whose turn it is, once or, as impatient people do, twice."""
        rng = np.random.default_rng([5, index])
        command = COMMANDS[index % len(COMMANDS)]
        number = _SIGNALS[(index // len(COMMANDS)) % len(_SIGNALS)]
        at = float(rng.uniform(0, command.latest_s))
        moments = [(at, int(number))]
        if rng.random() < 0.3:
            moments.append((at + float(rng.uniform(0.01, 1.0)), int(number)))
        elif command.words.startswith("collect"):
            moments.append(
                (at + 20, int(number))
            )  # it may wait for its episode's end, but not longer
        ended = self._run(command, tuple(moments), group=bool(rng.integers(2)))
        return self._judged(
            f"{command.words.split(' --')[0]}, {number.name} after {at:.2f} s", ended, number
        )

    def finish(self) -> Outcome:
        """Let commands that are short enough run to their end, and look for temporaries."""
        harm = []
        for command in COMMANDS:
            if command.ends:
                problem = problem_of(self._run(command, ()), (0,))
                harm += (
                    [f"{command.words.split(' --')[0]} doesn't go on: {problem}"] if problem else []
                )
        return Outcome(tuple(harm))

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def _run(
        self, command: Command, moments: tuple[tuple[float, int], ...], *, group: bool = False
    ) -> Ended:
        words = command.words.format(made=MADE, store=self._store).split()
        return self._server.run(words, self.folder, moments, group=group)

    @staticmethod
    def _judged(what: str, ended: Ended, number: signal.Signals) -> Outcome:
        """Say what is wrong with the end of an interrupted command."""
        problem = problem_of(ended, (0, 130, 128 + number, -number))
        if not problem and ended.code == 130 and "interrupted" not in ended.text:
            problem = "it says nothing"
        harm = (f"{what}: {problem}",) if problem else ()
        return Outcome(harm, ended.orphans)
