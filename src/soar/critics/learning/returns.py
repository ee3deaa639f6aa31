"""Rewards, masks and returns of an episode, derived from its verdict whenever they are needed.

A success earns `success` in its last steps and ends there; every other step earns `step`. A failure earns `step`
throughout and bootstraps from its last frame, because it ended by a time limit. With a success probability between 0
and 1, rewards, masks and returns are expectations over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from soar.critics.config import RewardConfig
from soar.types import Verdict


class StepRewards(NamedTuple):
    """Rewards of an episode's T steps."""

    rewards: Float64[np.ndarray, " t"]
    masks: Float64[np.ndarray, " t"]
    """Probability that the episode goes on after the step: 0 at a terminal step."""


class Windows(NamedTuple):
    """Targets of an episode's T steps: `rewards` + `discounts` x the value `ahead` steps later."""

    rewards: Float64[np.ndarray, " t"]
    discounts: Float64[np.ndarray, " t"]
    ahead: Int64[np.ndarray, " t"]
    returns: Float64[np.ndarray, " t"]
    """Monte-Carlo returns, Cal-QL's lower bound."""


def success_probability(verdict: Verdict, config: RewardConfig) -> float | None:
    """Return the label of an episode: 0 or 1 by the verdict's outcome, or the mean P(success) of its votes.

    It is None where the outcome is unknown.
    """
    if verdict.outcome == "unknown":
        return None
    if config.labels == "probability" and verdict.p_success is not None:
        votes = [v.p_success for v in verdict.votes if v.p_success is not None]
        return sum(votes) / len(votes) if votes else verdict.p_success
    return float(verdict.outcome == "success")


def step_rewards(length: int, success: float, config: RewardConfig, discount: float) -> StepRewards:
    """Return rewards and masks of an episode.

    Args:
        length: T, number of steps.
        success: probability that the episode is a success.
        config: rewards.
        discount: discount factor, for the cost of a terminal failure.
    """
    won, lost = np.full(length, config.step), np.full(length, config.step)
    goes_on, times_out = np.ones(length), np.ones(length)
    last = max(0, length - config.final_steps)
    won[last:], goes_on[last:] = config.success, 0
    if config.failure == "terminal":
        lost[-1], times_out[-1] = config.step / (1 - discount), 0
    rewards = success * won + (1 - success) * lost
    return StepRewards(rewards, success * goes_on + (1 - success) * times_out)


def monte_carlo_returns(
    length: int, success: float, config: RewardConfig, discount: float
) -> Float64[np.ndarray, " t"]:
    """Return the discounted sum of each step's later rewards.

    A failure's is that of a robot that never succeeds, step / (1 - discount), at every step (Cal-QL's code), not the
    sum up to the time limit.
    """
    rewards, masks = step_rewards(length, 1.0, config, discount)
    returns = np.zeros(length)
    following = 0.0
    for t in reversed(range(length)):
        following = returns[t] = rewards[t] + discount * masks[t] * following
    expected: Float64[np.ndarray, " t"] = success * returns + (1 - success) * config.step / (
        1 - discount
    )
    return expected


def takeover_rewards(length: int, takeovers: Sequence[int], config: RewardConfig) -> StepRewards:
    """Return rewards and masks of an episode whose policy learns from takeovers alone (RLIF).

    Args:
        length: T, number of steps.
        takeovers: steps at which a person took the arm; the policy's step before each costs `config.step`.
        config: rewards.
    """
    rewards = np.zeros(length)
    rewards[[t - 1 for t in takeovers if t > 0]] = config.step
    return StepRewards(rewards, np.ones(length))


@lru_cache(maxsize=4096)
def windows(
    length: int,
    success: float,
    config: RewardConfig,
    discount: float,
    n_step: int,
    takeovers: tuple[int, ...] = (),
) -> Windows:
    """Return the n-step targets of an episode's steps, shorter ones near its end.

    y_t = sum_i discount^i (prod_{j<i} m_{t+j}) r_{t+i} + discount^n (prod_{j<n} m_{t+j}) V(s_{t+n}): nothing counts
    after a terminal step. `takeovers`: see `takeover_rewards`, for its labels.
    """
    by_takeover = config.labels == "takeover"
    rewards, masks = (
        takeover_rewards(length, takeovers, config)
        if by_takeover
        else step_rewards(length, success, config, discount)
    )
    sums, discounts = np.zeros(length), np.ones(length)
    steps = np.arange(length)
    for i in range(n_step):
        inside = steps[steps + i < length]
        sums[inside] += discounts[inside] * rewards[inside + i]
        discounts[inside] *= discount * masks[inside + i]
    ahead: Int64[np.ndarray, " t"] = np.minimum(n_step, length - steps)
    returns = (
        _discounted_sums(rewards, discount)
        if by_takeover
        else monte_carlo_returns(length, success, config, discount)
    )
    return Windows(sums, discounts, ahead, returns)


def _discounted_sums(
    rewards: Float64[np.ndarray, " t"], discount: float
) -> Float64[np.ndarray, " t"]:
    sums, following = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        following = sums[t] = rewards[t] + discount * following
    return sums
