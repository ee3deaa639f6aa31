"""Hindsight relabeling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar.data.relabel import (
    Final,
    Geometric,
    Goals,
    Uniform,
    next_gripper_changes,
    summed_actions,
)
from soar.errors import ConfigError
from soar.utils.config import from_plain, to_plain

GOALS: list[Goals] = [Uniform(0, 24), Uniform(3, 12), Geometric(0.9), Final()]


@given(st.sampled_from(GOALS), st.lists(st.integers(1, 40), min_size=1), st.integers(0, 2**32 - 1))
def test_a_goal_is_never_earlier_and_never_in_another_episode(
    goals: Goals, lengths: list[int], seed: int
) -> None:
    ends = np.cumsum([n + 1 for n in lengths]) - 1
    last = np.repeat(ends, lengths)
    frames = np.concatenate([np.arange(e - n, e) for e, n in zip(ends, lengths, strict=True)])
    drawn = goals.draw(np.random.default_rng(seed), frames, last)
    assert (drawn >= frames).all()
    assert (drawn <= last).all()


def test_uniform_goals_are_uniform_over_the_frames_that_are_left() -> None:
    n = 40_000
    rng = np.random.default_rng(0)
    far = Uniform(0, 24).draw(rng, np.zeros(n, np.int64), np.full(n, 100))
    near = Uniform(0, 24).draw(rng, np.full(n, 97), np.full(n, 100))
    assert set(far) == set(range(25))
    assert set(near) == {97, 98, 99, 100}
    assert np.bincount(far).std() < 3 * np.sqrt(n / 25)
    assert np.bincount(near)[97:].std() < 3 * np.sqrt(n / 4)


def test_geometric_goals_have_the_mean_of_their_discount() -> None:
    n = 40_000
    drawn = Geometric(0.9).draw(np.random.default_rng(0), np.zeros(n, np.int64), np.full(n, 10_000))
    assert drawn.min() == 1
    assert drawn.mean() == pytest.approx(10, rel=0.03)


def test_goals_convert_to_plain_data_and_back() -> None:
    for goals in GOALS:
        assert from_plain(Goals, to_plain(goals, Goals), "goals") == goals
    with pytest.raises(ConfigError, match="uniform, geometric, final"):
        from_plain(Goals, {"name": "sometimes"}, "goals")


def test_invalid_goals_are_refused() -> None:
    with pytest.raises(ConfigError, match="valid: 0 <= low <= high"):
        Uniform(5, 4)
    with pytest.raises(ConfigError, match="below 1"):
        Geometric(1.0)


def test_motion_is_summed_within_the_episode_and_the_gripper_command_is_not() -> None:
    actions = np.tile(np.arange(1, 6, dtype=np.float32)[:, None], (1, 7))
    frames, last = np.array([0, 1, 2]), np.array([3, 3, 3])
    summed = summed_actions(actions, frames, last, 2)
    np.testing.assert_array_equal(summed[:, 0], [1 + 2, 2 + 3, 3])
    np.testing.assert_array_equal(summed[:, 6], [1, 2, 3])
    np.testing.assert_array_equal(summed_actions(actions, frames, last, 1), actions[:3])
    assert actions[0, 0] == 1


def test_the_next_gripper_change_is_in_the_same_episode():
    actions = np.zeros((9, 7), np.float32)
    # Frames 5 and 8 are the last of their episodes: they have no action.
    actions[:, 6] = np.array([1, 1, 0, 0, 1, 0, 1, 0, 0])
    changes = next_gripper_changes(actions, np.array([0, 6, 9]))
    np.testing.assert_array_equal(changes, [2, 2, 4, 4, 5, 5, 7, 8, 8])
