"""Intervals and tests, against numbers computed by hand or taken from the literature."""

import numpy as np
import pytest

from soar.utils import statistics as stats


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),  # z^2 / (n + z^2) = 3.84146 / 13.84146
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),  # .5 -+ z sqrt(.25/10 + z^2/400) / (1 + z^2/10)
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, method 3
        (15, 148, 0.0624, 0.1605),  # likewise
        (1, 29, 0.0061, 0.1718),  # likewise
    ],
)
def test_wilson_agrees_with_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    interval = stats.wilson(successes, trials)
    assert interval == pytest.approx((successes / trials, low, high), abs=5.1e-5)


def test_no_trials_give_the_whole_interval() -> None:
    assert stats.wilson(0, 0)[1:] == (0, 1)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        stats.wilson(3, 2)


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 2 / 32),
        (8, 1, 2 * (1 + 9) / 512),
        (3, 3, 1.0),
        (2, 10, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_is_the_exact_binomial_tail(won: int, lost: int, p: float) -> None:
    before = [False] * won + [True] * lost + [True, False]
    after = [True] * won + [False] * lost + [True, False]
    assert stats.mcnemar(before, after) == pytest.approx(p)


def test_the_paired_difference_is_after_minus_before() -> None:
    before, after = [False] * 8 + [True] * 2, [True] * 4 + [False] * 4 + [True] * 2
    value, low, high = stats.paired_bootstrap(before, after)
    assert value == pytest.approx(0.4)
    assert (low, high) == pytest.approx((0.1, 0.7))  # quantiles of Binomial(10, .4) / 10


def test_the_bootstrap_approaches_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    before, after = list(rng.random(4000) < 0.3), list(rng.random(4000) < 0.5)
    change = np.subtract(after, before, dtype=float)
    value, low, high = stats.paired_bootstrap([bool(b) for b in before], [bool(a) for a in after])
    half = 1.96 * change.std() / 4000**0.5
    assert (low, high) == pytest.approx((value - half, value + half), abs=1e-3)


def test_groups_are_resampled_separately() -> None:
    before, after = [False] * 10, [True] * 5 + [False] * 5
    assert stats.paired_bootstrap(before, after, ["a"] * 5 + ["b"] * 5) == (0.5, 0.5, 0.5)


def test_the_same_pairs_give_the_same_interval() -> None:
    before, after = [False, True, False], [True, True, False]
    assert stats.paired_bootstrap(before, after) == stats.paired_bootstrap(before, after)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="pairs must match"):
        stats.paired_bootstrap([True], [True, False])
    with pytest.raises(ValueError, match="pairs must match"):
        stats.paired_bootstrap([], [])
