from dataclasses import replace

import numpy as np
import pytest

from soar.critics.config import RewardConfig
from soar.critics.learning.returns import success_probability
from soar.errors import ConfigError
from soar.registry import load_detector
from soar.tasks.grammar import task_from_instruction
from soar.tasks.second_vote import EarlierFrameVotes, TwoVotes, combined, opposite
from soar.tasks.success_detector import VLMSuccessDetector, needs_all_frames
from soar.types import Answer, EpisodeFrames, Verdict

PUT = task_from_instruction("put the red block in the bowl")
FRAMES = np.zeros((9, 4, 4, 3), np.uint8)


class Scripted:
    """A VLM whose P(yes) follows from the question's kind and the image's brightness."""

    name = "scripted"

    def __init__(self, **p: float) -> None:
        self.p = p
        self.asked: list[str] = []

    def answer(self, images, questions):
        self.asked += [q.text for asked in questions for q in asked]
        return [
            [
                Answer(q, self.p.get(q.kind, 0.5) if image.max() else 1 - self.p[q.kind])
                for q in asked
            ]
            for image, asked in zip(images, questions, strict=True)
        ]


def episode(task=PUT):
    images = np.stack([FRAMES[0], FRAMES[0] + 255])
    return EpisodeFrames(task, images, undone_before=True)


def test_the_opposite_question_has_the_opposite_answer():
    other = opposite(PUT)
    assert other is not None
    assert other.question.text == "Is the red block on the table?"
    assert other.success_answer is not PUT.success_answer
    open_ = opposite(task_from_instruction("open the drawer"))
    assert open_ is not None
    assert open_.question.text == "Is the drawer closed?"


def test_a_success_needs_both_votes():
    for p_in, p_table, outcome in [
        (0.9, 0.2, "success"),
        (0.9, 0.7, "failure"),
        (0.3, 0.1, "failure"),
    ]:
        vlm = Scripted(**{"in": p_in, "table": p_table})
        detector = VLMSuccessDetector(vlm)
        [verdict] = TwoVotes(detector, detector, reworded=True).judge([episode()])
        assert verdict.outcome == outcome
        assert verdict.p_success == pytest.approx(min(p_in, 1 - p_table))
        assert [v.p_success for v in verdict.votes] == pytest.approx([p_in, 1 - p_table])
        assert verdict.votes[1].question == "Is the red block on the table?"


def test_without_another_wording_the_first_vote_stands_alone():
    task = replace(PUT, question=replace(PUT.question, text="Tidy?", kind="other"))
    vlm = Scripted(other=0.8)
    detector = VLMSuccessDetector(vlm)
    [verdict] = TwoVotes(detector, detector, reworded=True).judge([episode(task)])
    assert verdict.p_success == 0.8
    assert verdict.votes == ()


def test_an_unknown_vote_leaves_the_verdict_unknown():
    votes = [Verdict("success", 0.9), Verdict("unknown")]
    assert combined(PUT, votes, "both", 0.5).outcome == "unknown"


def test_the_earlier_frame_is_shortly_before_the_last():
    vlm = Scripted(**{"in": 0.9})
    frames = FRAMES.copy()
    frames[-1] = 255  # the object flies through the bowl in the last frame only
    detector = EarlierFrameVotes(VLMSuccessDetector(vlm), steps=3)
    assert needs_all_frames(detector)
    verdict = detector.judge_episode(frames, PUT)
    assert verdict.outcome == "failure"
    assert [v.p_success for v in verdict.votes] == pytest.approx([0.81, 0.09])


def test_detectors_with_two_votes_have_names_for_every_command():
    assert isinstance(load_detector("vlm+wording", vlm=Scripted()), TwoVotes)
    assert isinstance(load_detector("vlm+frame", vlm=Scripted()), EarlierFrameVotes)
    both = load_detector("vlm+compact", 0.6, vlm=Scripted())
    assert isinstance(both, TwoVotes)
    assert both.threshold == 0.6
    with pytest.raises(ConfigError, match=r"valid: vlm, vlm\+wording"):
        load_detector("two votes")


def test_a_soft_label_is_the_mean_of_the_votes():
    soft = RewardConfig(labels="probability")
    votes = [Verdict("success", 0.9), Verdict("failure", 0.3)]
    verdict = combined(PUT, votes, "both", 0.5)
    assert success_probability(verdict, soft) == pytest.approx(0.6)
    assert success_probability(verdict, RewardConfig()) == 0
