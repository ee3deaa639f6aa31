"""Progress bars for long work, one look everywhere."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)
"""Where people read along; a command's results go to standard output."""


def announce(text: str) -> None:
    """Say what comes next."""
    console.print(f"[bold]{escape(text)}[/]")


def progress_bar() -> Progress:
    """A bar with count, elapsed and remaining time; a task's `note` field is shown at the end.

    Add tasks with `bar.add_task("demonstrations", total=n, note="")`.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        transient=not console.is_terminal,
    )
