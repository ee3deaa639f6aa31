"""Check and conversion of what models return. Whatever passes has the type and shape that `soar.interfaces` says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

import numpy as np
from jaxtyping import Shaped

from soar.errors import BadOutput, SoarError
from soar.robots.returned import described, to_array
from soar.types import Answer, Images, Proposal, Question, Source, Task
from soar.utils.numbers import plain_number

log = logging.getLogger(__name__)


def to_images(value: Any, count: int, name: str) -> Images:
    """Return a generator's images as an array; PIL images will do. Raises BadOutput: they aren't RGB images."""
    array = to_array(value)
    right = array is not None and array.ndim == 4 and array.shape[::3] == (count, 3) and array.size
    if array is None or array.dtype != np.uint8 or not right:
        raise BadOutput(
            f"{name} gave {described(value)} for {count} images; valid: RGB, uint8 of 0 to 255 and shape "
            f"({count}, h, w, 3)"
        )
    return array


def to_actions(
    value: Any, count: int, name: str, width: int | None = None
) -> Shaped[np.ndarray, "n action"]:
    """Return a policy's actions as an array.

    Args:
        value: what the policy returned.
        count: number of robots.
        name: the policy's name.
        width: numbers of an action; None for any.

    Raises:
        BadOutput: they aren't numbers, or of another shape. Whether they are finite is for each robot to say.
    """
    array = to_array(value)
    last = array.shape[-1] if array is not None and array.ndim else 0
    if array is None or array.dtype.kind not in "fiu" or array.shape != (count, width or last):
        numbers = "numbers of an action" if width is None else width
        raise BadOutput(
            f"{name} gave {described(value)} for {count} robots; valid: float32 of shape ({count}, {numbers})"
        )
    return array


def to_answers(
    replies: Any, questions: Sequence[Sequence[Question]], name: str
) -> list[list[Answer]]:
    """Return a VLM's answers, each with a probability or None. A question without an answer is left out.

    Raises:
        SoarError: they aren't answers to the questions about each image.
    """
    valid = "valid: for each image a list of Answer, one to each of its questions"
    if not isinstance(replies, list | tuple):
        raise SoarError(f"gave {described(replies)}; {valid}")
    if len(replies) != len(questions):
        raise SoarError(f"gave {len(replies)} replies for {len(questions)} images; {valid}")
    answers = []
    for row, asked in zip(replies, questions, strict=True):
        if not isinstance(row, list | tuple):
            raise SoarError(f"gave {described(row)} for an image; {valid}")
        if wrong := [a for a in row if not isinstance(a, Answer)]:
            raise SoarError(f"gave {wrong[0]!r:.60} for an answer; {valid}")
        known = {q.text: q for q in asked}
        if strange := [a for a in row if str(a.question) not in known]:
            raise SoarError(
                f"answered {str(strange[0].question)!r:.80}, which wasn't asked; {valid}"
            )
        answers.append([_answer(a, known[str(a.question)], name) for a in row])
    return answers


def _answer(answer: Answer, question: Question, name: str) -> Answer:
    """Return an answer of our types, P(yes) None outside of [0, 1]. Raises SoarError: it is no number."""
    p = None if answer.p_yes is None else plain_number(answer.p_yes)
    if p is None and answer.p_yes is not None:
        raise SoarError(f"p_yes is {answer.p_yes!r:.60}; valid: a number from 0 to 1, or None")
    source = answer.source if answer.source in get_args(Source) else None
    valid = p is not None and 0 <= p <= 1
    if p is not None and not valid:
        _warn_outside(name)
    return Answer(question, p if valid else None, str(answer.raw), source, str(answer.decoded))


@cache
def _warn_outside(name: str) -> None:
    """Say once that a VLM's numbers aren't probabilities."""
    log.warning("%s gave a P(yes) outside of 0 to 1, which counts as unknown", name)


def to_proposal(value: Any) -> Proposal:
    """Return a proposer's proposal in types that the store keeps. Raises SoarError: it is none."""
    valid = "valid: a Proposal, whose task is a Task (soar.types)"
    if not isinstance(value, Proposal):
        raise SoarError(f"gave {described(value)}; {valid}")
    if not isinstance(value.task, Task):
        raise SoarError(f"gave a proposal of {described(value.task)}; {valid}")
    texts = (value.task.instruction, value.reason, *value.feasible, *value.scores)
    refused = (*value.refused, *value.refused.values())
    if wrong := [t for t in (*texts, *refused) if not isinstance(t, str)]:
        raise SoarError(
            f"gave a proposal with {described(wrong[0])} in place of text; valid: a reason, and instructions"
        )
    scores = {i: plain_number(s) for i, s in value.scores.items()}
    if bad := [i for i, s in scores.items() if s is None or not np.isfinite(s)]:
        raise SoarError(f"gave the score {value.scores[bad[0]]!r:.60}; valid: finite numbers")
    if not all(isinstance(a, Answer) for a in value.asked):
        raise SoarError("gave a proposal with `asked` of another type; valid: Answer")
    return Proposal(
        value.task,
        value.reason,
        tuple(value.feasible),
        {i: s for i, s in scores.items() if s is not None},
        dict(value.refused),
        tuple(value.asked),
    )
