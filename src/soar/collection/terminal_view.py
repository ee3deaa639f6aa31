"""The camera's picture and the state of a recording, renewed in place on a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TextIO

from soar.collection.recording import RecordingState
from soar.types import Image
from soar.utils.media import resize
from soar.utils.progress import printable
from soar.utils.signals import at_exit
from soar.vlm.labels import to_blocks

_MOST_PIXELS, _LEAST_PIXELS = 96, 24
"""Height and width of the picture on a large terminal, and the least that is worth showing."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
"""Other screen without a cursor, and back."""


class TerminalView:
    """A view on a terminal: with the picture where it has true color and room, else with text alone."""

    def __init__(self, stream: TextIO, help_lines: Sequence[str] = ()) -> None:
        """Take a terminal. `help_lines`: what the person is told beside the state."""
        self._stream, self._help = stream, tuple(help_lines)
        self._colored = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")

    @contextlib.contextmanager
    def open(self) -> Iterator[TerminalView]:
        """Take the terminal's screen, and give it back however this ends."""
        with at_exit(lambda: self._write(_LEAVE)):
            self._write(_ENTER)
            try:
                yield self
            finally:
                self._write(_LEAVE)

    @property
    def pixels(self) -> int:
        """Height and width of the picture; 0 if none can be shown."""
        size = shutil.get_terminal_size()
        room = min(size.columns, 2 * (size.lines - 8), _MOST_PIXELS) // 2 * 2
        return room if self._colored and room >= _LEAST_PIXELS else 0

    def show(self, image: Image, state: RecordingState) -> None:
        """Show a picture and the state in place of those before."""
        counts = f"{state.kept} kept, {state.discarded} thrown away"
        now = f"{state.state}   step {state.step}   {counts}"
        lines = (state.task, now, *self._help, state.problem)
        width, pixels = shutil.get_terminal_size().columns, self.pixels
        picture = to_blocks(resize(image, pixels)).split("\n") if pixels else []
        text = [printable(line)[: width - 1] for line in lines]
        self._write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in (*picture, *text)) + "\x1b[J")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            self._stream.write(text)
            self._stream.flush()
