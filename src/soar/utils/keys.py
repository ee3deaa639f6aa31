"""Keys of the terminal that a command runs in, one by one."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from soar.errors import described
from soar.utils.signals import at_exit

log = logging.getLogger(__name__)

UP, DOWN, RIGHT, LEFT = "up", "down", "right", "left"
"""Names of the arrow keys; any other key is its character."""
_ARROWS = dict(zip("ABCD", (UP, DOWN, RIGHT, LEFT), strict=True))
_SEQUENCE = re.compile(r"\x1b[\[O]([\d;]*)(.)|(.)", re.DOTALL)
_WAIT_S = 0.1
"""Longest time in seconds until the end of listening is noticed."""


@contextlib.contextmanager
def listen(handle: Callable[[str], None], stream: TextIO) -> Iterator[bool]:
    """Call `handle` with each key pressed, in a thread. The terminal is as before at the end, however that comes.

    Args:
        handle: takes a character, or the name of an arrow key; what it raises is only logged.
        stream: the terminal.

    Yields:
        Whether the stream is a terminal of a foreground command; without one there are no keys.
    """
    try:
        import termios
        import tty

        number = stream.fileno()
        before = termios.tcgetattr(number)
    except (ImportError, OSError, ValueError, AttributeError, termios.error):
        yield False
        return
    if not _in_foreground(number):
        yield False
        return
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            ready, _, _ = select.select([number], [], [], _WAIT_S)
            if ready and _in_foreground(number):
                for key in keys_in(os.read(number, 64).decode(errors="ignore")):
                    try:
                        handle(key)
                    except Exception as error:  # noqa: BLE001  the next key may be an emergency stop
                        log.error("key %r: %s", key, described(error))

    def restore() -> None:
        termios.tcsetattr(number, termios.TCSANOW, before)  # also while nobody reads the output

    thread = threading.Thread(target=run, daemon=True)
    with at_exit(restore):
        tty.setcbreak(number)  # keys come at once; Ctrl-C still interrupts
        thread.start()
        try:
            yield True
        finally:
            ended.set()
            thread.join()
            restore()


class Keys:
    """Keys of a terminal for as long as it is entered, with pauses in which a question may read lines from it."""

    def __init__(self, handle: Callable[[str], None], stream: TextIO) -> None:
        """See `listen`."""
        self._handle, self._stream = handle, stream
        self._listening = contextlib.ExitStack()

    def __enter__(self) -> bool:
        """Listen; return whether there are keys."""
        return self._listening.enter_context(listen(self._handle, self._stream))

    def __exit__(self, *error: object) -> None:
        """End the listening."""
        self._listening.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Give the terminal back until a question is answered; the answer is a key, too."""
        self._listening.close()
        try:
            yield
        finally:
            self.__enter__()
        self._handle("\n")


def keys_in(text: str) -> list[str]:
    """Return the keys in what a terminal sent; function keys other than the arrows are left out."""
    keys = [m[3] or _ARROWS.get(m[2], "") for m in _SEQUENCE.finditer(text)]
    return [key for key in keys if key]


def _in_foreground(number: int) -> bool:
    """Whether this process may read the terminal; reading it in the background would stop the process."""
    try:
        return os.tcgetpgrp(number) == os.getpgrp()
    except OSError:
        return False
