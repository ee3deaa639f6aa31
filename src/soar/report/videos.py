"""The report's videos: a time-lapse of the collection, sample episodes, and the same start before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from soar.data.store.lance import LanceStore
from soar.evaluation.results import Comparison, Trial
from soar.evaluation.tables import interleave_tasks, read_trial_video, synchronized, video_of
from soar.types import Episode, EpisodeSummary, Image, Outcome
from soar.utils.media import caption, encode_video, inset, resize

VIDEO_SIZE = 192
"""Height and width of a video [pixels]."""
LAPSE_EPISODES = 24
LAPSE_STRIDE = 4
"""Control steps between two frames; at 15 frames a second, a 5 Hz robot appears twelve times as fast."""


def time_lapse(store: LanceStore, episodes: Sequence[EpisodeSummary]) -> bytes:
    """Encode up to `LAPSE_EPISODES` evenly spread episodes as mp4."""
    count = min(len(episodes), LAPSE_EPISODES)
    chosen = np.linspace(0, len(episodes) - 1, count).round().astype(int).tolist()
    frames = (f for i in chosen for f in _lapse_frames(store.load(episodes[i].id), i + 1))
    return encode_video(frames, fps=15, crf=28)


def _lapse_frames(episode: Episode, number: int) -> Iterator[Image]:
    """Yield some frames of an episode; the last one is held for a moment and shows the verdict."""
    label = f"{number}. {episode.instruction}"
    last = len(episode.images) - 1
    for t in [*range(0, last, LAPSE_STRIDE), *[last] * 8]:
        text = f"{label}\n{episode.verdict.outcome}" if t == last else label
        yield caption(with_subgoal(episode, t), text, lines=4)


def with_subgoal(episode: Episode, t: int, size: int = VIDEO_SIZE) -> Image:
    """Return an episode's frame t at `size` x `size` pixels, with the current subgoal in the corner."""
    frame = resize(episode.images[t], size)
    current = [s for s in episode.subgoals if s.step <= t]
    return inset(frame, current[-1].image) if current else frame


def choose_samples(episodes: Sequence[EpisodeSummary], count: int) -> list[EpisodeSummary]:
    """Choose the latest success of up to `count` // 2 tasks, and the latest failure of as many."""
    latest: dict[tuple[Outcome, str], EpisodeSummary] = {}
    for episode in reversed(episodes):
        latest.setdefault((episode.verdict.outcome, episode.instruction), episode)
    return [
        e
        for outcome in ("success", "failure")
        for e in [e for (o, _), e in latest.items() if o == outcome][: count // 2]
    ]


def episode_video(episode: Episode) -> bytes:
    """Encode every second frame of an episode as mp4, with the current subgoal in the corner."""
    steps = range(0, len(episode.images), 2)
    return encode_video((with_subgoal(episode, t) for t in steps), fps=10, crf=28)


def choose_pairs(comparison: Comparison, count: int) -> list[tuple[Trial, Trial]]:
    """Choose pairs of trials with videos: first those whose outcome changed, with the tasks taking turns.

    Gains and losses are chosen in the ratio in which they occurred, then unchanged pairs.
    """
    recorded = [
        (b, a)
        for b, a in comparison.pairs
        if video_of(comparison.before, b) and video_of(comparison.after, a)
    ]
    turns = {t.key: n for n, t in enumerate(interleave_tasks([b for b, _ in recorded]))}
    recorded.sort(key=lambda pair: turns[pair[0].key])
    gained = [p for p in recorded if p[0].outcome != "success" and p[1].outcome == "success"]
    lost = [p for p in recorded if p[0].outcome == "success" and p[1].outcome != "success"]
    same = [p for p in recorded if p[0].outcome == p[1].outcome]
    changed = len(gained) + len(lost)
    losses = min(len(lost), -(-count * len(lost) // changed)) if changed else 0
    gains = min(len(gained), count - losses)
    return [*gained[:gains], *lost[:losses], *same[: count - gains - losses]]


def side_by_side(comparison: Comparison, pair: tuple[Trial, Trial]) -> bytes:
    """Encode one start as mp4: before on the left and after on the right, synchronized."""
    evaluations = (comparison.before, comparison.after)
    videos = [read_trial_video(e, t) for e, t in zip(evaluations, pair, strict=True)]
    frames = (np.concatenate(both, axis=1) for both in synchronized(videos))
    return encode_video(frames, fps=10, crf=26)
