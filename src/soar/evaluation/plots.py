"""Plots of success rates: bars with intervals, as in the paper's Figure 5."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from soar.types import Outcome
from soar.utils.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, PAPER = "#22242a", "#d9d7d1", "#fffffe"
SERIES = ("#9aa3b2", "#2f6fde", "#17a673", "#d9822b", "#8a5cd1", "#c2417a")
GOOD, BAD, UNSURE = "#17a673", "#d1495b", "#9aa3b2"
OUTCOME_COLORS: Mapping[Outcome, str] = {"success": GOOD, "failure": BAD, "unknown": UNSURE}


def format_points(share: float) -> str:
    """Format a difference of rates in percentage points, signed: "+27"."""
    text = f"{100 * share:+.0f}"
    return "0" if text in ("+0", "-0") else text.replace("-", "−")


def format_rate(rate: Interval) -> str:
    """Format a rate with its interval: "45% [39%, 51%]"."""
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"


def format_change(change: Interval) -> str:
    """Format a difference of rates in percentage points, with its interval: "+7 [+4, +10]"."""
    low, high = format_points(change.low), format_points(change.high)
    return f"{format_points(change.value)} [{low}, {high}]"


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of `width` x `height` inches in the project's style, without a display.

    A "$" in its text, such as that of an instruction, is a "$" and no formula.
    """
    from matplotlib import rc_context
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    class PlainFigure(Figure):
        def draw(self, renderer: RendererBase) -> None:
            for text in self.findobj(Text):
                text.set_parse_math(False)
            super().draw(renderer)

    with rc_context({"figure.facecolor": PAPER}):
        return PlainFigure((width, height), layout="constrained")


def new_axes(figure: Figure) -> Axes:
    """Add axes without a box, with a light grid."""
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return axes


def plot_rates(groups: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """Plot success rates as grouped bars with their 95 % intervals.

    `groups`: for each series ("before", "after"), its rate by label (a task, a scene). Labels are in
    the order of the first series; a series may lack some.
    """
    labels = list(dict.fromkeys(label for series in groups.values() for label in series))
    figure = new_figure(max(4.0, 1.6 + 1.15 * len(labels)), 3.4)
    axes = new_axes(figure)
    width = 0.72 / max(1, len(groups))
    for k, (name, rates) in enumerate(groups.items()):
        at = [i + (k - (len(groups) - 1) / 2) * width for i, x in enumerate(labels) if x in rates]
        shown = [rates[label] for label in labels if label in rates]
        _bars(axes, at, shown, width * 0.92, name, SERIES[k % len(SERIES)])
    axes.set_xticks(range(len(labels)), [textwrap.fill(label, 17) for label in labels])
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set_ylabel("success", color=INK)
    if len(groups) > 1:
        _add_legend(figure, len(groups))
    return figure


def _add_legend(figure: Figure, entries: int) -> None:
    """Add a legend above the axes in as many columns as the figure's width holds."""
    for columns in range(entries, 0, -1):
        legend = figure.legend(
            loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK
        )
        figure.draw_without_rendering()
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _bars(
    axes: Axes,
    at: Sequence[float],
    rates: Sequence[Interval],
    width: float,
    name: str,
    color: str,
) -> None:
    values, size = [r.value for r in rates], max(5.0, min(8.5, 36 * width))  # as wide as a bar
    below = [max(0.0, r.value - r.low) for r in rates]
    above = [max(0.0, r.high - r.value) for r in rates]
    axes.bar(at, values, width, color=color, label=name)
    axes.errorbar(at, values, [below, above], fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    for x, rate in zip(at, rates, strict=True):
        axes.text(x, rate.high + 0.025, f"{rate.value:.0%}", fontsize=size, color=INK, ha="center")
