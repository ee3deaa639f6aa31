"""Success detection: verdicts on episodes from their frames (paper, B.1.2).

The paper judges the last frame alone. With a VLM that errs, and with random tasks where none is feasible, that counts
as successes episodes in which nothing happened. Here P(success) = P(done at the end) P(not done at the start).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import SupportsFloat

from soar.data.store.content import check_verdict
from soar.errors import BadOutput, ConfigError, ContentError
from soar.interfaces import AnySuccessDetector, EpisodeSuccessDetector, VisionLanguageModel
from soar.tasks.grammar import success_probability
from soar.types import (
    SUCCESS_THRESHOLD,
    Answer,
    EpisodeFrames,
    Image,
    Outcome,
    Question,
    Source,
    Task,
    Verdict,
)
from soar.utils.numbers import plain_number


class VLMSuccessDetector:
    """Judges by a vision-language model's answers to the task's question about the first and the last frame."""

    def __init__(self, vlm: VisionLanguageModel, threshold: float = SUCCESS_THRESHOLD) -> None:
        """Initialize the detector.

        Args:
            vlm: the model, asked only about frames without answers.
            threshold: P(success) from which an episode counts as a success; `soar vlm calibrate` chooses one.

        Raises:
            ConfigError: the threshold isn't between 0 and 1.
        """
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, not {threshold}")
        self.name = vlm.name
        self.threshold = threshold
        self._vlm = vlm

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        """See `SuccessDetector.judge`. All frames without answers go into one request."""
        missing: list[tuple[Image, Question]] = []
        for episode in episodes:
            if episode.answers_before is None and not episode.undone_before:
                missing.append((episode.images[0], episode.task.question))
            if episode.answers_after is None:
                missing.append((episode.images[-1], episode.task.question))
        images = [image for image, _ in missing]
        replies = self._vlm.answer(images, [[q] for _, q in missing]) if missing else []
        if len(replies) != len(missing):
            raise BadOutput(f"{self.name} gave {len(replies)} replies for {len(missing)} images")
        rest = iter(replies)
        return [self._judge(episode, rest) for episode in episodes]

    def _judge(self, episode: EpisodeFrames, replies: Iterator[Sequence[Answer]]) -> Verdict:
        before = None
        if not episode.undone_before:
            before = _by_question(episode.answers_before, replies)
        after = _by_question(episode.answers_after, replies)
        return verdict(episode.task, after, self.name, self.threshold, before)


def judge_episodes(
    detector: AnySuccessDetector, episodes: Sequence[EpisodeFrames]
) -> list[Verdict]:
    """Return a detector's verdicts on episodes with the frames that it needs (`needs_all_frames`).

    Raises:
        ModelUnavailable: no reply within the time limit.
        BadOutput: the detector didn't return one valid verdict for each episode.
    """
    if isinstance(detector, EpisodeSuccessDetector):
        verdicts: object = [detector.judge_episode(e.images, e.task) for e in episodes]
    else:
        verdicts = detector.judge(episodes)
    return to_verdicts(verdicts, len(episodes), detector.name)


def to_verdicts(value: object, count: int, name: str) -> list[Verdict]:
    """Return what a detector gave for some episodes as verdicts.

    Raises:
        BadOutput: it isn't one valid verdict for each episode.
    """
    given = value if isinstance(value, list | tuple) else [value]
    verdicts = [v for v in given if isinstance(v, Verdict)]
    if given is not value or not len(verdicts) == len(given) == count:
        wrong = [v for v in given if not isinstance(v, Verdict)]
        found = f"{wrong[0]!r:.60}" if wrong else f"{value!r:.60}"
        raise BadOutput(
            f"{name} gave {found} for {count} episodes; valid: one Verdict for each, as to_verdict makes it, in a list"
        )
    try:
        for each in verdicts:
            check_verdict(each)
    except ContentError as error:
        raise BadOutput(f"{name} gave a verdict that is none: {error}") from error
    return verdicts


def needs_all_frames(detector: AnySuccessDetector) -> bool:
    """Whether a detector judges all frames of an episode, not only the first and the last."""
    return isinstance(detector, EpisodeSuccessDetector)


def verdict(
    task: Task,
    answers: Mapping[Question, Answer],
    judge: str,
    threshold: float = SUCCESS_THRESHOLD,
    before: Mapping[Question, Answer] | None = None,
) -> Verdict:
    """Return the verdict that a VLM's answers give.

    Args:
        task: the task.
        answers: answers about the last frame, by question; without a readable one to the task's question, the verdict
            is unknown.
        judge: name of the VLM.
        threshold: P(success) from which the episode counts as a success.
        before: answers about the first frame; None if the task is known to have been undone in it.
    """
    used = [answers.get(task.question)]
    if before is not None:
        used.append(before.get(task.question))
    answer, p = used[0], _p_done(task, used[0])
    for earlier in used[1:]:
        p_before = _p_done(task, earlier)
        p = None if p is None or p_before is None else p * (1 - p_before)
    judged = to_verdict(task, p, judge, threshold, answer.raw if answer else "", _coarsest(used))
    return replace(judged, decoded=answer.decoded if answer else "")


def to_verdict(
    task: Task,
    p_success: SupportsFloat | None,
    judge: str,
    threshold: float,
    raw: str = "",
    source: Source | None = None,
) -> Verdict:
    """Return the verdict of a probability of success; None gives an unknown outcome.

    Args:
        task: the judged task.
        p_success: probability of success in [0, 1], a number of Python, numpy or torch.
        judge: name of the detector.
        threshold: probability from which the episode counts as a success.
        raw: the model's reply as text.
        source: origin of the probability; None if nobody says.

    Raises:
        BadOutput: the probability is no number.
    """
    if p_success is None:
        return Verdict("unknown", None, task.question.text, raw, judge, source)
    p = plain_number(p_success)  # as floats are in the store
    if p is None:
        raise BadOutput(f"{judge} gave P(success) {p_success!r:.60}; valid: a number from 0 to 1, or None")  # fmt: skip
    outcome: Outcome = "success" if p >= threshold else "failure"
    return Verdict(outcome, p, task.question.text, raw, judge, source)


def _coarsest(answers: Sequence[Answer | None]) -> Source | None:
    """Origin of a probability made of several answers: the coarsest of theirs; None if an answer has none."""
    sources = [a.source if a else None for a in answers]
    order: tuple[Source, ...] = ("word", "vote", "probability")
    return None if None in sources else next(s for s in order if s in sources)


def _by_question(
    answers: Mapping[Question, Answer] | None, replies: Iterator[Sequence[Answer]]
) -> Mapping[Question, Answer]:
    """Answers about a frame; the next reply where it wasn't asked about before."""
    return answers if answers is not None else {a.question: a for a in next(replies)}


def _p_done(task: Task, answer: Answer | None) -> float | None:
    """P(done), or None without a readable answer."""
    if answer is None or answer.p_yes is None:
        return None
    return success_probability(task, answer.p_yes)
