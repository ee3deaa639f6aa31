"""kill -9 of a fleet: no process outlives it, its leases are free, and it goes on without a doubled episode."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.tools.commands import Ended, WarmServer, problem_of

from soar.data.store.lance import open_store
from soar.errors import StoreError

_STATIONS = 2
_MODELS = """\
vlm: python:soar.robots.toy_models:ToyVLM
subgoals: python:soar.robots.toy_models:ToySubgoals
policy: python:soar.robots.toy_models:ToyPolicy
"""
_NEW_STORE = 10
"""Steps after which a new store is begun."""
_LATEST_S = 12.0
"""Latest moment of a kill [s]; processes need a few seconds to start."""


def write_station(folder: Path, name: str, seed: int) -> Path:
    """Write the file of a station with the fast toy robot in a process of its own."""
    path = folder / f"{name}.yaml"
    path.write_text(
        f"robot: benchmarks.attack.tools.fast_robot:connect\noptions: {{seed: {seed}}}\n"
        "tasks: [move the green block to the left side, move the green block to the right side]\n"
    )
    return path


def write_models(folder: Path) -> Path:
    """Write the file of the toy's models."""
    path = folder / "models.yaml"
    path.write_text(_MODELS)
    return path


class FleetKills(Attack):
    """A kill of a fleet in each step: of its first process, or of all of them at once."""

    title = "kill -9 of fleets of two stations"
    tries = 100

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = WarmServer(folder)
        models = write_models(folder)
        stations = [write_station(folder, f"arm{i}", i) for i in range(_STATIONS)]
        self._store = folder / "store"
        self._words = [
            *("collect", "--store", str(self._store), "--models", str(models)),
            *("--station", *map(str, stations)),
        ]

    def step(self, index: int) -> Outcome:
        """Kill a fleet at a random moment, start it again, and count its episodes."""
        rng = np.random.default_rng([6, index])
        if index % _NEW_STORE == 0:
            shutil.rmtree(self._store, ignore_errors=True)
        at, group = float(rng.uniform(0, _LATEST_S)), bool(rng.integers(2))
        killed = self._collect(1000, ((at, signal.SIGKILL),), group=group)
        harm = [problem_of(killed, (-signal.SIGKILL,))]
        before = self._seeds()
        if index % 3 == 2:
            harm.append(self._held_elsewhere())
        again = self._collect(2)
        harm.append(problem_of(again, (0,)))
        after = self._seeds()
        if len(after) != len(before) + 2:
            harm.append(f"{len(after) - len(before)} episodes after the restart, not 2")
        if set(before) - set(after):
            harm.append("an episode is lost")
        if len(set(after)) < len(after):
            harm.append("two episodes of a station have one seed")
        return Outcome(
            tuple(f"step {index}: {h}" for h in harm if h), killed.orphans + again.orphans
        )

    def finish(self) -> Outcome:
        """Sweep and verify the last store, and look for leases that nobody holds."""
        words = ["data", "sweep", "--store", str(self._store), "--older-than-s", "0"]
        swept = self._server.run(words, self.folder)
        verified = self._server.run(["data", "verify", "--store", str(self._store)], self.folder)
        harm = [problem_of(e, (0,)) for e in (swept, verified)]
        leases = list(self._store.glob("stations/*/lease.json"))
        hidden = [p for p in self._store.rglob(".*") if p.is_file()]
        return Outcome(tuple(filter(None, harm)), len(leases) + len(hidden))

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def _collect(
        self, episodes: int, signals: tuple[tuple[float, int], ...] = (), *, group: bool = False
    ) -> Ended:
        words = [*self._words, "--episodes", str(episodes)]
        return self._server.run(words, self.folder, signals, group=group)

    def _held_elsewhere(self) -> str:
        """Write a lease of another machine: refused until it expires, then free."""
        lease = self._store / "stations" / "arm0" / "lease.json"
        lease.parent.mkdir(parents=True, exist_ok=True)
        held = {"token": "00", "host": "elsewhere", "pid": 1, "process": "1"}
        lease.write_text(json.dumps({**held, "expires_s": time.time() + 60}))
        words = self._words[: -_STATIONS + 1]  # the first station alone, which is refused at once
        refused = self._server.run([*words, "--episodes", "1"], self.folder)
        lease.write_text(json.dumps({**held, "expires_s": time.time() - 1}))
        if refused.code != 2 or "in use" not in refused.text:
            return f"a lease of another machine isn't heeded: exit code {refused.code}"
        return problem_of(refused, (2,))

    def _seeds(self) -> list[tuple[str, int]]:
        """Return station and seed of each episode."""
        try:
            episodes = list(open_store(self._store, read_only=True).query())
        except StoreError:  # killed before there was a store
            return []
        return [(e.provenance.station, e.provenance.seed) for e in episodes]
