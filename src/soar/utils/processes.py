"""Worker processes that end with their parent, even if it is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from typing import ParamSpec, TypeVar

from soar.utils.signals import STOP_SIGNALS, blocked, is_stopped

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = "OMP_NUM_THREADS"
"""Variable that numpy's and torch's libraries read when they are loaded."""


class _Pool(ProcessPoolExecutor):
    """A pool whose processes are started with signals blocked, until they ignore them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with blocked():
            return super().submit(fn, *args, **kwargs)

    def kill(self) -> None:
        """End the processes at once."""
        for process in list((self._processes or {}).values()):
            process.kill()


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[[], None] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of spawned processes, which leave signals to their parent.

    At exit they finish their current jobs and drop the waiting ones; after an exception they end at once.

    Numerical libraries use each process's share of the cores, unless OMP_NUM_THREADS is set: with more threads than
    cores, an evaluation took three times as long (docs/log.md).

    Args:
        workers: number of processes.
        initializer: called once in each process.
    """
    start_resource_tracker()
    pool = _Pool(workers, get_context("spawn"), initializer=_start, initargs=(initializer,))
    with _limited_threads(max(1, (os.cpu_count() or 1) // workers)):
        try:
            yield pool
        except BaseException as error:
            if is_stopped() or not isinstance(error, GeneratorExit):
                pool.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def start_resource_tracker() -> None:
    """Start multiprocessing's tracker now, as it would unblock signals later; SIGHUP must not end it either."""
    if threading.current_thread() is not threading.main_thread():
        resource_tracker.ensure_running()
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, before)


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


def _start(initializer: Callable[[], None] | None) -> None:
    end_with_parent(lambda: os._exit(1))
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    if initializer is not None:
        initializer()
