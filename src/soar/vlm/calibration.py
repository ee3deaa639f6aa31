"""How far a detector's probabilities can be trusted, and where to draw the line. Pure functions of numbers.

Everywhere, `p` is P(success) as the detector gives it and `truth` what a person or the simulator says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from soar.errors import ConfigError
from soar.utils.statistics import Confusion


def confusion(
    p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], threshold: float = 0.5
) -> Confusion:
    """Verdicts at a threshold against truth; NaN is an unknown verdict."""
    known = ~np.isnan(p)
    said = p[known] >= threshold
    so = truth[known]
    return Confusion(
        true_success=int((said & so).sum()),
        false_success=int((said & ~so).sum()),
        false_failure=int((~said & so).sum()),
        true_failure=int((~said & ~so).sum()),
        unknown=int((~known).sum()),
    )


class Curve(NamedTuple):
    """A detector at every threshold, from the strictest to the most lenient."""

    thresholds: Float64[np.ndarray, "k"]
    precision: Float64[np.ndarray, "k"]
    recall: Float64[np.ndarray, "k"]
    false_alarms: Float64[np.ndarray, "k"]
    """Share of failures called success."""

    @property
    def area(self) -> float:
        """Area under the ROC curve: the chance that a success gets a higher P than a failure does."""
        x = np.concatenate([[0.0], self.false_alarms, [1.0]])
        y = np.concatenate([[0.0], self.recall, [1.0]])
        return float(np.trapezoid(y, x))


def curve(p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> Curve:
    """Precision, recall and false alarms at each P that occurs. Raises ConfigError without both outcomes."""
    known = ~np.isnan(p)
    p, truth = p[known], truth[known]
    if truth.all() or not truth.any():
        raise ConfigError(
            f"calibrating needs successes and failures; there are {int(truth.sum())} and {int((~truth).sum())}"
        )
    order = np.argsort(-p, kind="stable")
    hits, alarms = np.cumsum(truth[order]), np.cumsum(~truth[order])
    last = np.append(np.diff(p[order]) != 0, True)
    hits, alarms = hits[last], alarms[last]
    return Curve(
        thresholds=p[order][last],
        precision=hits / (hits + alarms),
        recall=hits / hits[-1],
        false_alarms=alarms / alarms[-1],
    )


def choose_threshold(
    found: Curve, *, precision: float | None = None, recall: float | None = None
) -> float:
    """The threshold that gives the wanted precision at the highest recall, or the other way round.

    With neither, the one of highest F1. A threshold lies halfway to the next P below.

    Raises:
        ConfigError: both are given, or no threshold gives what is wanted; the message says what there is.
    """
    if precision is not None and recall is not None:
        raise ConfigError("choose a precision or a recall, not both")
    if precision is not None:
        fits, value = found.precision >= precision, found.recall
    elif recall is not None:
        fits, value = found.recall >= recall, found.precision
    else:
        fits = np.ones(len(found.recall), bool)
        value = found.precision * found.recall / (found.precision + found.recall + 1e-12)
    if not fits.any():
        best = (found.precision if precision is not None else found.recall).max()
        raise ConfigError(f"no threshold reaches {precision or recall}; the best is {best:.3f}")
    best_index = int(np.flatnonzero(fits)[np.argmax(value[fits])])
    below = np.append(found.thresholds[1:], 0.0)[best_index]
    middle = (found.thresholds[best_index] + below) / 2
    return float(np.clip(middle, 1e-6, 1 - 1e-6))


class Reliability(NamedTuple):
    """How often it was a success when the detector said so much."""

    said: Float64[np.ndarray, "k"]
    """Mean P of each bin."""
    was: Float64[np.ndarray, "k"]
    """Share of successes in it."""
    episodes: Int64[np.ndarray, "k"]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between what was said and what was, by count."""
        return float((np.abs(self.said - self.was) * self.episodes).sum() / self.episodes.sum())


def reliability(
    p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int = 10
) -> Reliability:
    """Bins of equal width over P; empty ones are left out."""
    known = ~np.isnan(p)
    p, truth = p[known], truth[known]
    number = np.minimum((p * bins).astype(int), bins - 1)
    there = np.unique(number)
    return Reliability(
        said=np.array([p[number == b].mean() for b in there]),
        was=np.array([truth[number == b].mean() for b in there]),
        episodes=np.array([(number == b).sum() for b in there]),
    )
