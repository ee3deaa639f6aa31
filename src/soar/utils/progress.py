"""Progress bars and messages on standard error."""

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

from soar.utils.terminal import hide_passwords

console = Console(stderr=True)
"""Console of progress and messages; a command's results go to standard output."""


def printable(text: str) -> str:
    """Replace control characters, which a terminal would obey, by escapes such as \\x1b. Lines stay.

    Passwords in addresses are hidden.
    """
    shown = hide_passwords(text)
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in shown
    )


def literal(text: object) -> str:
    """Convert text of others (replies, tasks, names, paths) for rich: no control characters, no markup."""
    return escape(printable(str(text)))


def announce(text: str) -> None:
    """Print a message in bold."""
    console.print(f"[bold]{literal(text)}[/]")


def progress_bar() -> Progress:
    """Make a progress bar with count, elapsed and remaining time, and a task's `note` field at the end.

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
