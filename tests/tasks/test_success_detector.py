from collections.abc import Sequence

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import VLMSuccessDetector, verdict
from soar.types import Answer, Image, Observation, Question

PUT = task_from_instruction("put the lemon on the blue plate")
REMOVE = task_from_instruction("remove the lemon from the blue plate and put it on the table")
LOOK = Observation(np.zeros((4, 4, 3), np.uint8), np.zeros(7, np.float32), 0.0)


class Sure:
    """A model that says one thing."""

    name = "sure"

    def __init__(self, p_yes: float | None) -> None:
        self.p_yes = p_yes

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        return [[Answer(q, self.p_yes, "hm") for q in asked] for asked in questions]


def test_success_is_the_opposite_answer_of_feasible():
    detector = VLMSuccessDetector(Sure(0.8))
    assert detector.judge(LOOK, PUT).outcome == "success"
    removed = detector.judge(LOOK, REMOVE)
    assert removed.outcome == "failure"
    assert removed.p_success == pytest.approx(0.2)


def test_what_cannot_be_read_is_unknown_and_never_a_label():
    judged = VLMSuccessDetector(Sure(None)).judge(LOOK, PUT)
    assert (judged.outcome, judged.p_success, judged.raw) == ("unknown", None, "hm")
    assert verdict(PUT, {}, "nobody").outcome == "unknown"


def test_the_threshold_decides():
    answers = {PUT.question: Answer(PUT.question, 0.7)}
    assert verdict(PUT, answers, "x", threshold=0.7).outcome == "success"
    assert verdict(PUT, answers, "x", threshold=0.71).outcome == "failure"
    with pytest.raises(ConfigError, match="between 0 and 1"):
        VLMSuccessDetector(Sure(0.5), threshold=0.0)


def test_what_was_so_before_is_no_achievement():
    def look(p_yes):
        return {PUT.question: Answer(PUT.question, p_yes)}

    assert verdict(PUT, look(0.9), "x", before=look(0.1)).p_success == pytest.approx(0.81)
    assert verdict(PUT, look(0.9), "x", before=look(0.9)).outcome == "failure"
    assert verdict(PUT, look(0.9), "x", before={}).outcome == "unknown"
    assert verdict(PUT, look(0.9), "x", before=look(None)).outcome == "unknown"


def test_a_verdict_names_its_judge_and_question():
    judged = VLMSuccessDetector(Sure(0.9)).judge(LOOK, PUT)
    assert (judged.judge, judged.question) == ("sure", "Is the lemon on the blue plate?")
