"""The report's figures as inline SVG that follows the page's light or dark colors."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from soar.evaluation.plots import (
    BAD,
    GOOD,
    GRID,
    INK,
    OUTCOME_COLORS,
    PAPER,
    SERIES,
    UNSURE,
    format_points,
    new_axes,
    new_figure,
)
from soar.evaluation.results import Comparison
from soar.evaluation.tables import task_label
from soar.types import EpisodeSummary
from soar.utils.files import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW = 30
"""Number of episodes over which the collection's success rate is averaged."""


def svg(figure: Figure, description: str) -> Markup:
    """Convert a figure to an SVG element, with text as text, and ink and grid in the page's colors."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width = re.search(r'width="([\d.]+)pt"', text)
    limit = f'style="max-width:{float(width[1]) * 4 / 3:.0f}px" ' if width else ""
    text = re.sub(r'(height|width)="[\d.]+pt" ?', "", text, count=2)
    for color, variable in ((INK, "--ink"), (GRID, "--line"), (PAPER, "--paper")):
        text = text.replace(color, f"var({variable})")
    head = f'<svg role="img" aria-label="{escape(description)}" {limit}'
    return Markup(text.replace("<svg", head, 1))


def plot_differences(comparison: Comparison) -> Figure:
    """Plot each task's paired difference with its interval; the filled mark is all tasks together."""
    rows = [
        (task_label(task, comparison.before), one.difference)
        for task, one in comparison.by_task().items()
    ]
    rows.append(("all tasks", comparison.difference))
    figure = new_figure(8.6, 0.9 + 0.42 * len(rows))
    axes = new_axes(figure)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.axvline(0, color=INK, linewidth=1)
    for y, (label, change) in enumerate(reversed(rows)):
        color = GOOD if change.low > 0 else BAD if change.high < 0 else UNSURE
        axes.plot([change.low, change.high], [y, y], color=color, linewidth=3, alpha=0.55)
        face = color if label == "all tasks" else PAPER
        axes.plot(change.value, y, "o", color=color, markerfacecolor=face, markersize=7)
    axes.set_yticks(range(len(rows)), [textwrap.fill(label, 44) for label, _ in reversed(rows)])
    axes.set_xlim(-1.02, 1.02)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.xaxis.set_major_formatter(lambda x, _: format_points(x))
    axes.set_xlabel("points, after minus before", color=INK)
    return figure


def plot_attempts(episodes: Sequence[EpisodeSummary], labels: Mapping[str, str]) -> Figure:
    """Plot every episode as a tick in its task's row, colored by its verdict. `labels`: of rows, by instruction."""
    tasks = list(dict.fromkeys(labels[e.instruction] for e in episodes))
    figure = new_figure(8.6, 1.1 + 0.42 * len(tasks))
    axes = new_axes(figure)
    axes.grid(visible=False)
    for outcome, color in OUTCOME_COLORS.items():
        own = [
            (n, tasks.index(labels[e.instruction]))
            for n, e in enumerate(episodes, 1)
            if e.verdict.outcome == outcome
        ]
        if own:
            x, y = zip(*own, strict=True)
            axes.scatter(x, y, marker="|", s=130, color=color, label=outcome, linewidths=1.6)
    axes.set_yticks(range(len(tasks)), [textwrap.fill(t, 44) for t in tasks])
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlabel("episode", color=INK)
    mark_rounds(axes, episodes)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, labelcolor=INK)
    return figure


def plot_success_over_time(episodes: Sequence[EpisodeSummary]) -> Figure:
    """Plot the success rate over the last `WINDOW` episodes: by verdict, and by the truth."""
    figure = new_figure(8.6, 2.7)
    axes = new_axes(figure)
    judged = [
        (n, e.verdict.outcome == "success")
        for n, e in enumerate(episodes, 1)
        if e.verdict.outcome != "unknown"
    ]
    known = [
        (n, bool(e.provenance.truth))
        for n, e in enumerate(episodes, 1)
        if e.provenance.truth is not None
    ]
    for series, name, color in ((judged, "verdict", SERIES[1]), (known, "truth", SERIES[3])):
        if series:
            x, y = np.array(series, float).T
            axes.plot(x, running_mean(y, WINDOW), color=color, label=name, linewidth=1.8)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set_xlabel("episode", color=INK)
    mark_rounds(axes, episodes)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, labelcolor=INK)
    return figure


def mark_rounds(axes: Axes, episodes: Sequence[EpisodeSummary]) -> None:
    """Draw a dashed line where a new round, and so a new policy, begins."""
    rounds = [e.provenance.round for e in episodes]
    for n in range(1, len(rounds)):
        if rounds[n] > rounds[n - 1]:
            axes.axvline(n + 0.5, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Average each value with up to `window` - 1 before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    return np.asarray((total[end] - total[start]) / (end - start))


def plot_losses(logs: Mapping[int, Sequence[Mapping[str, Json]]]) -> Figure:
    """Plot the training loss of every round, and the validation loss where there is one."""
    figure = new_figure(8.6, 2.9)
    axes = new_axes(figure)
    for k, (index, rows) in enumerate(logs.items()):
        color = SERIES[(k + 1) % len(SERIES)]
        for key, name, style in (
            ("loss", "training", "-"),
            ("validation_loss", "validation", "--"),
        ):
            own = [(r["step"], r[key]) for r in rows if key in r]
            if own:
                x, y = zip(*own, strict=True)
                axes.plot(x, y, style, color=color, linewidth=1.8, label=f"round {index}, {name}")
    axes.set_xlabel("gradient step", color=INK)
    axes.set_ylabel("loss", color=INK)
    figure.legend(loc="outside upper right", ncols=4, frameon=False, labelcolor=INK)
    return figure
