"""A page in the browser that shows what every station sees, tries, and was judged to have done."""

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
"""Control steps between two pictures."""
_LINES = 12
_COLORS = {"success": "#17a673", "failure": "#d9822b", "unknown": "#888"}
_PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>soar, live</title><body style="font:15px system-ui;background:#16181d;color:#eee;margin:1.5em">
<img src="{picture}" style="width:100%;max-width:1100px;image-rendering:pixelated">
<p>{now}</p><table cellpadding="4">{rows}</table>"""


class LivePage(Callback):
    """Writes `live.html` and a picture beside it, again and again. Files only: nothing listens, nothing to close."""

    def __init__(self, folder: Path) -> None:
        """`folder`: made when missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.page = folder / "live.html"
        self._tasks: dict[str, str] = {}
        self._goals: dict[str, Image] = {}
        self._seen: dict[str, Image] = {}
        self._steps = 0
        self._past: deque[str] = deque(maxlen=_LINES)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """What it tries now."""
        self._tasks[station.name] = proposal.task.instruction

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Shown in the corner of what the station sees."""
        self._goals[station.name] = subgoal.image

    def on_step(self, station: Station, step: Step) -> None:
        """A new picture now and then, of all stations."""
        self._seen[station.name] = step.observation.image
        self._steps += 1
        if self._steps % (_EVERY * len(self._tasks)) == 0:
            self._show()

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """One more line."""
        outcome = "dropped" if result.fault else result.verdict.outcome
        p = result.verdict.p_success
        self._past.appendleft(
            f"<tr><td>{escape(station.name)}<td>{escape(result.proposal.task.instruction)}"
            f'<td style="color:{_COLORS.get(outcome, "#d1495b")}">{outcome}'
            f"<td>{'' if p is None else f'{p:.2f}'}"
        )

    def _show(self) -> None:
        names = sorted(self._seen)
        if len({self._seen[n].shape for n in names}) == 1:
            # A PNG takes 30 times as long (docs/performance.md).
            _replace(
                self.page.with_name("live.jpg"), encode(tile([self._picture(n) for n in names], 4))
            )
        now = " &nbsp;|&nbsp; ".join(
            f"<b>{escape(n)}</b> {escape(self._tasks.get(n, ''))}" for n in names
        )
        html = _PAGE.format(picture=f"live.jpg?{self._steps}", now=now, rows="".join(self._past))
        _replace(self.page, html.encode())

    def _picture(self, name: str) -> Image:
        seen, goal = self._seen[name], self._goals.get(name)
        return seen if goal is None else inset(seen, goal)


def _replace(path: Path, data: bytes) -> None:
    """So that a browser never reads half a file. Nothing is lost with it, so nothing is synced."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
