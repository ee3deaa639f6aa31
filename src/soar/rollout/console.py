"""Progress of a collection on the console."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.contracts import robot_contract
from soar.rollout.station import Station
from soar.types import Action, Proposal, Step
from soar.utils.progress import literal, progress_bar

_COLORS = {"success": "green", "failure": "yellow", "unknown": "dim"}


class ConsoleCallback(Callback):
    """A progress bar and a line for every episode; a context manager that shows the bar."""

    def __init__(self, episodes: int | None, minutes: float = 0.0, least_episodes: int = 1) -> None:
        """Prepare a bar for a collection.

        Args:
            episodes: number of episodes to store; None without a limit.
            minutes: duration after which `least_episodes` are enough [min]; 0 for no limit.
            least_episodes: see `minutes`.
        """
        self._episodes, self._limit_s, self._least = episodes, 60 * minutes, least_episodes
        self._began, self._stored = time.monotonic(), 0
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
        self._stored += 1
        self._bar.update(self._row, advance=1, total=self.expected(self._stored))

    def expected(self, stored: int) -> int | None:
        """Return the number of episodes that the pace of those that are stored allows; None without a limit."""
        if self._episodes is None or not self._limit_s or not stored:
            return self._episodes
        in_time = round(stored * self._limit_s / (time.monotonic() - self._began))
        return min(self._episodes, max(self._least, stored, in_time))


class SentActions(Callback):
    """A line for every action of a dry run: what would be sent, and the policy's own where limits changed it."""

    def on_step(self, station: Station, step: Step) -> None:
        """Print an action's numbers by name."""
        names = robot_contract(station.robot).action.names
        sent, commanded = _numbers(names, step.executed), _numbers(names, step.commanded)
        limited = f"   policy: {commanded}" if sent != commanded else ""
        print(f"{literal(station.name)} step {step.index:3}: {sent}{limited}")


def _numbers(names: Sequence[str], action: Action) -> str:
    """Return an action as text; numbers of about zero are left out, except the gripper's."""
    kept = [
        (name, float(value))
        for name, value in zip(names, np.ravel(action), strict=True)
        if abs(value) >= 5e-4 or name == "gripper"
    ]
    return " ".join(f"{name} {value:+.3f}" for name, value in kept) or "no motion"
