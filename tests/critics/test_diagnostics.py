import numpy as np
import pytest

from soar.critics.critic import critic_from
from soar.critics.diagnostics import auc, episode_values, rank_correlation, score, value_episodes
from soar.critics.learning.labels import held_out
from soar.critics.learning.learner import CriticLearner
from soar.data.transforms import Resize, ToFloat
from soar.training.critic import critic_source
from soar.types import Query


def test_auc_counts_ties_half_and_needs_both_outcomes():
    assert auc(np.array([1.0, 2.0]), np.array([0.0])) == 1
    assert auc(np.array([1.0]), np.array([1.0, 2.0])) == 0.25
    assert np.isnan(auc(np.array([1.0]), np.zeros(0)))


def test_rank_correlation_is_spearmans():
    assert rank_correlation(np.array([1.0, 10.0, 100.0])) == pytest.approx(1)
    assert rank_correlation(np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
    assert rank_correlation(np.zeros(4)) == 0
    # scipy.stats.spearmanr([1, 1, 2, 0], range(4)) = -0.3162
    assert rank_correlation(np.array([1.0, 1.0, 2.0, 0.0])) == pytest.approx(-0.3162, abs=1e-4)


def test_a_critic_is_scored_on_judged_episodes_only(store, tiny, tmp_path):
    critic = critic_from(CriticLearner(tiny, (Resize(16), ToFloat())).checkpoint({}))
    source = critic_source(store, "own", Query(), tiny, tmp_path)
    scores = score(value_episodes(critic, source, actions=4))
    assert (scores.successes, scores.failures) == (1, 1)
    assert scores.auc in (0.0, 0.5, 1.0)
    values = episode_values(critic, source, 0, 4, np.random.default_rng(0))
    assert values.q.shape == values.spread.shape == (6,)


def test_held_out_episodes_are_spread_in_time_and_not_trained_on(store, tiny, tmp_path):
    source = critic_source(store, "own", Query(), tiny, tmp_path)
    rest, apart = held_out(source, 0.34)
    assert apart is not None
    assert (rest.chosen.tolist(), apart.chosen.tolist()) == ([0, 2], [1])
    labels = rest.labels(tiny, {})
    assert labels[0] == 1
    assert np.isnan(labels[1])
    assert held_out(source, 0.0) == (source, None)
    assert score(value_episodes(some_critic(tiny), apart, actions=4)).failures == 1


def some_critic(config):
    return critic_from(CriticLearner(config, (Resize(16), ToFloat())).checkpoint({}))
