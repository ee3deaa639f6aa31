"""Judging later: verdicts for stored episodes whose verdict is unknown, as after a VLM's outage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from soar.errors import StoreError
from soar.interfaces import EpisodeStore, VisionLanguageModel
from soar.tasks.question_file import task_of_episode
from soar.tasks.success_detector import verdict
from soar.types import EpisodeSummary, Image, Outcome, Query, Verdict

_BATCH = 16


class JudgedStore(EpisodeStore, Protocol):
    """A store whose verdicts can be replaced."""

    def set_verdict(self, id: str, verdict: Verdict) -> None:
        """Replace one episode's verdict."""


def unknown(store: EpisodeStore, query: Query | None = None) -> list[EpisodeSummary]:
    """The episodes without a verdict, oldest first."""
    return list(store.query(replace(query or Query(), outcomes=("unknown",))))


def judge_unknown(
    store: JudgedStore,
    vlm: VisionLanguageModel,
    threshold: float = 0.5,
    query: Query | None = None,
    on_judged: Callable[[str, Verdict], None] = lambda id, verdict: None,
) -> Counter[Outcome]:
    """Ask a VLM about the first and last frames of all episodes without a verdict, and store what it says.

    What it can't tell either stays unknown. Raises ModelUnavailable; what was judged until then stays.
    """
    outcomes: Counter[Outcome] = Counter()
    for batch in _batches(unknown(store, query)):
        loaded = [(s, ends) for s in batch if (ends := _ends(store, s.id)) is not None]
        tasks = [task_of_episode(s) for s, _ in loaded]
        questions = [[t.question] for t in tasks for _ in range(2)]
        replies = vlm.answer([image for _, ends in loaded for image in ends], questions)
        looks = [{a.question: a for a in reply} for reply in replies]
        for (summary, _), task, before, after in zip(
            loaded, tasks, looks[::2], looks[1::2], strict=True
        ):
            word = verdict(task, after, vlm.name, threshold, before)
            outcomes[word.outcome] += 1
            if word.outcome != "unknown":
                store.set_verdict(summary.id, word)
            on_judged(summary.id, word)
    return outcomes


def _ends(store: EpisodeStore, id: str) -> tuple[Image, Image] | None:
    """First and last frame; None for an episode that can't be read: `soar data verify` names it."""
    try:
        images = store.load(id).images
    except StoreError:
        return None
    return images[0], images[-1]


def _batches(summaries: Sequence[EpisodeSummary]) -> Iterator[list[EpisodeSummary]]:
    rest = iter(summaries)
    while batch := list(islice(rest, _BATCH)):
        yield batch
