from dataclasses import replace

import numpy as np
import pytest

from soar.critics.config import RewardConfig
from soar.critics.learning.returns import step_rewards, success_probability, windows
from soar.types import Verdict

DISCOUNT = 0.98
REWARDS = RewardConfig()


@pytest.mark.parametrize("length", [3, 2, 1])
def test_a_short_success_is_rewarded_in_all_its_steps(length):
    found = step_rewards(length, 1.0, REWARDS, DISCOUNT)
    assert not found.rewards.any()
    assert not found.masks.any()


def test_a_success_is_terminal_in_its_last_three_steps_only():
    found = step_rewards(6, 1.0, REWARDS, DISCOUNT)
    assert found.rewards.tolist() == [-1, -1, -1, 0, 0, 0]
    assert found.masks.tolist() == [1, 1, 1, 0, 0, 0]


def test_a_failure_is_a_timeout_and_not_the_end():
    found = windows(5, 0.0, REWARDS, DISCOUNT, 1)
    assert found.discounts.tolist() == [DISCOUNT] * 5
    q = 0.0
    for _ in range(2000):  # the value of a state that looks like the one before
        q = found.rewards[-1] + found.discounts[-1] * q
    assert q == pytest.approx(-1 / (1 - DISCOUNT))
    assert found.returns == pytest.approx([-50] * 5)


def test_a_terminal_failure_costs_what_never_succeeding_costs():
    found = windows(4, 0.0, replace(REWARDS, failure="terminal"), DISCOUNT, 1)
    assert found.discounts[-1] == 0
    assert found.rewards[-1] == pytest.approx(-50)


@pytest.mark.parametrize(("steps", "expected"), [(20, -16.6), (50, -31.8), (100, -43.4)])
def test_returns_of_a_success_are_those_of_cal_ql(steps, expected):
    found = windows(steps + 3, 1.0, REWARDS, DISCOUNT, 1)
    assert found.returns[0] == pytest.approx(expected, abs=0.05)


def test_windows_stop_at_the_first_terminal_step():
    ptr = RewardConfig(success=10.0)
    found = windows(6, 1.0, ptr, 0.5, 4)
    # Step 1: -1, -1, and the first of the three last steps with 10; the two steps after it don't count.
    assert found.rewards[1] == pytest.approx(-1 - 0.5 + 0.25 * 10)
    assert found.discounts[1] == 0
    assert found.rewards[5] == 10


def test_windows_end_at_the_last_frame_of_a_failure():
    found = windows(5, 0.0, REWARDS, 0.5, 3)
    assert found.ahead.tolist() == [3, 3, 3, 2, 1]
    assert found.discounts.tolist() == [0.125, 0.125, 0.125, 0.25, 0.5]
    assert found.rewards.tolist() == [-1.75, -1.75, -1.75, -1.5, -1]


def test_windows_and_one_step_targets_agree_on_true_values():
    for success in (0.0, 1.0):
        one, three = (windows(9, success, REWARDS, DISCOUNT, n) for n in (1, 3))
        values = np.append(one.returns, -50)
        for w in (one, three):
            target = w.rewards + w.discounts * values[np.arange(9) + w.ahead]
            np.testing.assert_allclose(target, one.returns)


def test_probable_successes_have_expected_rewards_masks_and_returns():
    soft, sure, no = (windows(6, p, REWARDS, DISCOUNT, 1) for p in (0.3, 1.0, 0.0))
    for name in ("rewards", "discounts", "returns"):
        mean = 0.3 * getattr(sure, name) + 0.7 * getattr(no, name)
        np.testing.assert_allclose(getattr(soft, name), mean)


def test_labels_are_the_outcome_or_its_probability_and_never_unknown():
    soft = replace(REWARDS, labels="probability")
    likely = Verdict("success", 0.8)
    assert success_probability(likely, REWARDS) == 1
    assert success_probability(likely, soft) == 0.8
    assert success_probability(Verdict("failure"), soft) == 0
    assert success_probability(Verdict("unknown", 0.5), soft) is None


def test_with_labels_of_takeovers_only_the_step_before_each_costs_and_nothing_ends():
    config = RewardConfig(labels="takeover")
    w = windows(6, 0.0, config, 0.5, 1, (3, 0))
    assert w.rewards.tolist() == [0, 0, -1, 0, 0, 0]  # at step 0 the policy had done nothing yet
    assert w.discounts.tolist() == [0.5] * 6
    assert w.returns.tolist() == [-0.25, -0.5, -1, 0, 0, 0]
