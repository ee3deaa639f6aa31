"""Second votes: a verdict is a success only if two different judgments say so.

The paper's detector calls a third of failures a success. Two judgments that err for different reasons agree on fewer of
them. The second one asks another question about the same frames ("wording"), the same question about a frame shortly
before the last ("frame"), or another model. Both are kept as the verdict's votes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from soar.interfaces import AnySuccessDetector, SuccessDetector, VisionLanguageModel
from soar.tasks.grammar import success_probability
from soar.tasks.questions import make_question
from soar.tasks.success_detector import to_verdict
from soar.types import Answer, EpisodeFrames, Image, Images, QuestionKind, Task, Verdict, Vote

EARLIER_STEPS = 5
"""Control steps from the earlier frame to the last one: 1 s at 5 Hz, when a released object has come to
rest and the arm stands elsewhere."""
_OPPOSITES: dict[QuestionKind, QuestionKind] = {
    "in": "table", "left": "right", "right": "left", "open": "closed", "closed": "open",
    "folded": "unfolded", "unfolded": "folded",
}  # fmt: skip
"""Kinds of question whose answers are opposites: an object that isn't in its container lies on the table."""


class TwoVotes:
    """A success detector that asks two others about the same frames. It is a success detector itself."""

    def __init__(
        self, first: SuccessDetector, second: SuccessDetector, *, reworded: bool = False
    ) -> None:
        """Combine two detectors. `reworded`: the second one is asked the opposite question."""
        self.name = f"{first.name} and {'another wording' if reworded else second.name}"
        self.threshold = first.threshold
        self._first, self._second, self._reworded = first, second, reworded

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        """See `SuccessDetector.judge`. Where no other question is known, the first judgment stands alone."""
        firsts = self._first.judge(episodes)
        tasks = [opposite(e.task) if self._reworded else e.task for e in episodes]
        asked = [
            replace(e, task=task, answers_before=None, answers_after=None)
            for e, task in zip(episodes, tasks, strict=True)
            if task is not None
        ]
        seconds = iter(self._second.judge(asked) if asked else ())
        return [
            first
            if task is None
            else combined(e.task, (first, next(seconds)), self.name, self.threshold)
            for e, task, first in zip(episodes, tasks, firsts, strict=True)
        ]


class EarlierFrameVotes:
    """A detector that judges the last frame and one shortly before it; see `EpisodeSuccessDetector`."""

    def __init__(self, detector: SuccessDetector, steps: int = EARLIER_STEPS) -> None:
        """Wrap a detector of first and last frames. `steps`: control steps between the two frames."""
        self.name = f"{detector.name} and an earlier frame"
        self.threshold = detector.threshold
        self._detector, self._steps = detector, steps

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        """Judge both frames in one request. Raises ModelUnavailable."""
        earlier = max(0, len(frames) - 1 - self._steps)
        votes = self._detector.judge(
            [EpisodeFrames(task, np.stack([frames[0], frames[i]])) for i in (-1, earlier)]
        )
        return combined(task, votes, self.name, self.threshold)


def with_second_vote(
    detector: SuccessDetector, kind: str, load: Callable[[str], SuccessDetector]
) -> AnySuccessDetector:
    """Add a second vote to a detector.

    Args:
        detector: the detector of the first vote.
        kind: "wording", "frame", or the name of another VLM.
        load: loads the detector of another VLM.
    """
    if kind == "wording":
        return TwoVotes(detector, detector, reworded=True)
    return EarlierFrameVotes(detector) if kind == "frame" else TwoVotes(detector, load(kind))


def opposite(task: Task) -> Task | None:
    """Return the task with the question whose other answer means success; None where none is known."""
    kind = _OPPOSITES.get(task.question.kind)
    if kind is None:
        return None
    question = make_question(kind, task.question.object)
    return replace(task, question=question, success_answer=not task.success_answer)


def surely_done(
    vlm: VisionLanguageModel, images: Sequence[Image], tasks: Sequence[Task], least_p: float
) -> Bool[np.ndarray, " n"]:
    """Return for each image whether its task is done according to both its question and the opposite one.

    Args:
        vlm: the model that is asked.
        images: one for each task.
        tasks: the tasks; those without an opposite question are never surely done.
        least_p: probability that each of the two answers must exceed.

    Raises:
        ModelUnavailable: the model doesn't answer.
    """
    votes = [[task, other] if (other := opposite(task)) else [] for task in tasks]
    replies = vlm.answer(images, [[vote.question for vote in asked] for asked in votes])

    def agree(asked: Sequence[Task], replied: Sequence[Answer]) -> bool:
        return bool(asked) and all(
            reply.p_yes is not None and success_probability(vote, reply.p_yes) > least_p
            for vote, reply in zip(asked, replied, strict=True)
        )

    return np.array([agree(*each) for each in zip(votes, replies, strict=True)], bool)


def combined(task: Task, verdicts: Sequence[Verdict], judge: str, threshold: float) -> Verdict:
    """Return the verdict of several judgments, with the smallest of their probabilities; unknown if one is unknown.

    Args:
        task: the judged task.
        verdicts: the judgments.
        judge: name of the detector.
        threshold: probability from which the episode counts as a success.
    """
    ps = [v.p_success for v in verdicts]
    known = [p for p in ps if p is not None]
    p = min(known) if len(known) == len(ps) else None
    sources = {v.source for v in verdicts}
    source = sources.pop() if len(sources) == 1 else None
    votes = tuple(
        Vote(v.p_success, v.source, v.raw, v.decoded, v.judge, v.question) for v in verdicts
    )
    found = to_verdict(task, p, judge, threshold, verdicts[0].raw, source)
    return replace(found, votes=votes)
