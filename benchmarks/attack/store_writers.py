"""kill -9 of processes that write into one store: nothing finished is lost, doubled or damaged."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from benchmarks.attack.attack import Attack, Outcome

from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import sweep, verify
from soar.types import Episode, Provenance, Subgoal, Verdict

_WRITERS = 2
"""Writers at a time."""
_KEPT = 400
"""Episodes after which a new store is begun, so that late kills cost what early ones do."""
_LATEST_S = 0.08
"""Latest moment of a kill after the writer's first episode [s]."""


def make_episode(seed: int, steps: int = 4, pixels: int = 16) -> Episode:
    """Make an episode whose content follows from its seed."""
    rng = np.random.default_rng(seed)
    actions = rng.normal(size=(steps, 7)).astype(np.float32)
    images = rng.integers(0, 256, (steps + 1, pixels, pixels, 3), dtype=np.uint8)
    return Episode(
        instruction=f"put the block {seed % 5} in the bowl",
        actions=actions,
        commanded=actions,
        images=images,
        states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        times_s=np.arange(steps + 1) * 0.2,
        subgoals=(Subgoal(images[-1], 0),),
        verdict=Verdict("success" if seed % 2 else "failure", float(seed % 2)),
        provenance=Provenance("arm", "dev", "a", seed, float(seed)),
    )


def same(one: Episode, other: Episode) -> bool:
    """Whether two episodes are equal, frames included."""
    arrays = ("actions", "commanded", "images", "states", "times_s")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and (one.instruction, one.verdict) == (other.instruction, other.verdict)
        and all(
            np.array_equal(a.image, b.image)
            for a, b in zip(one.subgoals, other.subgoals, strict=True)
        )
    )


class StoreWriters(Attack):
    """Two writers append to one store; both are killed at random moments, then everything is compared."""

    title = "kill -9 of store writers"
    tries = 1000
    size = _WRITERS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import lance.file
        import lance.fragment
        import PIL.Image  # imported before the forks, which so write at once
        import simplejpeg

        self._loaded = (lance.file, lance.fragment, PIL.Image, simplejpeg)
        self._seen: dict[str, int] = {}

    def step(self, index: int) -> Outcome:
        """Start two writers, kill both, and compare the store with what they reported as stored."""
        rng = np.random.default_rng(index)
        log = self.folder / "stored"
        writers = [self._start(log, 1_000_000 * (2 * index + i)) for i in range(_WRITERS)]
        for delay, pid in zip(np.sort(rng.uniform(0, _LATEST_S, _WRITERS)), writers, strict=True):
            time.sleep(float(delay) / _WRITERS)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        harm = _in_child(self._checked, log)
        if self._full():
            end = _in_child(self._ended)
            self._new_store()
            return Outcome((*harm.harm, *end.harm), end.leftovers)
        return harm

    def finish(self) -> Outcome:
        """Sweep and verify the last store."""
        return _in_child(self._ended) if self._path.exists() else Outcome()

    @property
    def _path(self) -> Path:
        return self.folder / "store"

    def _full(self) -> bool:
        return sum(1 for _ in self._path.glob("steps/*/*.lance")) > _KEPT

    def _new_store(self) -> None:
        import shutil

        shutil.rmtree(self._path)
        (self.folder / "stored").unlink(missing_ok=True)

    def _start(self, log: Path, seed: int) -> int:
        """Fork a writer; return its id once it has stored its first episode."""
        began, tell = os.pipe()
        if child := os.fork():
            os.close(tell)
            os.read(began, 1)
            os.close(began)
            return child
        try:
            store = open_store(self._path, create=True, codec="png")
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            while True:
                id = store.append(make_episode(seed))
                os.write(descriptor, f"{id} {seed}\n".encode())
                os.write(tell, b".")
                seed += 1
        finally:
            os._exit(1)

    def _checked(self, log: Path) -> Outcome:
        """Compare the newest episodes in full, and all ids."""
        store = open_store(self._path)
        rows = [(e.id, e.provenance.seed) for e in store.query()]
        ids, seeds = [id for id, _ in rows], [seed for _, seed in rows]
        reported = dict(line.split() for line in log.read_text().splitlines())
        harm = [f"episode {id} was reported as stored and is lost" for id in reported.keys() - set(ids)]  # fmt: skip
        if len(set(ids)) < len(ids) or len(set(seeds)) < len(seeds):
            harm.append("an episode is there twice")
        newest = max(int(s) for s in reported.values()) // 2_000_000 * 2_000_000
        for id, seed in rows:
            if seed >= newest and not same(store.load(id), make_episode(seed)):
                harm.append(f"episode {id} differs from what was written")
        return Outcome(tuple(harm))

    def _ended(self) -> Outcome:
        """Verify, sweep, and verify again: no damage, and nothing left over."""
        store = open_store(self._path)
        before = [e.id for e in store.query()]
        harm = [f"{f.part}: {f.problem}" for f in verify(store, 1) if f.problem and not f.is_orphan]
        sweep(store, older_than_s=0)
        harm += [f"{f.part} after the sweep: {f.problem}" for f in verify(store, 1) if f.problem]
        if [e.id for e in store.query()] != before:
            harm.append("the sweep changed the list of episodes")
        return Outcome(tuple(harm), leftovers(store))


def leftovers(store: LanceStore) -> int:
    """Count a swept store's files that belong to nothing: temporaries and steps without a row."""
    with_row = {e.id for e in store.query()}
    steps = [p for p in store.path.glob("steps/*/*") if p.stem not in with_row]
    hidden = [p for p in store.path.rglob(".*") if p.is_file()]
    drafts = list(store.path.glob("store.json.*"))
    return len(steps) + len(hidden) + len(drafts)


def _in_child(check, *args) -> Outcome:  # type: ignore[no-untyped-def]
    """Call a check in a forked process: Lance's threads wouldn't survive the next fork of this one."""
    import multiprocessing as mp

    receiver, sender = mp.Pipe(duplex=False)
    if child := os.fork():
        sender.close()
        try:
            outcome: Outcome = receiver.recv()
        except EOFError:
            outcome = Outcome(("the check of the store crashed",))
        os.waitpid(child, 0)
        return outcome
    try:
        sender.send(check(*args))
        sender.close()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is harm
        sender.send(Outcome((f"{type(error).__name__}: {error}",)))
        os._exit(1)
