"""Threads that work for as long as a block runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def alongside(work: Callable[[threading.Event], None], name: str) -> Iterator[threading.Event]:
    """Run `work(end)` in a thread beside a block; set `end` and wait for the thread when the block ends.

    Yields:
        The same event, which the thread may set, too.
    """
    end = threading.Event()
    thread = threading.Thread(target=work, args=(end,), name=name, daemon=True)
    thread.start()
    try:
        yield end
    finally:
        end.set()
        thread.join()
