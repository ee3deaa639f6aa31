"""The report's films: a time-lapse of collection, and the same start before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from soar.data.store.lance import LanceStore
from soar.evaluation.results import Comparison, Trial
from soar.evaluation.tables import interleave_tasks, read_trial_video, synchronized
from soar.types import Episode, EpisodeSummary, Image
from soar.utils.media import caption, encode_video, inset, resize

LAPSE_SIZE = 192
LAPSE_EPISODES = 24
LAPSE_STRIDE = 4
"""One frame of so many; at 15 frames a second this is twelve times the robot's speed."""


def time_lapse(store: LanceStore, episodes: Sequence[EpisodeSummary]) -> bytes:
    """An mp4 of up to 24 episodes spread evenly over the collection, current subgoal in the corner."""
    chosen = evenly(episodes, LAPSE_EPISODES)
    frames = (f for e in chosen for f in _lapse(store.load(e.id), e, episodes.index(e) + 1))
    return encode_video(frames, fps=15, crf=28)


def evenly(episodes: Sequence[EpisodeSummary], count: int) -> list[EpisodeSummary]:
    """Up to `count` of them at even distances, the first and the last included."""
    if not episodes:
        return []
    at = np.linspace(0, len(episodes) - 1, min(count, len(episodes))).round().astype(int)
    return [episodes[i] for i in at]


def _lapse(episode: Episode, summary: EpisodeSummary, number: int) -> Iterator[Image]:
    """Some frames of one episode; its verdict appears with the last, which stands for a moment."""
    words = f"{number}. {episode.instruction}"
    last = len(episode.images) - 1
    for t in [*range(0, last, LAPSE_STRIDE), *[last] * 8]:
        text = f"{words}\n{summary.verdict.outcome}" if t == last else words
        yield caption(_with_subgoal(episode, t), text, lines=4)


def _with_subgoal(episode: Episode, t: int) -> Image:
    frame = resize(episode.images[t], LAPSE_SIZE)
    current = [s for s in episode.subgoals if s.step <= t]
    return inset(frame, current[-1].image) if current else frame


def choose_pairs(comparison: Comparison, count: int) -> list[tuple[Trial, Trial]]:
    """Pairs worth seeing: by turns of the tasks, those whose outcome changed first, in proportion.

    Improvements and losses are shown in the ratio in which they happened, then unchanged ones.
    """
    filmed = [(b, a) for b, a in comparison.pairs if b.video and a.video]
    turns = {t.key: n for n, t in enumerate(interleave_tasks([b for b, _ in filmed]))}
    filmed.sort(key=lambda pair: turns[pair[0].key])
    won = [p for p in filmed if p[0].outcome != "success" and p[1].outcome == "success"]
    lost = [p for p in filmed if p[0].outcome == "success" and p[1].outcome != "success"]
    same = [p for p in filmed if p[0].outcome == p[1].outcome]
    changed = len(won) + len(lost)
    losses = min(len(lost), -(-count * len(lost) // changed)) if changed else 0
    wins = min(len(won), count - losses)
    return [*won[:wins], *lost[:losses], *same[: count - wins - losses]]


def side_by_side(comparison: Comparison, pair: tuple[Trial, Trial]) -> bytes:
    """An mp4 of one start: before on the left, after on the right, in step with each other."""
    evaluations = (comparison.before, comparison.after)
    videos = [read_trial_video(e, t) for e, t in zip(evaluations, pair, strict=True)]
    frames = (np.concatenate(both, axis=1) for both in synchronized(videos))
    return encode_video(frames, fps=10, crf=26)
