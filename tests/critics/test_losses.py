"""The common faults of critics' losses (test names say which)."""

import math

import numpy as np
import pytest
import torch

from soar.critics.actions import BRIDGE_BOUNDS, ActionBounds
from soar.critics.learning.losses import (
    Candidates,
    conservative_gap,
    expectile_loss,
    uniform_log_density,
)
from soar.critics.network import EnsembleMLP
from soar.errors import ConfigError

DIM, STATES, COUNT = 7, 3, 4


def constant(value, count, log_density):
    shape = (STATES, count)
    return Candidates(torch.full((2, *shape), value), torch.full(shape, log_density))


def test_the_uniform_density_has_the_right_sign():
    density = uniform_log_density(DIM)
    uniform, policy = constant(-3.0, COUNT, density), constant(-3.0, 2 * COUNT, density)
    gap = conservative_gap(torch.full((2, STATES), -3.0), uniform, policy).gap
    expected = math.log(3 * COUNT) + DIM * math.log(2)
    torch.testing.assert_close(gap, torch.full((2, STATES), expected))


def test_without_importance_sampling_a_constant_q_has_no_gap():
    uniform, policy = constant(2.0, COUNT, -1.0), constant(2.0, COUNT, -5.0)
    data = torch.full((2, STATES), 2.0)
    gap = conservative_gap(data, uniform, policy, importance_sampling=False).gap
    torch.testing.assert_close(gap, torch.zeros(2, STATES), atol=1e-6, rtol=0)


def test_bounded_values_of_the_policys_actions_have_no_gradient():
    values = torch.randn(2, STATES, COUNT, requires_grad=True)
    uniform = Candidates(
        torch.randn(2, STATES, COUNT, requires_grad=True), torch.zeros(STATES, COUNT)
    )
    bound = torch.full((STATES,), 100.0)
    policy = Candidates(values, torch.zeros(STATES, COUNT))
    found = conservative_gap(torch.zeros(2, STATES), uniform, policy, lower_bound=bound)
    found.gap.sum().backward()
    assert values.grad is not None
    assert not values.grad.any()
    assert found.bound_rate == 1
    assert uniform.values.grad is not None
    assert uniform.values.grad.any()


def test_unbounded_values_are_those_of_cql():
    uniform, values = constant(0.5, COUNT, 0.0), torch.randn(2, STATES, COUNT)
    policy, data = Candidates(values, torch.zeros(STATES, COUNT)), torch.zeros(2, STATES)
    bounded = conservative_gap(data, uniform, policy, lower_bound=torch.full((STATES,), -100.0))
    torch.testing.assert_close(bounded.gap, conservative_gap(data, uniform, policy).gap)
    assert bounded.bound_rate == 0


def test_a_high_expectile_punishes_too_small_values_more():
    q, low, high = torch.zeros(1), -torch.ones(1), torch.ones(1)
    assert expectile_loss(q, low, 0.7) == pytest.approx(0.7)
    assert expectile_loss(q, high, 0.7) == pytest.approx(0.3)


@pytest.mark.parametrize("bounds", [ActionBounds(), BRIDGE_BOUNDS])
def test_actions_survive_the_way_to_the_critics_units_and_back(bounds):
    rng = np.random.default_rng(0)
    low, high = np.array(bounds.low), np.array(bounds.high)
    actions = torch.tensor(rng.uniform(low, high, (50, 7)) * 0.99, dtype=torch.float32)
    there = bounds.to_box(actions)
    assert there.abs().max() < 1
    assert (bounds.to_physical(there) - actions).abs().max() < 1e-6
    assert bounds.clipped_share(actions) == 0


def test_actions_out_of_bounds_are_clipped_and_counted():
    actions = torch.zeros(1, 7)
    actions[0, 0], actions[0, 6] = 0.06, 0.5
    assert ActionBounds().to_box(actions)[0, 0] == pytest.approx(1 - 1e-5)
    assert ActionBounds().clipped_share(actions) == pytest.approx(1 / 7)


def test_bounds_need_low_below_high():
    with pytest.raises(ConfigError, match="low below high"):
        ActionBounds(low=(0.0,) * 7, high=(0.0,) * 7)


@pytest.mark.parametrize("inject", ["first", "action", "both"])
def test_the_action_reaches_the_layers_that_it_should(inject):
    torch.manual_seed(0)
    net = EnsembleMLP(5, 7, (16, 16, 16), ensemble=2, inject=inject, layer_norm=True)
    actions = torch.randn(4, 3, 7, requires_grad=True)
    net(torch.randn(4, 5), actions).sum().backward()
    assert actions.grad is not None
    assert actions.grad.norm() > 0
    weights = [layer.of_actions for layer in net.layers]
    reached = [bool(w.grad.norm() > 0) for w in weights if w is not None]  # type: ignore[union-attr,operator]
    assert reached == [True] * (1 if inject == "first" else 3)


def test_several_actions_of_a_state_have_the_values_of_each_alone():
    torch.manual_seed(0)
    net = EnsembleMLP(5, 7, (16, 16), ensemble=2, inject="both", layer_norm=True)
    features, actions = torch.randn(4, 5), torch.randn(4, 3, 7)
    together = net(features, actions)
    alone = torch.cat([net(features, actions[:, i : i + 1]) for i in range(3)], 2)
    assert together.shape == (2, 4, 3)
    torch.testing.assert_close(together, alone)
