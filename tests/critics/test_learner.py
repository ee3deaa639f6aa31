from dataclasses import replace

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.critics.config import ALGORITHMS, CriticConfig, RewardConfig
from soar.critics.critic import ActionCritic, critic_from, load_critic
from soar.critics.learning.batches import CriticBatches
from soar.critics.learning.labels import CriticSource
from soar.critics.learning.learner import CriticLearner
from soar.data.transforms import Resize, ToFloat
from soar.errors import CheckpointError, ConfigError
from soar.interfaces import Learner
from soar.training.critic import critic_source
from soar.training.fit_run import StagedLearner
from soar.types import Observation, Query

TRANSFORMS = (Resize(16), ToFloat())


def small(algorithm: str) -> CriticConfig:
    return replace(
        ALGORITHMS[algorithm](), resolution=16, widths=(8, 8), embeddings=2, feature_dim=16, hidden=(16, 16),
        context_dim=8, word_dim=2, cql_actions=3, tasks=("close the drawer", "open the drawer"),
    )  # fmt: skip


def words(texts):
    return np.array([[len(t), t.count("c")] for t in texts], np.float32)


def batch_of(config, store, folder):
    source = critic_source(store, "own", Query(), config, folder)
    batch = CriticBatches([source], config, 0, words)(0, 16, slice(0, 16))
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in batch.items()}


def gradient_names(learner) -> set[str]:
    named = learner.named_parameters()
    return {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_a_loss_that_trains_all_of_its_parts(algorithm, store, tmp_path):
    torch.manual_seed(0)
    config = small(algorithm)
    learner = CriticLearner(config, TRANSFORMS)
    assert isinstance(learner, Learner)
    assert isinstance(learner, StagedLearner)
    loss, metrics = learner.loss(
        batch_of(config, store, tmp_path), torch.Generator().manual_seed(0)
    )
    loss.backward()
    assert loss.isfinite()
    assert all(m.isfinite() for m in metrics.values())
    trained = {n for n, p in learner.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in learner.named_parameters() if p.grad is not None}
    expected = {"network"} | ({"actor", "log_temperature"} if config.actor == "gaussian" else set())
    assert gradient_names(learner) == expected
    assert ("bound_rate" in metrics) == (config.alpha > 0)


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_the_actors_loss_does_not_train_the_critic_nor_the_critics_the_actor(
    encoder, store, tmp_path
):
    config = replace(small("calql"), actor_encoder=encoder)
    batch = batch_of(config, store, tmp_path)

    def gradients(config, part):
        torch.manual_seed(0)
        learner = CriticLearner(config, TRANSFORMS)
        learner.loss(batch, torch.Generator().manual_seed(0))[0].backward()
        named = learner.named_parameters()
        return [p.grad for n, p in named if n.startswith(part) and p.grad is not None]

    # Another weight of a loss changes only the gradients of its own parameters.
    for part, other in (
        ("network", replace(config, bc_weight=3.0)),
        ("actor", replace(config, alpha=50.0)),
    ):
        assert len(gradients(config, part))
        for a, b in zip(gradients(config, part), gradients(other, part), strict=True):
            torch.testing.assert_close(a, b)


def test_the_target_follows_the_critic_after_every_step(tiny):
    learner = CriticLearner(replace(tiny, target_rate=0.25), TRANSFORMS)
    own, target = (next(m.q_head.parameters()) for m in (learner.network, learner.target))
    before = target.clone()
    with torch.no_grad():
        own.add_(1.0)
    learner.after_step()
    torch.testing.assert_close(target, before + 0.25)


def test_a_multiplier_is_trained_towards_the_gap(store, tmp_path):
    config = replace(small("calql"), cql_gap=0.8)
    learner = CriticLearner(config, TRANSFORMS)
    learner.loss(batch_of(config, store, tmp_path), torch.Generator())[0].backward()
    assert learner.log_multiplier.grad is not None
    assert learner.log_multiplier.grad < 0  # a larger gap than 0.8: the multiplier grows


def test_sarsa_and_weighted_cloning_train_too(store, tmp_path):
    for config in (
        replace(small("iql"), backup="sarsa"),
        replace(small("iql"), actor="gaussian"),
        replace(small("iql"), target_subsample=1, ensemble=3, backup="sarsa"),
    ):
        learner = CriticLearner(config, TRANSFORMS)
        loss, metrics = learner.loss(batch_of(config, store, tmp_path), torch.Generator())
        assert loss.isfinite()
        assert ("actor_loss" in metrics) == (config.actor == "gaussian")


def test_settings_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigError, match="sample a policy's actions"):
        CriticConfig(alpha=1.0)
    with pytest.raises(ConfigError, match="hindsight labels need goal images"):
        CriticConfig(condition="text", rewards=RewardConfig(labels="hindsight"))
    with pytest.raises(ConfigError, match="a multiple of 16"):
        CriticConfig(resolution=100)
    with pytest.raises(ConfigError, match="discount"):
        CriticConfig(discount=1.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checkpoint_values_actions_as_the_target_network_does(algorithm, tmp_path):
    torch.manual_seed(0)
    config = small(algorithm)
    learner = CriticLearner(config, TRANSFORMS)
    checkpoints.save(tmp_path, learner.checkpoint({"seed": 0}))
    critic = load_critic(tmp_path, "cpu")
    assert isinstance(critic, ActionCritic)
    assert critic.config == config
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((2, 16, 16, 3), np.float32),
        "goal": rng.random((2, 16, 16, 3), np.float32),
        "state": np.zeros((2, 7), np.float32),
        "words": rng.random((2, 2), np.float32),
        "task": np.array([0, 1]),
    }
    tensors = {k: torch.from_numpy(v) for k, v in batch.items()}
    actions = rng.uniform(-0.04, 0.04, (2, 5, 7)).astype(np.float32)
    boxed = config.bounds.to_box(torch.from_numpy(actions))
    with torch.inference_mode():
        expected = learner.target.q(learner.target.encode(tensors), boxed)
        found = critic.q(critic.network.encode(tensors), actions)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


def test_a_critic_serves_images_of_any_size_and_names_wrong_goals(tiny):
    critic = critic_from(CriticLearner(tiny, TRANSFORMS).checkpoint({}))
    observations = [
        Observation(np.zeros((48, 64, 3), np.uint8), np.full(7, np.nan, np.float32), 0.0)
    ]
    goals, actions = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 4, 7), np.float32)
    assert critic.values(observations, goals, actions).shape == (2, 1, 4)
    assert np.isfinite(critic.v(observations, goals)).all()
    with pytest.raises(ConfigError, match="valid: goal images"):
        critic.values(observations, ["open the drawer"], actions)
    with pytest.raises(ConfigError, match="2 goals for 1 observations"):
        critic.values(observations, np.repeat(goals, 2, 0), actions)


def test_a_critic_with_task_ids_names_an_unknown_instruction():
    critic = critic_from(CriticLearner(small("ptr"), TRANSFORMS).checkpoint({}))
    observation = Observation(np.zeros((16, 16, 3), np.uint8), np.zeros(7, np.float32), 0.0)
    assert critic.v([observation], ["open the drawer"]).shape == (1,)
    with pytest.raises(ConfigError, match="'fly' has no task id"):
        critic.v([observation], ["fly"])


def test_another_kind_of_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="'gcbc' checkpoint is no critic"):
        critic_from(checkpoints.Checkpoint("gcbc", {}, {}))


def test_frames_of_another_resolution_are_refused(store, tiny, tmp_path):
    source = critic_source(store, "own", Query(), tiny, tmp_path)
    assert isinstance(source, CriticSource)
    with pytest.raises(ConfigError, match=r"frames are \[16\] px; this critic takes 32"):
        CriticBatches([source], replace(tiny, resolution=32), 0)
