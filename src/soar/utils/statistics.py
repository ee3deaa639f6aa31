"""Intervals and tests for success rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return a success rate with Wilson's score interval, which stays in [0, 1] and is valid for few trials.

    With p the rate, n the trials and z the normal quantile,
    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n). No trials: 0.5 in [0, 1].

    Raises:
        ValueError: not 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials are impossible")
    if trials == 0:
        return Interval(0.5, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, z2n = successes / trials, z * z / trials
    center = (rate + z2n / 2) / (1 + z2n)
    half = z * sqrt(rate * (1 - rate) / trials + z2n / (4 * trials)) / (1 + z2n)
    return Interval(
        rate,
        0.0 if successes == 0 else center - half,
        1.0 if successes == trials else center + half,
    )


def paired_bootstrap(
    before: Sequence[bool],
    after: Sequence[bool],
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the difference of success rates on the same starts, after minus before, with a percentile interval.

    Pairs are resampled within each group (task), because the tasks are fixed and the starts are the sample; the
    difference is the mean over all pairs. Pairs that all agree give an interval of zero width: ten equal pairs don't
    prove equality, so read it beside the two Wilson intervals.

    Raises:
        ValueError: lengths differ, or there is no pair.
    """
    names = ["" for _ in before] if groups is None else list(groups)
    if not len(before) == len(after) == len(names) or not names:
        raise ValueError(
            f"pairs must match and exist: {len(before)} before, {len(after)} after, {len(names)} groups"
        )
    change = np.asarray(after, int) - np.asarray(before, int)
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for name in sorted(set(names)):
        own = change[[n == name for n in names]]
        shares = [(own == value).mean() for value in (-1, 0, 1)]
        total += rng.multinomial(len(own), shares, resamples) @ np.array([-1, 0, 1])
    tail = (1 - confidence) / 2
    low, high = np.quantile(total / len(change), [tail, 1 - tail])
    return Interval(float(change.mean()), float(low), float(high))


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Return McNemar's exact two-sided p-value.

    With k the smaller of the two numbers of pairs that differ, and n their sum,
    p = min(1, 2 sum_{i<=k} C(n, i) / 2^n).

    Raises:
        ValueError: lengths differ.
    """
    won = sum(a and not b for b, a in zip(before, after, strict=True))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    n, k = won + lost, min(won, lost)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / (1 << n))


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix of verdicts; unknown verdicts, which are no labels, are counted separately."""

    true_success: int = 0
    false_success: int = 0
    """Failures judged a success."""
    false_failure: int = 0
    """Successes judged a failure."""
    true_failure: int = 0
    unknown: int = 0

    @classmethod
    def of(cls, verdicts: Iterable[tuple[str, bool]]) -> Confusion:
        """Count pairs of an outcome ("success", "failure" or "unknown") and the truth."""
        counts = Counter(verdicts)
        return cls(
            true_success=counts["success", True],
            false_success=counts["success", False],
            false_failure=counts["failure", True],
            true_failure=counts["failure", False],
            unknown=counts["unknown", True] + counts["unknown", False],
        )

    @property
    def judged(self) -> int:
        """Number of verdicts that aren't unknown."""
        return self.true_success + self.false_success + self.false_failure + self.true_failure

    @property
    def accuracy(self) -> Interval:
        """Share of correct verdicts."""
        return wilson(self.true_success + self.true_failure, self.judged)

    @property
    def precision(self) -> Interval:
        """Share of true successes among the episodes judged a success: the purity of the training data."""
        return wilson(self.true_success, self.true_success + self.false_success)

    @property
    def recall(self) -> Interval:
        """Share of true successes that were judged a success: how much of the good data is used."""
        return wilson(self.true_success, self.true_success + self.false_failure)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
