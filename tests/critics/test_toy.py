"""A critic learned from episodes of which 30 % succeed steers the policy that made them to success.

The toy: a point that moves in a plane and must reach the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from soar.critics.config import CriticConfig
from soar.critics.critic import ActionCritic
from soar.critics.diagnostics import score, value_episodes
from soar.critics.learning.labels import CriticSource
from soar.critics.steering import SteeredPolicy, SteeringConfig
from soar.data.frame_cache import Frames
from soar.training.critic import CriticTrainConfig, train_critic
from soar.training.fit import FitConfig
from soar.types import Episode, Observation, Provenance, Verdict

STEPS, RADIUS, STRIDE = 12, 0.2, 0.15
"""Control steps of an episode, radius of success, and motion at the largest action."""
BOUND = 0.05
"""Largest action [m]."""
_Z, _YAW = (0.09, 0.04), (0.0, 0.5)
"""Center and spread of the two state dimensions that hold the point, as in `soar.data.proprioception`."""


def observe(points: np.ndarray) -> list[Observation]:
    image = np.zeros((8, 8, 3), np.uint8)
    states = np.zeros((len(points), 7), np.float32)
    states[:, 2] = _Z[0] + _Z[1] * points[:, 0]
    states[:, 5] = _YAW[0] + _YAW[1] * points[:, 1]
    return [Observation(image, s, 0.0) for s in states]


def locate(observations: Sequence[Observation]) -> np.ndarray:
    states = np.stack([o.state for o in observations])
    return np.stack([(states[:, 2] - _Z[0]) / _Z[1], (states[:, 5] - _YAW[0]) / _YAW[1]], 1)


@dataclass
class Wanderer:
    """A policy that heads for the origin, with much noise."""

    drift: float = 0.34
    noise: float = 0.6
    name: str = "wanderer"

    def sample(self, observations, goals, rng, count, *, noise=1.0):
        points = locate(observations)
        towards = -points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)
        shape = (len(points), count, 2)
        box = self.drift * towards[:, None] + self.noise * rng.standard_normal(shape)
        actions = np.zeros((*shape[:2], 7), np.float32)
        actions[..., :2] = BOUND * box.clip(-1, 1)
        return actions[:, :, None]

    def act(self, observations, goals, rng, *, noise=0.0):
        return self.sample(observations, goals, rng, 1)[:, 0, 0]

    def commit(self, actions) -> None:
        pass

    def reset(self) -> None:
        pass


def roll_out(policy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run episodes side by side; return points (e, t + 1, 2), actions (e, t, 7) and lengths, 0 for no success."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, episodes)
    points = [0.8 * np.stack([np.cos(angle), np.sin(angle)], 1)]
    goals = np.zeros((episodes, 8, 8, 3), np.uint8)
    actions, reached = [], np.zeros(episodes, np.int64)
    for t in range(STEPS):
        a = policy.act(observe(points[-1]), goals, rng)
        points.append(points[-1] + STRIDE * a[:, :2] / BOUND)
        actions.append(a)
        inside = np.linalg.norm(points[-1], axis=1) < RADIUS
        reached[inside & (reached == 0)] = t + 1
    return np.stack(points, 1), np.stack(actions, 1), reached


def success_rate(policy, episodes: int, seed: int) -> float:
    return float((roll_out(policy, episodes, seed)[2] > 0).mean())


def steered(critic: ActionCritic, select: str, count: int = 10) -> SteeredPolicy:
    config = SteeringConfig(count=count, guard=0.0, select=select)  # type: ignore[arg-type]
    return SteeredPolicy(Wanderer(), critic, config)


def collect(episodes: int, seed: int) -> Frames:
    """Frames of the wanderer's episodes, with true verdicts."""
    points, actions, reached = roll_out(Wanderer(), episodes, seed)
    made = []
    for p, a, t in zip(points, actions, reached, strict=True):
        length = int(t) or STEPS
        observations = observe(p[: length + 1])
        made.append(
            Episode(
                instruction="reach the origin",
                actions=a[:length],
                commanded=a[:length],
                images=np.stack([o.image for o in observations]),
                states=np.stack([o.state for o in observations]),
                times_s=np.arange(length + 1.0),
                subgoals=(),
                verdict=Verdict("success" if t else "failure"),
                provenance=Provenance("toy", "dev", "plane", seed, 0.0),
            )
        )
    return Frames.from_episodes(made, 8)


EPISODES = 300
TINY = CriticConfig(
    resolution=8,
    widths=(4,),
    embeddings=1,
    feature_dim=4,
    hidden=(64, 64),
    discount=0.95,
    target_rate=0.02,
)


def train(critic: CriticConfig, steps: int):
    fit = FitConfig(
        steps=steps, batch_size=64, learning_rate=5e-3, warmup_steps=20, weight_decay=0.0, clip_norm=10.0,
        log_every=20, save_every=20,
    )  # fmt: skip
    config = CriticTrainConfig(critic, image_transforms=(), fit=fit)
    frames = collect(EPISODES, seed=0)
    share = sum(e.verdict.outcome == "success" for e in frames.episodes) / EPISODES
    assert 0.2 < share < 0.4
    trained, _ = train_critic(config, [CriticSource("own", frames)], None)
    return trained


@pytest.fixture(scope="module")
def iql():
    return train(TINY, 300)


def test_the_best_of_ten_succeeds_far_more_often_and_the_worst_less(iql):
    base = success_rate(Wanderer(), EPISODES, seed=1)
    best, random, worst = (
        success_rate(steered(iql, s), EPISODES, seed=1) for s in ("best", "random", "worst")
    )
    assert best > base + 0.2
    assert abs(random - base) < 0.1  # two standard errors of the difference
    assert worst < base - 0.1


def test_its_scores_on_other_episodes_tell_that_it_steers(iql):
    scores = score(value_episodes(iql, CriticSource("held out", collect(60, seed=2))))
    assert scores.auc > 0.6
    assert scores.progress > 0.5
    assert scores.action_spread > 0.1
    assert scores.successes + scores.failures == 60


@pytest.mark.slow
def test_a_calibrated_critic_steers_too():
    cql = replace(
        TINY, backup="policy_max", alpha=1.0, calibrated=True, actor="gaussian", actor_encoder="shared", n_step=1
    )  # fmt: skip
    critic = train(cql, 120)
    base = success_rate(Wanderer(), EPISODES, seed=1)
    assert success_rate(steered(critic, "best"), EPISODES, seed=1) > base + 0.1
