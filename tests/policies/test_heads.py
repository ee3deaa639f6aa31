"""Action heads: what they sample, what they can express, and their chunks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.policies.test_policies import observation, reaching

from soar.data.mixture import Mixture, Source
from soar.errors import ConfigError
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.chunks import ChunkBroker
from soar.policies.heads.build import build_head
from soar.policies.heads.denoising import cosine_betas
from soar.policies.heads.head import HeadConfig
from soar.policies.loading import load_policy, serve_policy
from soar.training.policy import PolicyTrainConfig, debug, susie, train_policy, with_fit

KINDS = ("gaussian", "mixture", "flow", "diffusion")
SMALL = HeadConfig("flow", steps=4, width=32, blocks=1, time_dim=8)


def with_head(head: HeadConfig, kind: str = "gcbc", steps: int = 1) -> PolicyTrainConfig:
    config = with_fit(debug(kind), steps=steps)
    return replace(config, policy=replace(config.policy, head=head))


def trained(head: HeadConfig, folder: Path | None = None, kind: str = "gcbc") -> BehaviorCloning:
    policy, _ = train_policy(with_head(head, kind), [Source("a", reaching(2), 1)], folder)
    return policy


def goals(n: int) -> np.ndarray:
    return np.stack([observation().image] * n)


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_sample_is_the_policys_own_answer(kind: str, chunk: int) -> None:
    policy = trained(replace(SMALL, kind=kind, chunk=chunk))  # type: ignore[arg-type]
    seen = [observation(), observation()]
    wanted = goals(2)
    samples = policy.sample(seen, wanted, np.random.default_rng(0), 4)
    assert samples.shape == (2, 4, chunk, 7)
    assert (np.ptp(samples[..., :6], axis=1).max(-1) > 0).all()
    own = policy.act(seen, wanted, np.random.default_rng(1))
    np.testing.assert_allclose(samples[:, 0, 0], own, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_encodes_each_image_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = trained(replace(SMALL, kind=kind))  # type: ignore[arg-type]
    encoded: list[int] = []
    real = policy.encoder.forward

    def forward(x: Any, context: Any = None) -> Any:
        encoded.append(len(x))
        return real(x, context)

    monkeypatch.setattr(policy.encoder, "forward", forward)
    policy.sample([observation()] * 2, goals(2), np.random.default_rng(0), 10)
    assert encoded == [2]


@pytest.mark.parametrize("kind", ["mixture", "flow", "diffusion"])
def test_expressive_heads_learn_both_of_two_answers(kind: str) -> None:
    """Half of the actions are +1 and half -1: a Gaussian's mean would be 0, which is neither."""
    torch.manual_seed(0)
    steps = 20 if kind == "diffusion" else 8
    config = HeadConfig(kind, steps=steps, width=64, blocks=2, components=2)  # type: ignore[arg-type]
    head = build_head(config, 4, (32,), 1.0)
    optimizer = torch.optim.Adam(head.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(64, 4)
    sides = torch.tensor([1.0, -1.0]).repeat(32)[:, None, None].expand(-1, 1, 7)
    for _ in range(150):
        loss, _ = head.loss(features, sides, None, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        drawn = head.eval().sample(features[:1], np.ones((1, 200)), np.random.default_rng(0))
    firsts = drawn[0, :, 0, 0]
    near = (firsts.abs() - 1).abs() < 0.4
    assert near.float().mean() > 0.8
    assert 0.2 < (firsts > 0).float().mean() < 0.8


def test_the_cosine_schedule_keeps_the_squared_cosine() -> None:
    kept = (1 - cosine_betas(20)).cumprod(0)
    assert kept[9] == pytest.approx(np.cos(0.508 / 1.008 * np.pi / 2) ** 2, rel=1e-3)
    assert cosine_betas(20)[-1] == pytest.approx(0.999)


def test_steps_beyond_the_end_of_an_episode_are_not_in_the_loss() -> None:
    for kind in ("gaussian", "mixture"):
        head = build_head(replace(SMALL, kind=kind, chunk=3), 4, (8,), 1.0).eval()
        features, actions = torch.randn(2, 4), torch.randn(2, 3, 7)
        inside = torch.tensor([[True, True, False], [True, False, False]])
        changed = torch.where(inside[..., None], actions, 9.0)
        losses = [
            head.loss(features, given, inside, torch.Generator().manual_seed(1))[0]
            for given in (actions, changed)
        ]
        assert losses[0] == losses[1]


def test_a_mixture_of_episodes_gives_chunks_of_consecutive_actions() -> None:
    source = Source("a", reaching(2, length=5), 1)
    source.frames.actions[:, 0] = np.arange(len(source.frames.actions))
    batch = Mixture([source], 0, chunk=3)(0, 64, slice(0, 64))
    firsts = batch["action"][:, 0, 0]
    assert batch["action"].shape == (64, 3, 7)
    steps = np.where(batch["inside"], batch["action"][:, :, 0] - firsts[:, None], np.arange(3))
    np.testing.assert_array_equal(steps, np.tile(np.arange(3), (64, 1)))
    left = 5 - firsts % 6
    np.testing.assert_array_equal(batch["inside"].sum(1), np.minimum(left, 3))


def test_a_fresh_head_keeps_the_encoder(tmp_path: Path) -> None:
    gaussian = trained(HeadConfig(), tmp_path)
    config = replace(with_head(SMALL), fresh_head=True)
    config = with_fit(config, learning_rate=1e-9, weight_decay=0.0)
    from soar import checkpoint

    policy, _ = train_policy(
        config, [Source("a", reaching(2), 1)], None, start=checkpoint.load(tmp_path)
    )
    assert policy.config.head == SMALL
    for name, weight in gaussian.encoder.state_dict().items():
        torch.testing.assert_close(policy.encoder.state_dict()[name], weight)


class Counting:
    """A policy whose chunks count on from the number of its calls."""

    name = "counting"

    def __init__(self) -> None:
        self.calls, self.committed = 0, 0

    def chunk(self, observations, goals, rng, *, noise=0.0):
        chunk = 10 * self.calls + np.arange(4, dtype=np.float32)
        self.calls += 1
        return np.tile(chunk[None, :, None], (len(observations), 1, 7))

    def commit(self, actions: np.ndarray) -> None:
        self.committed += 1

    def reset(self) -> None:
        pass


def first_actions(broker: ChunkBroker, count: int, goal: int = 0) -> list[float]:
    rng, wanted = np.random.default_rng(0), np.full((1, 4, 4, 3), goal, np.uint8)
    return [float(broker.act([observation()], wanted, rng)[0, 0]) for _ in range(count)]


def test_a_broker_executes_part_of_a_chunk_before_it_asks_again() -> None:
    policy = Counting()
    broker = ChunkBroker(policy, 2)
    assert first_actions(broker, 5) == [0, 1, 10, 11, 20]
    assert policy.committed == 5
    broker.reset()
    assert first_actions(broker, 1) == [30]


def test_a_new_goal_ends_a_chunk() -> None:
    broker = ChunkBroker(Counting(), 4)
    assert first_actions(broker, 2) == [0, 1]
    assert first_actions(broker, 2, goal=1) == [10, 11]


def test_temporal_ensembling_averages_all_predictions_of_a_step() -> None:
    broker = ChunkBroker(Counting(), 1, ensemble=True)
    found = first_actions(broker, 3)
    weights = np.exp([0, -0.01, -0.02])
    assert found[1] == pytest.approx(np.average([1, 10], weights=weights[:2]))
    assert found[2] == pytest.approx(np.average([2, 11, 20], weights=weights))


def test_a_checkpoint_with_chunks_is_served_by_a_broker(tmp_path: Path) -> None:
    trained(replace(SMALL, chunk=3, executed=2), tmp_path)
    served = serve_policy(tmp_path, "cpu")
    assert isinstance(served, ChunkBroker)
    assert served.executed == 2
    assert served.checkpoint_id == load_policy(tmp_path, "cpu").checkpoint_id
    assert served.act([observation()], goals(1), np.random.default_rng(0)).shape == (1, 7)


def test_more_executed_than_predicted_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match="valid with chunks of 2: 1 to 2"):
        HeadConfig("flow", chunk=2, executed=3)


def test_susies_preset_has_the_released_numbers() -> None:
    config = susie()
    head = config.policy.head
    assert (head.kind, head.chunk, head.steps, head.ensemble) == ("diffusion", 4, 20, True)
    assert (config.goals.low, config.goals.high) == (0, 24)  # type: ignore[union-attr]
    assert (config.fit.steps, config.fit.batch_size, config.fit.learning_rate) == (
        2_000_000,
        256,
        3e-4,
    )
