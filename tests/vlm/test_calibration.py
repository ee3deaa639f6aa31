import numpy as np
import pytest

from soar.errors import ConfigError
from soar.types import Verdict
from soar.utils.statistics import Confusion
from soar.vlm.calibration import by_source, choose_threshold, confusion, reliability, roc_curve

P = np.array([0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1, np.nan])
TRUTH = np.array([True, True, False, True, False, True, False, True])


def test_confusion_counts_a_hand_worked_example():
    # said success at 0.5: .95 T, .9 T, .8 F, .6 T; said failure: .4 F, .2 T, .1 F; NaN unknown
    assert confusion(P, TRUTH) == Confusion(3, 1, 1, 2, 1)
    found = confusion(P, TRUTH)
    assert found.accuracy.value == pytest.approx(5 / 7)
    assert found.precision.value == pytest.approx(3 / 4)
    assert found.recall.value == pytest.approx(3 / 4)


def test_confusions_add_up():
    assert Confusion(1, 2, 3, 4, 5) + Confusion(1, 1, 1, 1, 1) == Confusion(2, 3, 4, 5, 6)


def test_the_roc_curve_goes_through_the_hand_worked_points():
    found = roc_curve(P, TRUTH)
    assert found.thresholds.tolist() == [0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1]
    assert found.recall.tolist() == [0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert found.precision[[1, 2, 3]].tolist() == pytest.approx([1.0, 2 / 3, 3 / 4])
    # pairs (success, failure) ranked right: .95 and .9 beat 3 each, .6 beats 2, .2 beats 1, of 12
    assert found.area == pytest.approx(9 / 12)


def test_the_area_is_the_probability_of_ranking_a_pair_right_with_ties_half():
    rng = np.random.default_rng(0)
    p, truth = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in p[truth] for b in p[~truth]]
    assert roc_curve(p, truth).area == pytest.approx(np.mean(pairs))


def test_a_threshold_meets_its_requirement_at_the_least_cost():
    found = roc_curve(P, TRUTH)
    strict = choose_threshold(found, precision=0.9)
    assert 0.8 < strict <= 0.9
    assert confusion(P, TRUTH, strict).recall.value == 0.5
    lenient = choose_threshold(found, recall=1.0)
    assert 0.1 < lenient <= 0.2
    assert 0 < choose_threshold(found) < 1


def test_an_unreachable_requirement_is_refused_with_the_best_value():
    worst = roc_curve(np.array([0.9, 0.1]), np.array([False, True]))
    with pytest.raises(ConfigError, match=r"the best is 0\.500"):
        choose_threshold(worst, precision=0.9)
    with pytest.raises(ConfigError, match="successes and failures"):
        roc_curve(np.array([0.9, 0.1]), np.array([True, True]))
    with pytest.raises(ConfigError, match="not both"):
        choose_threshold(worst, precision=0.9, recall=0.9)


def test_a_calibrated_detector_has_a_small_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    honest = reliability(p, rng.random(20_000) < p)
    assert honest.error < 0.02
    assert honest.episodes.sum() == 20_000
    assert reliability(p**3, rng.random(20_000) < p).error > 0.2


def test_verdicts_of_different_origins_are_never_in_one_curve():
    verdicts = [
        Verdict("success", 0.9, source="probability"),
        Verdict("failure", 0.0, source="word"),
        Verdict("success", 1.0, judge="person"),
        Verdict("unknown", source="probability"),
        Verdict("success", 0.7),
        Verdict("success", 2 / 3, source="vote"),
        Verdict("unknown"),
    ]
    found = {source: indices.tolist() for source, indices in by_source(verdicts).items()}
    assert found == {"probability": [0, 3], "unstated": [4], "vote": [5], "word": [1]}


def test_unknown_verdicts_without_an_origin_count_where_all_others_have_the_same():
    verdicts = [Verdict("success", 0.9, source="word"), Verdict("unknown")]
    assert by_source(verdicts)["word"].tolist() == [0, 1]
    assert by_source([Verdict("unknown"), Verdict("success", 1.0, judge="person")]) == {}
