"""Assessment of a scene: one request to the VLM whose answers judge an episode and find the next feasible tasks."""

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
    """An observation with the VLM's answers about its image, by question; no answers if the VLM was unavailable."""

    observation: Observation
    answers: Mapping[Question, Answer]


def assess(
    vlm: VisionLanguageModel, scenes: Sequence[tuple[Observation, Sequence[Task]]]
) -> list[SceneAssessment]:
    """Ask the VLM about several observations in one batch.

    The questions are those of all tasks, and whether each of their objects is present. An unavailable VLM gives
    assessments without answers, and a probability outside of [0, 1] counts as unreadable.

    Args:
        vlm: the vision-language model.
        scenes: observations, each with the tasks of its station.
    """
    questions = [questions_of(tasks) for _, tasks in scenes]
    try:
        replies = vlm.answer([o.image for o, _ in scenes], questions) if scenes else []
    except ModelUnavailable as error:
        log.warning("no answers: %s", error)
        replies = []
    if len(replies) != len(scenes):
        replies = [[] for _ in scenes]
    return [
        SceneAssessment(observation, _by_question(asked, reply))
        for (observation, _), asked, reply in zip(scenes, questions, replies, strict=True)
    ]


def _by_question(asked: Sequence[Question], reply: Sequence[Answer]) -> dict[Question, Answer]:
    """Answers to the asked questions; an invalid probability becomes None."""
    answers = {}
    for answer in reply:
        if answer.question in asked:
            p = answer.p_yes
            valid = p is not None and np.isfinite(p) and 0 <= p <= 1
            answers[answer.question] = answer if valid else answer._replace(p_yes=None)
    return answers
