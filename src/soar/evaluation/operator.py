"""The person at a real robot: sets the start of a trial, and judges its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from rich.prompt import Prompt

from soar.types import Image, Outcome
from soar.utils.media import resize, write_png
from soar.utils.progress import console, literal
from soar.vlm.labels import to_blocks

_OUTCOMES: dict[str, Outcome] = {"y": "success", "n": "failure", "u": "unknown"}
_TERMINAL_PIXELS = 64
"""Height and width of an image in the terminal."""


@runtime_checkable
class Operator(Protocol):
    """A person who attends an evaluation. Nothing says which policy acts."""

    def set_start(
        self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
    ) -> None:
        """Return once the start is set.

        Args:
            instruction: the task, which must be possible and not done.
            take_image: takes a camera image of the table as it is now.
            recorded: image of the start to reproduce; None where any will do.
        """

    def judge(self, instruction: str, image: Image) -> Outcome:
        """Return whether the task is done in a trial's last image."""


class ConsoleOperator:
    """A person at the terminal, who sees images as colored blocks and in a PNG file."""

    def __init__(
        self, overlay: Path, asking: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Ask in the terminal.

        Args:
            overlay: file that shows the recorded start image over the live one.
            asking: entered while the terminal's lines are read, in place of its keys.
        """
        self._overlay, self._asking = overlay, asking

    def set_start(
        self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
    ) -> None:
        """See `Operator.set_start`; the overlay is renewed each time the person asks for it."""
        console.print(f"\n[bold]{literal(instruction)}[/bold]")
        with self._asking():
            self._ask_for_start(take_image, recorded)

    def _ask_for_start(self, take_image: Callable[[], Image], recorded: Image | None) -> None:
        if recorded is None:
            Prompt.ask(
                "Set the table so that this is possible and not done, then press Enter", default=""
            )
            return
        while True:
            image = blend(take_image(), recorded)
            write_png(self._overlay, image)
            print(to_blocks(resize(image, _TERMINAL_PIXELS)))
            reply = Prompt.ask(
                f"Move the objects to where the recorded image shows them ({self._overlay}); "
                "Enter when they match, l to look again",
                default="",
                show_default=False,
            )
            if not reply:
                return

    def judge(self, instruction: str, image: Image) -> Outcome:
        """Ask the person; "u" where they can't tell."""
        with self._asking():
            reply = Prompt.ask(f"Is it done: {instruction}?", choices=list(_OUTCOMES), default="u")
        return _OUTCOMES[reply]


def blend(live: Image, recorded: Image) -> Image:
    """Return the mean of two square images, of the recorded one's size."""
    pixels = resize(live, recorded.shape[0]).astype(np.uint16) + recorded
    mean: Image = (pixels // 2).astype(np.uint8)
    return mean
