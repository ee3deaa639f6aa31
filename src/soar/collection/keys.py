"""Keys of the terminal in which stations move: emergency stop and what ends it, and the operator's heartbeat."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from soar.collection.status import Command, StatusFolder, beat_all, request_all
from soar.errors import FileError
from soar.utils.keys import Keys
from soar.utils.progress import console

log = logging.getLogger(__name__)

MOTION_KEYS: dict[str, Command] = {" ": "emergency", "r": "release", "c": "continue"}
_SAID = {
    "emergency": "[bold red]emergency stop[/]: all arms are held; r releases them",
    "release": "released: the arms stay where they are; c lets them continue",
    "continue": "the arms go home and on",
}


@contextlib.contextmanager
def operator_keys(
    folders: Sequence[StatusFolder],
    stream: TextIO | None = None,
    press: Callable[[str], None] = lambda key: None,
) -> Iterator[Keys]:
    """Take keys while stations move: the space bar holds all arms, "r" releases them, after which "c" lets them move;
    any key is a heartbeat.

    Does nothing where the input isn't a terminal, or while the command runs in the background.

    Args:
        folders: the stations' folders.
        stream: the terminal; None is the standard input.
        press: gets every key, too.

    Yields:
        The keys, which pause while a person answers a question.
    """

    def handle(key: str) -> None:
        try:
            if (command := MOTION_KEYS.get(key)) and _matters(command, folders):
                request_all(folders, command, "space bar")
                console.print(_SAID[command])
        except FileError as error:
            log.error("%s", error)
        attend(folders)
        press(key)

    keys = Keys(handle, stream or sys.stdin)
    with keys as listening:
        if listening:
            console.print(
                "space: emergency stop of all arms   r: release   c: continue   Ctrl-C: end",
                style="dim",
            )
        yield keys


def _matters(command: Command, folders: Sequence[StatusFolder]) -> bool:
    """Whether a key's command changes anything at one of the stations."""
    if command == "release":
        return any(folder.is_stopped for folder in folders)
    return command == "emergency" or any(folder.is_released for folder in folders)


def attend(folders: Sequence[StatusFolder]) -> None:
    """Send the operator's heartbeat to stations. A failure is only logged: it must not be in the way of a stop."""
    try:
        beat_all(folders)
    except FileError as error:
        log.warning("%s", error)
