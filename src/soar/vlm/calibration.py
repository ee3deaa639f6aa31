"""Calibration of a success detector: confusion, ROC curve, threshold, reliability. Pure functions of numbers.

Everywhere, `p` is the detector's P(success), NaN for an unknown verdict, and `truth` a person's label or the
simulator's ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from soar.errors import ConfigError
from soar.types import SUCCESS_THRESHOLD, Verdict
from soar.utils.statistics import Confusion

PERSON = "person"
"""Judge of a verdict that a person gave."""


def confusion(
    p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], threshold: float = SUCCESS_THRESHOLD
) -> Confusion:
    """Return the confusion matrix of the verdicts at a threshold."""
    known = ~np.isnan(p)
    predicted = p[known] >= threshold
    actual = truth[known]
    return Confusion(
        true_success=int((predicted & actual).sum()),
        false_success=int((predicted & ~actual).sum()),
        false_failure=int((~predicted & actual).sum()),
        true_failure=int((~predicted & ~actual).sum()),
        unknown=int((~known).sum()),
    )


def by_source(verdicts: Sequence[Verdict]) -> dict[str, Int64[np.ndarray, "k"]]:
    """Return the indices of verdicts by the origin of their P(success); each origin is calibrated separately.

    A model's probability, a word of its reply and the share of several replies are different quantities: a curve of one
    says nothing about another. "unstated" are those that don't say. Verdicts of persons are labels and have no curve.
    Unknown ones without an origin, as after an outage, count only where all others have the same origin.
    """
    indices: dict[str, list[int]] = {}
    for index, verdict in enumerate(verdicts):
        if verdict.judge != PERSON and (verdict.source or verdict.p_success is not None):
            indices.setdefault(verdict.source or "unstated", []).append(index)
    if len(indices) == 1:
        [only] = indices.values()
        only += [
            i for i, v in enumerate(verdicts)
            if v.judge != PERSON and v.source is None and v.p_success is None
        ]  # fmt: skip
    return {source: np.array(sorted(found)) for source, found in sorted(indices.items())}


class Curve(NamedTuple):
    """Rates of a detector at every threshold, from the strictest to the most lenient."""

    thresholds: Float64[np.ndarray, "k"]
    precision: Float64[np.ndarray, "k"]
    recall: Float64[np.ndarray, "k"]
    false_positive_rate: Float64[np.ndarray, "k"]
    """Share of failures called success."""

    @property
    def area(self) -> float:
        """Area under the ROC curve: the probability that a success gets a higher P than a failure."""
        x = np.concatenate([[0.0], self.false_positive_rate, [1.0]])
        y = np.concatenate([[0.0], self.recall, [1.0]])
        return float(np.trapezoid(y, x))


def roc_curve(p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> Curve:
    """Return the rates at each P that occurs. Raises ConfigError unless there are successes and failures."""
    known = ~np.isnan(p)
    p, truth = p[known], truth[known]
    if truth.all() or not truth.any():
        raise ConfigError(
            f"calibrating needs successes and failures; there are {int(truth.sum())} and {int((~truth).sum())}"
        )
    order = np.argsort(-p, kind="stable")
    hits, false = np.cumsum(truth[order]), np.cumsum(~truth[order])
    last = np.append(np.diff(p[order]) != 0, True)
    hits, false = hits[last], false[last]
    return Curve(
        thresholds=p[order][last],
        precision=hits / (hits + false),
        recall=hits / hits[-1],
        false_positive_rate=false / false[-1],
    )


def choose_threshold(
    curve: Curve, *, precision: float | None = None, recall: float | None = None
) -> float:
    """Return the threshold with the highest F1, or the best one with a required precision or recall.

    A threshold lies halfway between two values of P that occur.

    Args:
        curve: rates of the detector.
        precision: least precision, at the highest recall.
        recall: least recall, at the highest precision.

    Raises:
        ConfigError: both are given, or no threshold meets the requirement; the message gives the best value.
    """
    if precision is not None and recall is not None:
        raise ConfigError("choose a precision or a recall, not both")
    if precision is not None:
        fits, value = curve.precision >= precision, curve.recall
    elif recall is not None:
        fits, value = curve.recall >= recall, curve.precision
    else:
        fits = np.ones(len(curve.recall), bool)
        value = curve.precision * curve.recall / (curve.precision + curve.recall + 1e-12)
    if not fits.any():
        best = (curve.precision if precision is not None else curve.recall).max()
        raise ConfigError(f"no threshold reaches {precision or recall}; the best is {best:.3f}")
    best_index = int(np.flatnonzero(fits)[np.argmax(value[fits])])
    below = np.append(curve.thresholds[1:], 0.0)[best_index]
    middle = (curve.thresholds[best_index] + below) / 2
    return float(np.clip(middle, 1e-6, 1 - 1e-6))


class Reliability(NamedTuple):
    """Share of successes by predicted probability, in bins."""

    predicted: Float64[np.ndarray, "k"]
    """Mean P of each bin."""
    observed: Float64[np.ndarray, "k"]
    """Share of successes in each bin."""
    episodes: Int64[np.ndarray, "k"]
    """Number of episodes in each bin."""

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between predicted and observed, weighted by episodes."""
        gap = np.abs(self.predicted - self.observed)
        return float((gap * self.episodes).sum() / self.episodes.sum())


def reliability(
    p: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int = 10
) -> Reliability:
    """Return the reliability in bins of equal width over P, without empty bins."""
    known = ~np.isnan(p)
    p, truth = p[known], truth[known]
    number = np.minimum((p * bins).astype(int), bins - 1)
    used = np.unique(number)
    return Reliability(
        predicted=np.array([p[number == b].mean() for b in used]),
        observed=np.array([truth[number == b].mean() for b in used]),
        episodes=np.array([(number == b).sum() for b in used]),
    )
