"""Web page of the current images, tasks and verdicts of all stations."""

from __future__ import annotations

import os
from collections import deque
from html import escape
from pathlib import Path

from soar.data.store.images import encode
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.station import Station
from soar.types import Image, Proposal, Step, Subgoal
from soar.utils.media import inset, tile

_EVERY = 4
"""Control steps between two images."""
_LINES = 12
"""Number of episodes in the table."""
_COLORS = {"success": "#17a673", "failure": "#d9822b", "unknown": "#888"}
_PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>soar, live</title><body style="font:15px system-ui;background:#16181d;color:#eee;margin:1.5em;overflow-wrap:anywhere">
<img src="{image}" style="width:100%;max-width:1100px;image-rendering:pixelated">
<p>{now}</p><table cellpadding="4">{rows}</table>"""


class LivePage(Callback):
    """Writes `live.html`, which reloads itself, and an image beside it. Needs no server."""

    def __init__(self, folder: Path) -> None:
        """`folder`: created if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.page = folder / "live.html"
        self._tasks: dict[str, str] = {}
        self._goals: dict[str, Image] = {}
        self._images: dict[str, Image] = {}
        self._steps = 0
        self._rows: deque[str] = deque(maxlen=_LINES)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Note the task."""
        self._tasks[station.name] = proposal.task.instruction

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Note the goal, which is shown in a corner of the image."""
        self._goals[station.name] = subgoal.image

    def on_step(self, station: Station, step: Step) -> None:
        """Note the image, and show all stations every few steps."""
        self._images[station.name] = step.observation.image
        self._steps += 1
        if self._steps % (_EVERY * len(self._tasks)) == 0:
            self._show()

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Add a row."""
        outcome = "dropped" if result.fault else result.verdict.outcome
        p = result.verdict.p_success
        self._rows.appendleft(
            f"<tr><td>{escape(station.name)}<td>{escape(result.proposal.task.instruction)}"
            f'<td style="color:{_COLORS.get(outcome, "#d1495b")}">{outcome}'
            f"<td>{'' if p is None else f'{p:.2f}'}"
        )

    def _show(self) -> None:
        names = sorted(self._images)
        if len({self._images[n].shape for n in names}) == 1:
            # A PNG takes 30 times as long (docs/performance.md).
            _replace(
                self.page.with_name("live.jpg"),
                encode(tile([self._with_goal(n) for n in names], 4)),
            )
        now = " &nbsp;|&nbsp; ".join(
            f"<b>{escape(n)}</b> {escape(self._tasks.get(n, ''))}" for n in names
        )
        html = _PAGE.format(image=f"live.jpg?{self._steps}", now=now, rows="".join(self._rows))
        _replace(self.page, html.encode())

    def _with_goal(self, name: str) -> Image:
        image, goal = self._images[name], self._goals.get(name)
        return image if goal is None else inset(image, goal)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file at once, so that a browser never reads half of it; without sync, as it may be lost."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
