"""Keys of the terminal in which stations move: emergency stop, release, and the operator's heartbeat."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from soar.collection.status import StatusFolder
from soar.utils.keys import Keys
from soar.utils.progress import console

STOP_KEY, RELEASE_KEY = " ", "r"


@contextlib.contextmanager
def operator_keys(
    folders: Sequence[StatusFolder],
    stream: TextIO | None = None,
    press: Callable[[str], None] = lambda key: None,
) -> Iterator[Keys]:
    """Take keys while stations move: the space bar holds all arms, "r" releases them, any key is a heartbeat.

    Does nothing where the input isn't a terminal, or while the command runs in the background.

    Args:
        folders: the stations' folders.
        stream: the terminal; None is the standard input.
        press: gets every key, too.

    Yields:
        The keys, which pause while a person answers a question.
    """

    def handle(key: str) -> None:
        for folder in folders:
            if key == STOP_KEY:
                folder.request("emergency", "space bar")
            elif key == RELEASE_KEY:
                folder.request("run")
            folder.beat()
        press(key)
        if key == STOP_KEY:
            console.print("[bold red]emergency stop[/]: all arms are held; r releases them")
        elif key == RELEASE_KEY:
            console.print("released: the arms go home and on")

    keys = Keys(handle, stream or sys.stdin)
    with keys as listening:
        if listening:
            console.print(
                "space: emergency stop of all arms   r: release   Ctrl-C: end", style="dim"
            )
        yield keys
