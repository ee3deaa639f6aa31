"""Page of a critic: scores on held-out episodes, and its value along some of their films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from soar.critics.diagnostics import CriticScores, ValuedEpisode, auc, score
from soar.critics.learning.labels import CriticSource
from soar.evaluation.plots import GRID, INK, OUTCOME_COLORS, new_axes, new_figure
from soar.report.facts import Section
from soar.report.figures import svg
from soar.report.page import render
from soar.types import Outcome
from soar.utils.files import write_bytes, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILMS = 3
"""Episodes of each outcome whose film is shown."""
_STILLS = 8
"""Frames of a film."""
_LEAST_SPREAD = 0.03
"""Spread over actions, relative to that over states, below which steering is random (heuristic)."""


def write_critic_page(
    folder: Path, name: str, source: CriticSource, valued: Sequence[ValuedEpisode]
) -> CriticScores:
    """Write `report.html` and `scores.json` of a critic, and return its scores.

    Args:
        folder: the critic's folder.
        name: name of the critic.
        source: held-out episodes.
        valued: their values.
    """
    scores = score(valued)
    by_truth = true_auc(source, valued)
    write_json(folder / "scores.json", {**_plain(scores), "auc_by_truth": _number(by_truth)})
    page = render(
        title=f"Values of {name}",
        kicker=f"SOAR, {len(valued)} held-out episodes",
        lead=_lead(scores, by_truth),
        tiles=[
            (_shown(scores.auc), "AUC: a success has the larger value"),
            (_shown(scores.progress), "rank correlation with time in successes"),
            (_shown(scores.action_spread), "spread over actions, relative to states"),
        ],
        sections=_sections(source, valued),
        folder=folder.resolve().name,
    )  # fmt: skip
    write_bytes(folder / "report.html", page.encode())
    return scores


def true_auc(source: CriticSource, valued: Sequence[ValuedEpisode]) -> float:
    """Return the AUC by the simulator's truth in place of the verdicts; NaN where it isn't known."""
    known = [(e.values.q.mean(), source.frames.episodes[e.number].provenance.truth) for e in valued]
    won = np.array([q for q, truth in known if truth is True], np.float64)
    lost = np.array([q for q, truth in known if truth is False], np.float64)
    return auc(won, lost)


def plot_films(source: CriticSource, episodes: Sequence[ValuedEpisode]) -> Figure:
    """Plot the value of the executed action along each episode, above frames of its film."""
    rows = len(episodes)
    figure = new_figure(8.6, 2.4 * rows)
    low = min(float(e.values.q.min()) for e in episodes)
    high = max(float(e.values.q.max()) for e in episodes)
    grid = figure.add_gridspec(2 * rows, 1, height_ratios=[3, 2] * rows)
    for row, episode in enumerate(episodes):
        axes = figure.add_subplot(grid[2 * row])
        _plot_values(axes, episode, (low, high))
        instruction = source.frames.episodes[episode.number].instruction
        axes.set_title(f"{instruction}: {episode.outcome}", fontsize=9, color=INK, loc="left")
        strip = figure.add_subplot(grid[2 * row + 1])
        strip.imshow(_film(source, episode.number))
        strip.set_axis_off()
    return figure


def plot_means(valued: Sequence[ValuedEpisode]) -> Figure:
    """Plot the distribution of the episodes' mean values, successes and failures apart."""
    figure = new_figure(8.6, 2.4)
    axes = new_axes(figure)
    means = {o: [e.values.q.mean() for e in valued if e.outcome == o] for o in _OUTCOMES}
    edges = np.histogram_bin_edges(np.concatenate([means[o] for o in _OUTCOMES]), 20)
    for outcome in _OUTCOMES:
        axes.hist(
            means[outcome], edges.tolist(), alpha=0.6, color=OUTCOME_COLORS[outcome], label=outcome
        )
    axes.set_xlabel("mean value of an episode", color=INK)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, labelcolor=INK)
    return figure


_OUTCOMES: tuple[Outcome, Outcome] = ("success", "failure")


def _sections(source: CriticSource, valued: Sequence[ValuedEpisode]) -> list[Section]:
    if not valued:
        return []
    shown = [e for o in _OUTCOMES for e in [v for v in valued if v.outcome == o][:_FILMS]]
    films = svg(plot_films(source, shown), "Value along episodes")
    means = svg(plot_means(valued), "Mean values of episodes")
    return [
        Section("Successes and failures", "critic_means.html", {"plot": means}),
        Section("Value along the film", "critic_films.html", {"plot": films}),
    ]


def _plot_values(axes: Axes, episode: ValuedEpisode, limits: tuple[float, float]) -> None:
    q, spread = episode.values
    steps = np.arange(len(q))
    color = OUTCOME_COLORS[episode.outcome]
    axes.fill_between(steps, q - spread, q + spread, color=color, alpha=0.2, linewidth=0)
    axes.plot(steps, q, color=color, linewidth=1.8)
    axes.set_ylim(*limits)
    axes.set_xlim(0, max(1, len(q) - 1))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, length=0, labelsize=8)
    for side in axes.spines.values():
        side.set_visible(False)


def _film(source: CriticSource, number: int) -> Float64[np.ndarray, "h w 3"]:
    """Return frames of an episode at equal distances, side by side, in [0, 1]."""
    first, last = source.frames.starts[number], source.frames.starts[number + 1] - 1
    steps = np.linspace(first, last, _STILLS).round().astype(int)
    return np.concatenate(list(source.frames.images[steps]), 1) / 255.0


def _lead(scores: CriticScores, by_truth: float) -> str:
    text = (
        f"On {scores.successes} successes and {scores.failures} failures that it was not trained on, a success has a "
        f"larger mean value than a failure with probability {_shown(scores.auc)} (0.5 is chance)."
    )
    if not np.isnan(by_truth):
        text += f" By the simulator's truth in place of the verdicts it is {_shown(by_truth)}."
    if scores.action_spread < _LEAST_SPREAD:
        text += " Its values hardly differ between actions: steering by it would be random."
    return text


def _shown(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _plain(scores: CriticScores) -> dict[str, float | None]:
    return {k: _number(v) for k, v in asdict(scores).items()}
