"""Labels of a critic's training steps, from the present verdicts of their episodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from soar.critics.config import CriticConfig
from soar.critics.learning.returns import success_probability
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.store.lance import LanceStore
from soar.data.store.rows import verdict_of
from soar.types import Verdict

Verdicts: TypeAlias = Callable[[], Mapping[str, Verdict]]
"""Returns the present verdicts by episode id; the same object as before if none has changed."""

_NONE: Mapping[str, Verdict] = {}


class StoreVerdicts:
    """Verdicts of a store's episodes, read again when the store's version has changed."""

    def __init__(self, store: LanceStore) -> None:
        self._store = store
        self._version = -1
        self._verdicts: Mapping[str, Verdict] = {}

    def __call__(self) -> Mapping[str, Verdict]:
        """Return the present verdicts by episode id."""
        version = self._store.version
        if version != self._version:
            rows = self._store.index.rows(("id", "verdict"), "", version).to_pylist()
            self._verdicts = {r["id"]: verdict_of(json.loads(r["verdict"])) for r in rows}
            self._version = version
        return self._verdicts


@dataclass(frozen=True, eq=False)
class CriticSource:
    """Episodes of a frame cache and their share of the samples."""

    name: str
    frames: Frames
    weight: float = 1.0
    """Share of the samples, relative to the other sources' weights."""
    verdicts: Verdicts | None = None
    """Present verdicts; None is those of the frame cache."""
    subgoals: GeneratedGoals | None = None
    """Recorded subgoals, for critics with goal images."""
    episodes: Int64[np.ndarray, " k"] | None = None
    """Numbers of the cache's episodes that are used; None is all."""

    @property
    def chosen(self) -> Int64[np.ndarray, " k"]:
        """Numbers of the episodes that are used."""
        return np.arange(len(self.frames.episodes)) if self.episodes is None else self.episodes

    def present_verdicts(self) -> Mapping[str, Verdict]:
        """Return the present verdicts by episode id; nothing for those of the frame cache."""
        return self.verdicts() if self.verdicts else _NONE

    def has_labels(self, config: CriticConfig) -> bool:
        """Whether one of the episodes has a label."""
        return bool(np.isfinite(self.labels(config, self.present_verdicts())).any())

    def labels(
        self, config: CriticConfig, present: Mapping[str, Verdict]
    ) -> Float64[np.ndarray, " e"]:
        """Return P(success) of each episode by its present verdict; NaN where that is unknown or it isn't used.

        With hindsight labels every episode counts as a success, with takeover labels every episode without a takeover.
        """
        labels = np.full(len(self.frames.episodes), np.nan)
        for i in self.chosen:
            episode = self.frames.episodes[i]
            verdict = present.get(episode.id, episode.verdict)
            p = success_probability(verdict, config.rewards)
            labels[i] = np.nan if p is None else p
        if config.rewards.labels == "hindsight":
            labels[self.chosen] = 1
        if config.rewards.labels == "takeover":
            labels[self.chosen] = [not self.takeovers(i) for i in self.chosen.tolist()]
        return labels

    def takeovers(self, episode: int | np.integer) -> tuple[int, ...]:
        """Return the steps of an episode at which a person took the arm from the policy."""
        taken = self.frames.taken_over
        if taken is None:
            return ()
        start, end = self.frames.starts[episode : episode + 2]
        mine = taken[start : end - 1]
        return tuple(np.flatnonzero(mine & ~np.append(False, mine[:-1])).tolist())


def held_out(source: CriticSource, share: float) -> tuple[CriticSource, CriticSource | None]:
    """Split a source's episodes into those for training and those, evenly spread in time, for scores.

    The second is None where the share or the source is too small to leave an episode for either.
    """
    count = len(source.chosen)
    apart = min(round(share * count), count - 1)
    if apart < 1:
        return source, None
    last = np.unique(np.round((np.arange(apart) + 0.5) * count / apart - 0.5).astype(np.int64))
    for_scores = source.chosen[last]
    rest = np.setdiff1d(source.chosen, for_scores)
    return replace(source, episodes=rest), replace(source, episodes=for_scores)


class Pool(NamedTuple):
    """Steps of one source and one outcome."""

    source: int
    failed: bool
    frames: Int64[np.ndarray, " m"]
    """Frames, numbered within the source, at which the steps start."""


def make_pools(source: int, frames: Frames, labels: Float64[np.ndarray, " e"]) -> list[Pool]:
    """Return a source's steps, those of successes and of failures apart; unknown outcomes are left out."""
    pools = []
    for failed, chosen in ((False, labels >= 0.5), (True, labels < 0.5)):
        starts, ends = frames.starts[:-1][chosen], frames.starts[1:][chosen] - 1
        ranges = [np.arange(s, e) for s, e in zip(starts, ends, strict=True)]
        steps = np.concatenate([np.zeros(0, np.int64), *ranges])
        if len(steps):
            pools.append(Pool(source, failed, steps))
    return pools


def pool_shares(
    pools: Sequence[Pool], weights: Sequence[float], failure_share: float | None
) -> Float64[np.ndarray, " p"]:
    """Return the probability that a sample comes from each pool.

    Args:
        pools: pools with steps.
        weights: weights of the sources.
        failure_share: share of failures; None is that of each source's steps. Within the successes and within the
            failures, sources have their weights.
    """
    sizes = np.array([len(p.frames) for p in pools], np.float64)
    source, failed = np.array([p.source for p in pools]), np.array([p.failed for p in pools])
    weight = np.array([weights[s] for s in source], np.float64)
    if failure_share is None or failed.all() or not failed.any():
        shares = weight * sizes / np.array([sizes[source == s].sum() for s in source])
    else:
        of_outcome = np.where(failed, weight[failed].sum(), weight[~failed].sum())
        shares = np.where(failed, failure_share, 1 - failure_share) * weight / of_outcome
    normalized: Float64[np.ndarray, " p"] = shares / shares.sum()
    return normalized
