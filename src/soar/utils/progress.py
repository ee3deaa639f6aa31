"""Progress bars, or lines where there is no terminal, and messages on standard error."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from soar.utils.terminal import hide_passwords

console = Console(stderr=True)
"""Console of progress and messages; a command's results go to standard output."""

_LOG_COLUMNS = 200
"""Width of a table that no terminal limits."""
_BEGINNING_S = 1.0
"""Time after a task's start within which a count is what an earlier run has done [s]."""


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


def print_table(table: Table) -> None:
    """Print a table on standard output, unfolded where that isn't a terminal, as in a log."""
    out = Console()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out = Console(width=_LOG_COLUMNS)
    out.print(table)


class MeanPace(Progress):
    """Progress whose remaining time follows from the mean pace since each task's start.

    Many robots finish episodes together, and then none for a while: rich's pace of the last seconds is that of the
    burst.
    """

    def add_task(
        self,
        description: str,
        start: bool = True,
        total: float | None = 100.0,
        completed: int = 0,
        visible: bool = True,
        **fields: Any,
    ) -> TaskID:
        """See `Progress.add_task`."""
        began = self.get_time(), completed
        return super().add_task(
            description, start, total, completed, visible, began=began, **fields
        )

    def update(self, task_id: TaskID, *, completed: float | None = None, **changes: Any) -> None:
        """See `Progress.update`."""
        [task] = [t for t in self.tasks if t.id == task_id]
        now = self.get_time()
        if completed is not None and now - task.fields["began"][0] < _BEGINNING_S:
            changes["began"] = now, completed
        super().update(task_id, completed=completed, **changes)


def time_left(task: Task) -> timedelta | None:
    """Return the remaining time of a task of `MeanPace`; None while nothing is known."""
    since, first = task.fields["began"]
    done = task.completed - first
    if task.total is None or done <= 0:
        return None
    return timedelta(
        seconds=round((task.get_time() - since) / done * (task.total - task.completed))
    )


class _TimeLeft(ProgressColumn):
    """The remaining time."""

    def render(self, task: Task) -> Text:
        left = time_left(task)
        return Text("-:--:--" if left is None else str(left), style="progress.remaining")


class ProgressLines(MeanPace):
    """Progress for logs: every few seconds a line for each unfinished task, in place of a bar."""

    interval_s = 20.0
    """Time between two lines of a task [s]."""
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start printing lines, unless the display is disabled."""
        if self.disable or self._thread is not None:
            return
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop printing lines. Can be called twice."""
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
    if (left := time_left(task)) is not None:
        parts.append(f"about {left} left")
    return ", ".join([*parts, *filter(None, [task.fields.get("note")])])


def progress_bar() -> Progress:
    """Make a progress bar with count, elapsed and remaining time, and a task's `note` field at the end.

    Add tasks with `bar.add_task("demonstrations", total=n, note="")`. Without a terminal it prints lines instead.
    """
    if not console.is_terminal:
        return ProgressLines(console=console)
    return MeanPace(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeft(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
    )
