"""Writer processes for the tests.

python writer.py STORE append N FIRST_SEED      appends N episodes
python writer.py STORE forkserver LOG           for each line "seed delay delay ..." on stdin, starts one
                                                writer per delay, and kills each that many seconds after
                                                its first episode
"""

from __future__ import annotations

import os
import signal
import sys
import time

import lance.file
import lance.fragment
import PIL.Image
import pyarrow
import simplejpeg

sys.path.insert(0, os.path.dirname(__file__))  # also under PYTHONSAFEPATH
from conftest import make_episode  # type: ignore[import-not-found]  # run as a script
from soar.data.store import index
from soar.data.store.lance import open_store

STRIDE = 100_000
"""Seeds reserved for one writer."""
PRELOADED = (lance.file, lance.fragment, PIL.Image, pyarrow, simplejpeg)
"""Modules imported here, so that forks write at once."""


def append(path: str, count: int, first_seed: int) -> None:
    store = open_store(path, codec="png")
    for seed in range(first_seed, first_seed + count):
        store.append(make_episode(seed))


def forkserver(path: str, log: str) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        seed, *delays = line.split()
        writers = [_writer(path, log, int(seed) + i * STRIDE) for i in range(len(delays))]
        started = time.monotonic()
        for delay, writer in sorted(zip(map(float, delays), writers, strict=True)):
            time.sleep(max(0.0, started + delay - time.monotonic()))
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
        print("killed", flush=True)


def _writer(path: str, log: str, seed: int) -> int:
    """Fork a process that appends until it is killed, and logs ids and seeds of stored episodes.

    Returns its process id once it has stored the first one.
    """
    started, signal_started = os.pipe()
    if child := os.fork():
        os.read(started, 1)
        os.close(started)
        os.close(signal_started)
        return child
    index.MERGE_EVERY = 8
    store = open_store(path, codec="png")
    log_file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        id = store.append(make_episode(seed))
        os.write(log_file, f"{id} {seed}\n".encode())
        os.write(signal_started, b".")
        seed += 1


if __name__ == "__main__":
    if sys.argv[2] == "append":
        append(sys.argv[1], int(sys.argv[3]), int(sys.argv[4]))
    else:
        forkserver(sys.argv[1], sys.argv[3])
