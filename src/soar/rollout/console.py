"""Progress of a collection on the console."""

from __future__ import annotations

from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Station
from soar.types import Proposal
from soar.utils.progress import literal, progress_bar

_COLORS = {"success": "green", "failure": "yellow", "unknown": "dim"}


class ConsoleCallback(Callback):
    """A progress bar and a line for every episode; a context manager that shows the bar."""

    def __init__(self, episodes: int | None) -> None:
        """`episodes`: number of episodes to store; None without a limit."""
        self._bar = progress_bar()
        self._row = self._bar.add_task("collecting", total=episodes, note="")

    def __enter__(self) -> ConsoleCallback:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Show the task beside the bar."""
        self._bar.update(self._row, note=literal(f"{station.name}: {proposal.task.instruction}"))

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Print the task and its verdict."""
        task = literal(f"{station.name}: {result.proposal.task.instruction}")
        if result.fault is not None:
            self._bar.console.print(f"{task}: [red]dropped[/]: {literal(result.fault)}")
            return
        verdict = result.verdict
        p = "" if verdict.p_success is None else f" ({verdict.p_success:.2f})"
        word = f"[{_COLORS[verdict.outcome]}]{verdict.outcome}[/]"
        self._bar.console.print(f"{task}: {word}{p}")
        self._bar.update(self._row, advance=1)
