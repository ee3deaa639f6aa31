"""Worker processes that end with their parent, even if it is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

_THREADS = "OMP_NUM_THREADS"
"""Variable that numpy's and torch's libraries read when they are loaded."""


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[[], None] | None = None, *, interruptible: bool = False
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of spawned processes; at exit they finish their current jobs and drop the waiting ones.

    Numerical libraries use each process's share of the cores, unless OMP_NUM_THREADS is set: with more threads than
    cores, an evaluation took three times as long (docs/log.md).

    Args:
        workers: number of processes.
        initializer: called once in each process.
        interruptible: whether Ctrl-C also reaches the workers and not only their parent, for long jobs.
    """
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(initializer, interruptible)
    )
    with _limited_threads(max(1, (os.cpu_count() or 1) // workers)):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent(end: Callable[[], None]) -> None:
    """Call `end` when this child process's parent has ended."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end()

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _limited_threads(count: int) -> Iterator[None]:
    """Limit the threads of processes that are started in this context."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = str(count)
    try:
        yield
    finally:
        del os.environ[_THREADS]


def _start(initializer: Callable[[], None] | None, interruptible: bool) -> None:
    end_with_parent(lambda: os._exit(1))
    if not interruptible:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initializer is not None:
        initializer()
