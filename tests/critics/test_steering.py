from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import ks_2samp  # type: ignore[import-untyped]

from soar.critics.steering import (
    NoisySampling,
    SamplingPolicy,
    SteeredPolicy,
    SteeringConfig,
    choose,
    risk_adjusted,
    steer,
)
from soar.errors import ConfigError
from soar.interfaces import Policy
from soar.policies.chunks import ChunkBroker
from soar.types import Observation

N = 400
OBSERVATIONS = [Observation(np.zeros((4, 4, 3), np.uint8), np.zeros(7, np.float32), 0.0)] * N
GOALS = np.zeros((N, 4, 4, 3), np.uint8)


class Gaussian:
    """A policy of independent normal actions."""

    name = "gaussian"

    def __init__(self, spread: float = 1.0) -> None:
        self.spread, self.calls, self.resets = spread, 0, 0

    def sample(self, observations, goals, rng, count, *, noise=1.0):
        self.calls += 1
        shape = (len(observations), count, 1, 7)
        return (self.spread * rng.standard_normal(shape)).astype(np.float32)

    def commit(self, actions):
        self.committed = actions

    def reset(self):
        self.resets += 1


@dataclass
class First:
    """A critic that values an action by its first number, or by nothing."""

    weight: float = 1.0
    disagreement: float = 0.0
    name: str = "first"
    takes_images: bool = True

    def values(self, observations, goals, actions):
        q = self.weight * actions[..., 0]
        return np.stack([q - self.disagreement, q + self.disagreement])


def steered(critic, base=None, **config):
    return SteeredPolicy(base or Gaussian(), critic, SteeringConfig(**config))


def act(policy, seed=0):
    return policy.act(OBSERVATIONS, GOALS, np.random.default_rng(seed))


def base_actions(seed=1):
    return Gaussian().sample(OBSERVATIONS, GOALS, np.random.default_rng(seed), 1)[:, 0, 0]


@pytest.mark.parametrize(
    ("critic", "config"),
    [
        (First(), {"count": 1}),
        (First(weight=0.0), {"count": 10}),
        (First(weight=0.0), {"count": 10, "temperature": 1.0}),
        (First(), {"count": 10, "select": "random"}),
    ],
)
def test_steering_by_nothing_leaves_the_policys_distribution(critic, config):
    actions = act(steered(critic, **config))
    for dim in range(7):
        assert ks_2samp(actions[:, dim], base_actions()[:, dim]).pvalue > 0.001


def test_a_useful_critic_orders_worst_random_best():
    best, random, worst = (
        act(steered(First(), select=s))[:, 0].mean() for s in ("best", "random", "worst")
    )
    assert worst < -1.2 < random < 1.2 < best


def test_actions_are_sampled_in_one_call():
    base = Gaussian()
    act(steered(First(), base, count=8))
    assert base.calls == 1


def test_a_lower_temperature_chooses_better_actions():
    hot, cold = (act(steered(First(), guard=0.0, temperature=t))[:, 0].mean() for t in (10.0, 0.1))
    assert abs(hot) < 0.4
    assert cold > 1.2


def test_the_softmax_has_its_probabilities():
    values = np.tile(np.log([0.7, 0.2, 0.1]), (2, 20_000, 1))
    config = SteeringConfig(count=3, temperature=1.0, guard=0.0)
    chosen = choose(values, config, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(chosen) / len(chosen), [0.7, 0.2, 0.1], atol=0.01)


def test_the_guard_keeps_the_policys_own_answer_where_the_ensemble_disagrees():
    values = np.array([[0.0, 1.0, 0.2, 0.1]])
    sure, unsure = np.stack([values, values]), np.stack([values - 2, values + 2])
    rng = np.random.default_rng(0)
    assert choose(sure, SteeringConfig(), rng) == 1
    assert choose(unsure, SteeringConfig(), rng) == 0
    assert choose(unsure, SteeringConfig(guard=0.0), rng) == 1


def test_risk_is_the_smallest_value_or_the_mean_less_the_spread():
    values = np.array([[[1.0, 3.0]], [[2.0, 0.0]]])
    np.testing.assert_allclose(risk_adjusted(values, SteeringConfig()), [[1, 0]])
    careful = SteeringConfig(risk="mean", risk_weight=1.0)
    np.testing.assert_allclose(risk_adjusted(values, careful), [[1, 0]])
    np.testing.assert_allclose(
        risk_adjusted(values, SteeringConfig(risk="mean", risk_weight=0.0)), [[1.5, 1.5]]
    )


def test_a_policy_whose_answers_never_vary_is_refused_by_name():
    with pytest.raises(ConfigError, match="policy 'gaussian' gave 10 identical actions"):
        act(steered(First(), Gaussian(0.0)))
    act(steered(First(), Gaussian(0.0), count=1))


class Mean:
    """A policy with one answer and a noise scale, whose gripper remembers its rows."""

    name = "mean"

    def __init__(self) -> None:
        self.rows: list[int] = []

    def act(self, observations, goals, rng, *, noise=0.0):
        assert len(goals) == len(observations)
        self.rows.append(len(observations))
        scale = np.broadcast_to(noise, len(observations))[:, None]
        return (scale * rng.standard_normal((len(observations), 7))).astype(np.float32)

    def reset(self):
        self.rows.clear()


def test_a_policy_with_noise_becomes_one_that_samples():
    policy = Mean()
    sampling = NoisySampling(policy, noise=0.5)
    assert isinstance(sampling, SamplingPolicy)
    samples = sampling.sample(OBSERVATIONS, GOALS, np.random.default_rng(0), 5)
    assert policy.rows == [5 * N]
    assert not samples[:, 0].any()
    assert samples[:, 1:].std() == pytest.approx(0.5, rel=0.05)
    words = sampling.sample(OBSERVATIONS[:2], ["a", "b"], np.random.default_rng(0), 3)
    assert words.shape == (2, 3, 1, 7)


def test_a_steered_policy_is_a_policy_and_resets_its_base():
    base = Gaussian()
    policy = steered(First(), base)
    assert isinstance(policy, Policy)
    assert policy.name == "gaussian steered by first"
    policy.reset()
    assert base.resets == 1


class Told(Gaussian):
    """A policy that reaches images and is told the instructions."""

    told: tuple = ()

    def act(self, observations, goals, rng, *, noise=0.0):
        return self.sample(observations, goals, rng, 1)[:, 0, 0]

    def instruct(self, instructions):
        self.told = tuple(instructions)


def test_a_critic_with_instructions_steers_a_policy_with_goal_images():
    seen = []

    class Words(First):
        def values(self, observations, goals, actions):
            seen.append(goals)
            return super().values(observations, goals, actions)

    base = Told()
    policy = steered(Words(takes_images=False), base)
    with pytest.raises(ConfigError, match="first takes instructions, and none came"):
        act(policy)
    policy.instruct(["open the drawer"] * N)
    act(policy)
    assert base.told == ("open the drawer",) * N
    assert seen == [("open the drawer",) * N]


def test_the_chosen_chunk_is_executed_by_the_policys_own_broker():
    class Chunks(Gaussian):
        def sample(self, observations, goals, rng, count, *, noise=1.0):
            first = super().sample(observations, goals, rng, count, noise=noise)
            return np.concatenate([first, first + 100], 2)

        def chunk(self, observations, goals, rng, *, noise=0.0):
            return self.sample(observations, goals, rng, 1)[:, 0]

    policy = steer(ChunkBroker(Chunks(), 2), First(), SteeringConfig())
    assert isinstance(policy, ChunkBroker)
    first, second = act(policy), act(policy)
    np.testing.assert_array_equal(second[:, :6], first[:, :6] + 100)
    assert first[:, 0].mean() > 1


def test_the_name_of_a_steered_policy_tells_its_settings():
    assert steered(First(), select="worst", count=4).name == (
        "gaussian steered by first (count 4, select worst)"
    )


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="count"):
        SteeringConfig(count=0)
