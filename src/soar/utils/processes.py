"""Worker processes that end with their parent, however that ends, so that kill -9 leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

_THREADS = "OMP_NUM_THREADS"
"""What numpy's and torch's libraries read when they are loaded."""


@contextmanager
def worker_pool(
    workers: int, begin: Callable[[], None] | None = None, *, interruptible: bool = False
) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes; on the way out they finish what they are at, and nothing that still waits.

    The libraries in each compute with its share of the cores, unless OMP_NUM_THREADS says otherwise: threads of
    several processes that wait for one another make an evaluation take three times as long (docs/log.md).

    Args:
        workers: how many.
        begin: called once in each.
        interruptible: Ctrl-C reaches the workers, too, instead of their parent alone. For long jobs.
    """
    setting = (begin, interruptible)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=setting)
    with _threads_each(max(1, (os.cpu_count() or 1) // workers)):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent(end: Callable[[], None]) -> None:
    """In a child process: call `end` when the parent has gone without a word."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end()

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _threads_each(count: int) -> Iterator[None]:
    """Processes that are started meanwhile inherit it."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = str(count)
    try:
        yield
    finally:
        del os.environ[_THREADS]


def _begin(begin: Callable[[], None] | None, interruptible: bool) -> None:
    end_with_parent(lambda: os._exit(1))
    if not interruptible:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin()
