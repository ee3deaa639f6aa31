"""Quality of a critic on held-out episodes: whether its values tell successes from failures and actions apart.

A critic whose values hardly differ between actions can't steer, however small its loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from soar.critics.critic import Critic
from soar.critics.learning.labels import CriticSource
from soar.types import Images, Observation, Outcome

AHEAD = 12
"""Steps from an observation to the later frame that stands for a subgoal where none was recorded."""


class EpisodeValues(NamedTuple):
    """Values along an episode of T steps."""

    q: Float64[np.ndarray, " t"]
    """Smallest Q of the executed action."""
    spread: Float64[np.ndarray, " t"]
    """Standard deviation of the smallest Q over other actions of the data."""


class ValuedEpisode(NamedTuple):
    """A judged episode with its values."""

    number: int
    """Number of the episode within its source."""
    outcome: Outcome
    values: EpisodeValues


@dataclass(frozen=True)
class CriticScores:
    """Scores of a critic. NaN where the episodes don't suffice."""

    auc: float
    """Probability that a success has a larger mean Q than a failure; 0.5 is chance."""
    progress: float
    """Mean rank correlation of Q and time within the successes; 1 is a value that always grows."""
    action_spread: float
    """Spread of Q over actions, relative to its spread over states; below 0.03 steering is random."""
    successes: int
    failures: int


def value_episodes(
    critic: Critic, source: CriticSource, actions: int = 16, seed: int = 0
) -> list[ValuedEpisode]:
    """Value a source's episodes that have a verdict.

    Args:
        critic: the critic.
        source: episodes that it wasn't trained on.
        actions: number of the data's actions that each state is valued with.
        seed: seed of the choice of these actions.
    """
    rng = np.random.default_rng(seed)
    verdicts = source.present_verdicts()
    valued = []
    for i in source.chosen.tolist():
        episode = source.frames.episodes[i]
        outcome = verdicts.get(episode.id, episode.verdict).outcome
        if outcome != "unknown" and episode.length:
            values = episode_values(critic, source, i, actions, rng)
            valued.append(ValuedEpisode(i, outcome, values))
    return valued


def score(valued: Sequence[ValuedEpisode]) -> CriticScores:
    """Return the scores of a critic that valued these episodes."""
    mean = {
        name: np.array([e.values.q.mean() for e in valued if e.outcome == name])
        for name in ("success", "failure")
    }
    won = [e.values.q for e in valued if e.outcome == "success" and len(e.values.q) > 2]
    none = np.zeros(0)
    q = np.concatenate([none, *(e.values.q for e in valued)])
    spread = np.concatenate([none, *(e.values.spread for e in valued)])
    return CriticScores(
        auc=auc(mean["success"], mean["failure"]),
        progress=float(np.mean([rank_correlation(v) for v in won])) if won else np.nan,
        action_spread=float(spread.mean() / max(q.std(), 1e-9)) if len(q) else np.nan,
        successes=len(mean["success"]),
        failures=len(mean["failure"]),
    )


def episode_values(
    critic: Critic, source: CriticSource, episode: int, actions: int, rng: np.random.Generator
) -> EpisodeValues:
    """Return the values along one of a source's episodes.

    Args:
        critic: the critic.
        source: the episodes.
        episode: number of the episode within the source.
        actions: number of the data's actions for the spread.
        rng: chooses these actions.
    """
    frames = source.frames
    first, last = int(frames.starts[episode]), int(frames.starts[episode + 1]) - 1
    observations = [
        Observation(image, state, 0.0)
        for image, state in zip(frames.images[first:last], frames.states[first:last], strict=True)
    ]
    steps = np.delete(np.arange(len(frames)), frames.starts[1:] - 1)  # a last frame has no action
    others = frames.actions[rng.choice(steps, actions)]
    executed = frames.actions[first:last]
    candidates: Float32[np.ndarray, "t k a"] = np.concatenate(
        [executed[:, None], np.broadcast_to(others, (last - first, *others.shape))], 1
    )
    values = critic.values(observations, _goals(critic, source, episode), candidates)
    smallest = values.min(0).astype(np.float64)
    return EpisodeValues(smallest[:, 0], smallest[:, 1:].std(1))


def _goals(critic: Critic, source: CriticSource, episode: int) -> Images | list[str]:
    """Return the goal of each step: the recorded subgoal or else a later frame; or the instruction."""
    frames = source.frames
    first, last = int(frames.starts[episode]), int(frames.starts[episode + 1]) - 1
    if critic.config.condition != "goal":
        return [frames.episodes[episode].instruction] * (last - first)
    steps = np.arange(first, last)
    goals = np.array(frames.images[np.minimum(steps + AHEAD, last)])
    if source.subgoals is not None:
        index = source.subgoals.image_indices[steps]
        goals[index >= 0] = source.subgoals.images[index[index >= 0]]
    return goals


def auc(positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " m"]) -> float:
    """Return the probability that a positive exceeds a negative, ties counted half; NaN without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    difference = positive[:, None] - negative[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def rank_correlation(values: Float[np.ndarray, " t"]) -> float:
    """Return Spearman's correlation of a series with its time; 0 for a constant one."""
    if np.ptp(values) == 0:
        return 0.0
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share their mean rank
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
