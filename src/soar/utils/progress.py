"""Progress bars, or lines where there is no terminal, and messages on standard error."""

from __future__ import annotations

import threading
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from soar.utils.terminal import hide_passwords

console = Console(stderr=True)
"""Console of progress and messages; a command's results go to standard output."""

_SPEED_PERIOD_S = 600.0
"""Period over which the remaining time is estimated [s]: many robots finish their episodes at once, and then none for
a while."""


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


class ProgressLines(Progress):
    """Progress for logs: every few seconds a line for each unfinished task, in place of a bar."""

    interval_s = 20.0
    """Time between two lines of a task [s]."""
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to print lines, unless the display is disabled."""
        if self.disable or self._thread is not None:
            return
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop to print lines. Can be called twice."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _print_lines(self) -> None:
        while not self._ended.wait(self.interval_s):
            for task in self.tasks:
                if not task.finished:
                    self.console.print(literal(_line(task)), soft_wrap=True, highlight=False)


def _line(task: Task) -> str:
    """Return a task's progress in words."""
    parts = [
        f"{task.description} {task.completed:g}/{task.total:g}" if task.total else task.description
    ]
    parts.append(f"{timedelta(seconds=round(task.elapsed or 0))} so far")
    if task.time_remaining is not None:
        parts.append(f"about {timedelta(seconds=round(task.time_remaining))} left")
    return ", ".join([*parts, *filter(None, [task.fields.get("note")])])


def progress_bar() -> Progress:
    """Make a progress bar with count, elapsed and remaining time, and a task's `note` field at the end.

    Add tasks with `bar.add_task("demonstrations", total=n, note="")`. Without a terminal it prints lines instead.
    """
    if not console.is_terminal:
        return ProgressLines(console=console, speed_estimate_period=_SPEED_PERIOD_S)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        speed_estimate_period=_SPEED_PERIOD_S,
    )
