"""Verdicts of a success detector on stored episodes, as after an outage of the VLM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from soar.data.store.lance import LanceStore
from soar.errors import StoreError
from soar.interfaces import AnySuccessDetector
from soar.tasks.question_file import task_of_episode
from soar.tasks.success_detector import judge_episodes, needs_all_frames
from soar.types import EpisodeFrames, EpisodeSummary, Outcome, Query, Task, Verdict

_BATCH = 16
"""Number of episodes whose frames go into one request."""


def unknown(store: LanceStore) -> list[EpisodeSummary]:
    """Return the episodes whose verdict is unknown, oldest first."""
    return list(store.query(Query(outcomes=("unknown",))))


def judge_unknown(
    store: LanceStore,
    detector: AnySuccessDetector,
    on_judged: Callable[[str, Verdict], None] = lambda id, verdict: None,
) -> Counter[Outcome]:
    """Judge all episodes whose verdict is unknown, and store each new verdict that isn't.

    Args:
        store: the store.
        detector: success detector.
        on_judged: called with the id and verdict of each episode.

    Returns:
        Number of episodes by outcome.

    Raises:
        ModelUnavailable: no reply within the time limit; the verdicts so far are stored.
    """
    outcomes: Counter[Outcome] = Counter()
    for summary, verdict in judge_stored(store, unknown(store), detector):
        outcomes[verdict.outcome] += 1
        if verdict.outcome != "unknown":
            store.set_verdict(summary.id, verdict)
        on_judged(summary.id, verdict)
    return outcomes


def judge_stored(
    store: LanceStore,
    summaries: Sequence[EpisodeSummary],
    detector: AnySuccessDetector,
    task: Task | None = None,
) -> Iterator[tuple[EpisodeSummary, Verdict]]:
    """Yield a detector's verdicts on stored episodes, without those that can't be read (`soar data verify`).

    Args:
        store: the episodes' store.
        summaries: the episodes.
        detector: the success detector.
        task: task whose success is judged; None for each episode's own.

    Raises:
        ModelUnavailable: no reply within the time limit.
    """
    size = 1 if needs_all_frames(detector) else _BATCH
    for start in range(0, len(summaries), size):
        batch = summaries[start : start + size]
        loaded = [(s, f) for s in batch if (f := _frames(store, s, detector, task)) is not None]
        verdicts = judge_episodes(detector, [frames for _, frames in loaded])
        yield from zip([s for s, _ in loaded], verdicts, strict=True)


def _frames(
    store: LanceStore, summary: EpisodeSummary, detector: AnySuccessDetector, task: Task | None
) -> EpisodeFrames | None:
    """An episode's frames as the detector needs them; None if it can't be read."""
    last = summary.length
    indices = list(range(last + 1)) if needs_all_frames(detector) else [0, last]
    try:
        return EpisodeFrames(task or task_of_episode(summary), store.images(summary.id, indices))
    except StoreError:
        return None
