from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from soar.errors import BadOutput, ConfigError
from soar.interfaces import EpisodeSuccessDetector, SuccessDetector
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import (
    VLMSuccessDetector,
    judge_episodes,
    needs_all_frames,
    to_verdict,
    verdict,
)
from soar.types import Answer, EpisodeFrames, Image, Images, Question, Task, Verdict

PUT = task_from_instruction("put the lemon on the blue plate")
REMOVE = task_from_instruction("remove the lemon from the blue plate and put it on the table")
FRAMES = np.zeros((2, 4, 4, 3), np.uint8)


class Constant:
    """A model that always gives the same answer."""

    name = "constant"

    def __init__(self, p_yes: float | None) -> None:
        self.p_yes = p_yes
        self.requests: list[int] = []

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        self.requests.append(len(images))
        return [[Answer(q, self.p_yes, "hm") for q in asked] for asked in questions]


def last_frame(task: Task) -> EpisodeFrames:
    return EpisodeFrames(task, FRAMES[1:], undone_before=True)


def test_success_is_the_opposite_answer_of_feasible():
    detector = VLMSuccessDetector(Constant(0.8))
    put, removed = detector.judge([last_frame(PUT), last_frame(REMOVE)])
    assert put.outcome == "success"
    assert removed.outcome == "failure"
    assert removed.p_success == pytest.approx(0.2)


def test_an_unreadable_answer_is_unknown_and_never_a_label():
    [judged] = VLMSuccessDetector(Constant(None)).judge([last_frame(PUT)])
    assert (judged.outcome, judged.p_success, judged.raw) == ("unknown", None, "hm")
    assert verdict(PUT, {}, "nobody").outcome == "unknown"


def test_the_threshold_decides():
    answers = {PUT.question: Answer(PUT.question, 0.7)}
    assert verdict(PUT, answers, "x", threshold=0.7).outcome == "success"
    assert verdict(PUT, answers, "x", threshold=0.71).outcome == "failure"
    with pytest.raises(ConfigError, match="between 0 and 1"):
        VLMSuccessDetector(Constant(0.5), threshold=0.0)


def test_a_task_done_before_is_no_success():
    def answers(p_yes):
        return {PUT.question: Answer(PUT.question, p_yes)}

    assert verdict(PUT, answers(0.9), "x", before=answers(0.1)).p_success == pytest.approx(0.81)
    assert verdict(PUT, answers(0.9), "x", before=answers(0.9)).outcome == "failure"
    assert verdict(PUT, answers(0.9), "x", before={}).outcome == "unknown"
    assert verdict(PUT, answers(0.9), "x", before=answers(None)).outcome == "unknown"


def test_a_verdict_names_its_judge_and_question():
    [judged] = VLMSuccessDetector(Constant(0.9)).judge([last_frame(PUT)])
    assert (judged.judge, judged.question) == ("constant", "Is the lemon on the blue plate?")


def test_the_vlm_is_asked_in_one_request_and_only_about_frames_without_answers():
    vlm = Constant(0.9)
    detector = VLMSuccessDetector(vlm)
    known = {PUT.question: Answer(PUT.question, 0.1)}
    frames = EpisodeFrames(PUT, FRAMES)
    asked, given, half = detector.judge(
        [frames, replace(frames, answers_before=known, answers_after=known), replace(frames, answers_before=known)]
    )  # fmt: skip
    assert vlm.requests == [3]
    assert asked.p_success == pytest.approx(0.9 * 0.1)
    assert given.p_success == pytest.approx(0.1 * 0.9)
    assert half.p_success == pytest.approx(0.9 * 0.9)
    [judged] = detector.judge([replace(frames, answers_before={}, answers_after={})])
    assert (judged.outcome, vlm.requests) == ("unknown", [3])


class Motion:
    """Judges an episode by the change between successive frames."""

    name = "motion"
    threshold = 0.5

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        changed = np.abs(np.diff(frames.astype(float), axis=0)).max() > 0
        return to_verdict(task, float(changed), self.name, self.threshold)


def test_a_detector_may_judge_all_frames_of_an_episode():
    vlm, motion = VLMSuccessDetector(Constant(0.9)), Motion()
    assert isinstance(motion, EpisodeSuccessDetector)
    assert isinstance(vlm, SuccessDetector)
    assert (needs_all_frames(motion), needs_all_frames(vlm)) == (True, False)
    moving = np.stack([FRAMES[0], FRAMES[0] + 1, FRAMES[0]]).astype(np.uint8)
    episodes = [EpisodeFrames(PUT, moving), EpisodeFrames(PUT, FRAMES)]
    assert [v.outcome for v in judge_episodes(motion, episodes)] == ["success", "failure"]


def test_anything_but_one_verdict_for_each_episode_is_bad_output():
    class Silent:
        name, threshold = "silent", 0.5

        def judge(self, episodes):
            return []

    with pytest.raises(
        BadOutput, match=r"silent gave \[\] for 1 episodes; valid: one Verdict for each"
    ):
        judge_episodes(Silent(), [last_frame(PUT)])


@pytest.mark.parametrize(("before", "after", "source"), [
    ("probability", "probability", "probability"),
    ("word", "probability", "word"),
    ("probability", "vote", "vote"),
    (None, "probability", None),
])  # fmt: skip
def test_a_verdict_has_the_coarsest_origin_of_its_answers_and_the_decoder_s_word(
    before, after, source
):
    q = PUT.question
    first = {q: Answer(q, 0.1, "No.", before)}
    judged = verdict(PUT, {q: Answer(q, 1.0, "It is there.", after, "yes")}, "x", 0.5, first)
    assert (judged.source, judged.decoded, judged.raw) == (source, "yes", "It is there.")
    assert judged.p_success == pytest.approx(0.9)
