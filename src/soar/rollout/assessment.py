"""One look: an observation with a VLM's answers about it, asked once for everything it is needed for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soar.errors import ModelUnavailable
from soar.interfaces import VisionLanguageModel
from soar.tasks.grammar import questions_of
from soar.types import Answer, Observation, Question, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SceneAssessment:
    """What was seen, and what the VLM said about it, by question. No answers: nobody could be asked."""

    observation: Observation
    answers: Mapping[Question, Answer]


def assess(
    vlm: VisionLanguageModel, seen: Sequence[tuple[Observation, Sequence[Task]]]
) -> list[SceneAssessment]:
    """One batched question round about some observations, each with its station's tasks.

    The questions are those of all tasks, whose answers judge and find what is feasible, and whether
    each object is there. A VLM that is down gives looks without answers; what it says that is no
    answer counts as unreadable.
    """
    questions = [questions_of(tasks) for _, tasks in seen]
    try:
        replies = vlm.answer([o.image for o, _ in seen], questions) if seen else []
    except ModelUnavailable as error:
        log.warning("no answers: %s", error)
        replies = []
    if len(replies) != len(seen):
        replies = [[] for _ in seen]
    return [
        SceneAssessment(observation, _readable(asked, reply))
        for (observation, _), asked, reply in zip(seen, questions, replies, strict=True)
    ]


def _readable(asked: Sequence[Question], reply: Sequence[Answer]) -> dict[Question, Answer]:
    """Answers by question. A probability that is none becomes unknown; other questions are ignored."""
    answers = {}
    for answer in reply:
        if answer.question in asked:
            p = answer.p_yes
            fine = p is not None and np.isfinite(p) and 0 <= p <= 1
            answers[answer.question] = answer if fine else answer._replace(p_yes=None)
    return answers
