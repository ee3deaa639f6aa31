"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal is gone)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLEANUP_S = 20.0
"""Time in seconds to close everything after `Stopped`, before the process ends without that."""
_LEAVE_S = 0.5
"""Time in seconds for the last words of a process that ends at once."""


class Stopped(KeyboardInterrupt):
    """A signal ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


class _Handler:
    """Handler of the process's signals."""

    def __init__(self) -> None:
        self.farewell = ""
        """Line that is printed where the process ends at once."""
        self.graceful: threading.Event | None = None
        """Event that the first signal sets, in place of `Stopped`."""
        self.first: int | None = None
        """The signal that set it."""
        self.raised: int | None = None
        """The signal that raised `Stopped`."""
        self.at_exit: list[Callable[[], None]] = []
        """Functions that are called where the process ends at once."""

    def __call__(self, number: int, _: object) -> None:
        if self.graceful is not None and not self.graceful.is_set():
            self.graceful.set()
            self.first = number
            log.warning("stopping after the running episode; once more to drop it and stop at once")
            return
        if self.raised is not None:
            self.exit(number)
        self.raised = number
        timer = threading.Timer(_CLEANUP_S, self.exit, [number])
        timer.daemon = True
        timer.start()
        raise Stopped(number)

    def exit(self, number: int) -> None:
        """End the process without closing anything; its children end by themselves."""
        leaving = threading.Thread(target=self._leave, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)  # a terminal that nobody reads blocks
        os._exit(128 + number)

    def _leave(self) -> None:
        for function in self.at_exit:
            function()
        os.write(2, self.farewell.encode())


_handler = _Handler()


@contextmanager
def stoppable(farewell: str, *, for_good: bool = False) -> Iterator[None]:
    """Let the first signal raise `Stopped` in the main thread, and a second one end the process at once.

    Args:
        farewell: line for standard error if the process ends at once, or everything takes too long to close.
        for_good: whether the process ends after this, so that a later signal needs no handling.
    """
    global _handler
    _handler = _Handler()
    _handler.farewell = farewell and f"{farewell}\n"
    before = {
        number: signal.signal(number, _handler)
        for number in STOP_SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP  # of nohup
    }
    try:
        yield
    finally:
        for number, old in before.items():
            if not for_good:
                signal.signal(number, old)
            elif _handler.raised is None:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def stopping(stop: threading.Event, *, raises: bool = False) -> Iterator[None]:
    """Let the first signal set `stop` instead, and a second one raise `Stopped`; only within `stoppable`.

    Args:
        stop: ends what runs in this context.
        raises: whether `Stopped` is raised after that.
    """
    _handler.graceful = stop
    try:
        yield
    finally:
        _handler.graceful = None
    if raises and _handler.first is not None:
        _handler.raised = _handler.first
        raise Stopped(_handler.first)


@contextmanager
def at_exit(function: Callable[[], None]) -> Iterator[None]:
    """Call a function also where a second signal ends the process at once, without leaving any context."""
    calls = _handler.at_exit
    calls.append(function)
    try:
        yield
    finally:
        calls.remove(function)


def is_stopped() -> bool:
    """Return whether a signal ends the command."""
    return _handler.raised is not None


@contextmanager
def blocked() -> Iterator[None]:
    """Block the signals in this thread, for a child process that inherits this until it handles them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
