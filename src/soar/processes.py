"""Worker processes that end with their parent, however that ends, so that kill -9 leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process


@contextmanager
def worker_pool(
    workers: int, begin: Callable[[], None] | None = None, *, interruptible: bool = False
) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes; on the way out they finish what they are at, and nothing that still waits.

    Args:
        workers: how many.
        begin: called once in each.
        interruptible: Ctrl-C reaches the workers, too, instead of their parent alone. For long jobs.
    """
    setting = (begin, interruptible)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=setting)
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


def _begin(begin: Callable[[], None] | None, interruptible: bool) -> None:
    end_with_parent(lambda: os._exit(1))
    if not interruptible:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin()
