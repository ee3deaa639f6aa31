"""The example of two VLMs that check each other."""

import sys
from pathlib import Path

import numpy as np
import pytest

from soar.interfaces import VisionLanguageModel
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Answer, EpisodeFrames

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from second_opinion import SecondOpinion

TASK = task_from_instruction("open the drawer")
EPISODE = EpisodeFrames(TASK, np.zeros((1, 4, 4, 3), np.uint8), undone_before=True)


class Says:
    def __init__(self, p):
        self.name, self.p = f"says {p}", p

    def answer(self, images, questions):
        return [[Answer(q, self.p, "hm") for q in asked] for asked in questions]


@pytest.mark.parametrize(("first", "second", "outcome"), [
    (0.9, 0.7, "success"), (0.1, 0.3, "failure"), (0.9, 0.2, "unknown"), (0.9, None, "unknown"),
])  # fmt: skip
def test_two_models_judge_only_where_they_agree(first, second, outcome):
    both = SecondOpinion(Says(first), Says(second))
    assert isinstance(both, VisionLanguageModel)
    [verdict] = VLMSuccessDetector(both).judge([EPISODE])
    assert verdict.outcome == outcome
