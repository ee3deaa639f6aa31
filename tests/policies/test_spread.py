"""A policy of 5 Hz on a robot of 15 Hz acts in every third step, and its actions add up."""

from __future__ import annotations

import numpy as np
import pytest

from soar.contract.compare import contract_of, differences
from soar.contract.contract import WIDOWX
from soar.policies.spread import spread_policy
from soar.robots.toy import ToyRobot


class Counting:
    name = "counting"
    contract = WIDOWX
    calls = 0

    def act(self, observations, goals, rng, *, noise=0.0):
        self.calls += 1
        return np.full((len(observations), 7), 0.03 * self.calls, np.float32)

    def reset(self):
        pass


def test_actions_are_spread_over_three_steps_and_add_up():
    counting = Counting()
    policy = spread_policy(counting, 3)
    seen, rng = [ToyRobot().observe()], np.random.default_rng(0)
    actions = np.stack([policy.act(seen, ["go"], rng)[0] for _ in range(6)])
    assert counting.calls == 2
    assert actions[:3, :6].sum(0) == pytest.approx(np.full(6, 0.03), abs=1e-6)
    assert actions[3:, :6].sum(0) == pytest.approx(np.full(6, 0.06), abs=1e-6)
    assert actions[:, 6] == pytest.approx([0.03] * 3 + [0.06] * 3)


def test_it_declares_the_shorter_period():
    found = contract_of(spread_policy(Counting(), 3))
    assert found is not None
    assert [d.field for d in differences(found, WIDOWX)] == ["period_s"]
    assert found.period_s == pytest.approx(1 / 15)


def test_it_passes_the_instructions_on() -> None:
    class Instructed(Counting):
        def instruct(self, instructions):
            self.told = instructions

    policy = Instructed()
    spread_policy(policy, 3).instruct(["go"])  # type: ignore[attr-defined]
    assert policy.told == ["go"]
    spread_policy(Counting(), 3).instruct(["go"])  # type: ignore[attr-defined]
