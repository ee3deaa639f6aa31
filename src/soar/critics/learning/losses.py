"""Losses of critics and their actors as functions of tensors: e Q functions, n states, k sampled actions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Candidates(NamedTuple):
    """Values of actions that were sampled at each of n states."""

    values: Float[Tensor, "e n k"]
    log_densities: Float[Tensor, "n k"]
    """Log-densities of the actions under the distribution that they were sampled from."""


class Gap(NamedTuple):
    """CQL's regularizer."""

    gap: Float[Tensor, "e n"]
    """Soft maximum of the sampled actions' values, less the value of the data's action."""
    bound_rate: Float[Tensor, ""]
    """Share of the policy's actions whose value was below the Monte-Carlo return."""


def td_target(
    rewards: Float[Tensor, " n"], discounts: Float[Tensor, " n"], next_values: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return y = r + discount x V(s'). `discounts` are 0 after terminal steps."""
    return rewards + discounts * next_values


def td_loss(q: Float[Tensor, "e n"], target: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the squared errors, averaged over states and summed over Q functions."""
    return (q - target).square().mean(1).sum()


def max_backup(next_q: Float[Tensor, "e n k"]) -> Float[Tensor, " n"]:
    """Return max_a min_j Q_j(s', a) over the sampled actions (CQL's max target backup)."""
    return next_q.amin(0).amax(1)


def expectile_loss(
    q: Float[Tensor, " n"], v: Float[Tensor, " n"], expectile: float
) -> Float[Tensor, ""]:
    """Return the mean of |expectile - 1(u < 0)| u^2 with u = q - v (IQL, Eq. 5)."""
    u = q - v
    weight = torch.where(u > 0, expectile, 1 - expectile)
    return (weight * u.square()).mean()


def uniform_log_density(dim: int) -> float:
    """Return the log-density of the uniform distribution on [-1, 1]^dim."""
    return dim * math.log(0.5)


def conservative_gap(
    data_q: Float[Tensor, "e n"],
    uniform: Candidates,
    policy: Candidates,
    *,
    lower_bound: Float[Tensor, " n"] | None = None,
    importance_sampling: bool = True,
    temperature: float = 1.0,
) -> Gap:
    """Return CQL's regularizer for each Q function and state (Kumar et al. 2020, Eq. 4, with sampled actions).

    With importance sampling, temperature x logsumexp((Q - log density) / temperature) over all sampled actions, less
    the data action's Q. Without it, the data's action joins the set, and temperature x log(size) is subtracted.

    Args:
        data_q: values of the data's actions.
        uniform: actions sampled from the box.
        policy: actions sampled from the policy, at the state or at the next one.
        lower_bound: Monte-Carlo returns, below which the values of the policy's actions are not pushed (Cal-QL, Eq. 6);
            None is CQL. The uniform actions are not bounded.
        importance_sampling: whether densities are divided out.
        temperature: of the soft maximum.
    """
    values, bound_rate = policy.values, data_q.new_zeros(())
    if lower_bound is not None:
        bound = lower_bound[None, :, None]
        bound_rate = (values < bound).float().mean()
        values = values.maximum(bound)
    if importance_sampling:
        parts = [uniform.values - uniform.log_densities, values - policy.log_densities]
        scores = torch.cat(parts, 2)
    else:
        scores = torch.cat([uniform.values, values, data_q[..., None]], 2)
        scores = scores - temperature * math.log(scores.shape[2])
    soft_maximum = temperature * torch.logsumexp(scores / temperature, 2)
    return Gap(soft_maximum - data_q, bound_rate)


def lagrange_multiplier(log_multiplier: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return the multiplier exp(log_multiplier), at most 1e6."""
    return log_multiplier.exp().clamp(0, 1e6)


def lagrange_loss(
    log_multiplier: Float[Tensor, ""], gaps: Float[Tensor, " e"], target: float, alpha: float
) -> Float[Tensor, ""]:
    """Return the multiplier's loss, which raises the multiplier while the mean gaps exceed the target."""
    excess = alpha * (gaps.detach() - target)
    return -(lagrange_multiplier(log_multiplier) * excess).mean()


def actor_loss(
    log_prob: Float[Tensor, " n"], q: Float[Tensor, " n"], temperature: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """Return SAC's loss of actions that the actor sampled: temperature x log pi(a|s) - min_j Q_j(s, a)."""
    return (temperature * log_prob - q).mean()


def regularized_actor_loss(
    log_prob: Float[Tensor, " n"],
    q: Float[Tensor, " n"],
    temperature: Float[Tensor, ""] | float,
    data_log_prob: Float[Tensor, " n"],
    bc_weight: float,
) -> Float[Tensor, ""]:
    """Return SAC's loss divided by the mean of |Q|, plus behavior cloning, so that both have comparable size.

    RoboFuME states the comparable size, OGBench's DDPG+BC the normalization.
    """
    scale = q.detach().abs().mean().clamp(min=1e-6)
    return actor_loss(log_prob, q, temperature) / scale - bc_weight * data_log_prob.mean()


def temperature_loss(
    log_temperature: Float[Tensor, ""], log_prob: Float[Tensor, " n"], target_entropy: float
) -> Float[Tensor, ""]:
    """Return the loss that moves the policy's entropy to the target."""
    return -log_temperature * (log_prob.detach().mean() + target_entropy)


def advantage_weights(
    advantages: Float[Tensor, " n"], temperature: float = 1.0, largest: float = 100.0
) -> Float[Tensor, " n"]:
    """Return AWR's weights exp(A / temperature), at most `largest` (IQL, Eq. 7)."""
    return (advantages / temperature).exp().clamp(max=largest)


def weighted_cloning_loss(
    weights: Float[Tensor, " n"], log_prob: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return the weighted negative log-likelihood of the data's actions (IQL, Eq. 7)."""
    return -(weights.detach() * log_prob).mean()
