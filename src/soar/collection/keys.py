"""Keys of the terminal in which stations collect: emergency stop, release, and the operator's heartbeat."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from soar.collection.status import StatusFolder
from soar.utils.progress import console

STOP_KEY, RELEASE_KEY = " ", "r"
_WAIT_S = 0.1
"""Longest time in seconds until the end of the listening is noticed."""


@contextlib.contextmanager
def operator_keys(folders: Sequence[StatusFolder], stream: TextIO | None = None) -> Iterator[None]:
    """Take keys while stations collect: the space bar holds all arms, "r" releases them, any key is a heartbeat.

    Does nothing where the input is no terminal, and nothing while the command runs in the background.

    Args:
        folders: the stations' folders.
        stream: the terminal; None is the standard input.
    """

    def handle(key: str) -> None:
        for folder in folders:
            if key == STOP_KEY:
                folder.request("emergency", "space bar")
            elif key == RELEASE_KEY:
                folder.request("run")
            folder.beat()
        if key == STOP_KEY:
            console.print("[bold red]emergency stop[/]: all arms are held; r releases them")
        elif key == RELEASE_KEY:
            console.print("released: the arms go home and on")

    with _keys(handle, stream or sys.stdin) as listening:
        if listening:
            console.print(
                "space: emergency stop of all arms   r: release   Ctrl-C: end", style="dim"
            )
        yield


@contextlib.contextmanager
def _keys(handle: Callable[[str], None], stream: TextIO) -> Iterator[bool]:
    """Call `handle` with each key pressed. Yields whether the stream is a terminal of a foreground command."""
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

    def listen() -> None:
        while not ended.is_set():
            ready, _, _ = select.select([number], [], [], _WAIT_S)
            if ready and _in_foreground(number):
                for key in os.read(number, 64).decode(errors="ignore"):
                    handle(key)

    thread = threading.Thread(target=listen, daemon=True)
    tty.setcbreak(number)  # keys come at once; Ctrl-C still interrupts
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _in_foreground(number: int) -> bool:
    """Whether this process may read the terminal; reading it in the background would stop the process."""
    try:
        return os.tcgetpgrp(number) == os.getpgrp()
    except OSError:
        return False
