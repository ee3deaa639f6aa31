"""The page in a process of its own, beside a run: nothing of it waits for the run, or the run for it."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from soar.errors import SoarError
from soar.utils.processes import end_with_parent, start_resource_tracker
from soar.utils.signals import STOP_SIGNALS, blocked

_LAST_LOOK_S = 1.5
"""Time for which the page outlives the run, so that open ones show its end [s]."""
_END_S = 5.0


@contextlib.contextmanager
def page_beside(folder: Path, on_message: Callable[[str], None]) -> Iterator[None]:
    """Serve a run's page while the context is open, and tell its address as soon as it can be opened.

    Args:
        folder: the run's folder, which need not exist yet.
        on_message: called with the address, or with the reason why there is no page; the run goes on without.
    """
    start_resource_tracker()
    context = mp.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, folder), daemon=True)
    with blocked():
        process.start()
    sender.close()

    def tell() -> None:
        with contextlib.suppress(EOFError, OSError):
            on_message(receiver.recv())

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
        time.sleep(_LAST_LOOK_S)
    finally:
        process.terminate()
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(sender: Connection, folder: Path) -> None:
    """Serve until SIGTERM or the parent's end; the terminal's signals are for the run."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.nice(5)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    end_with_parent(lambda: os._exit(0))
    from soar.watch.app import PageConfig, serve_page
    from soar.watch.place import place_of_run

    try:
        serve_page(
            place_of_run(folder),
            PageConfig(),
            lambda address: sender.send(f"watch it: {address}"),
            any_port=True,
        )
    except SoarError as error:
        sender.send(f"no page in the browser: {error}")
