"""Words of 200 and more replies in the manners of many models, labeled by hand."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar.types import Question
from soar.vlm.clients.replies import read_chat

FOLDER = Path(__file__).parent
REPLIES = json.loads((FOLDER / "replies.json").read_text())
LABELS = {"yes": 1.0, "no": 0.0, "unknown": None}
ONE = [(text, LABELS[label]) for label in LABELS for text in REPLIES[label]]
BY_QUESTION = [
    (Question(group["question"]), text, LABELS[label])
    for group in json.loads((FOLDER / "replies_by_question.json").read_text())
    for label in LABELS
    for text in group[label]
]
LEMON, DRAWER = Question("Is the lemon on the plate?"), Question("Is the drawer open?")
Q = [LEMON, DRAWER]
BLOCK = Question("Is the green block in the brown bowl?")


def asked(text: str) -> Question:
    """The question that a reply of the list without questions belongs to."""
    return DRAWER if "drawer" in text.lower() else BLOCK if "green block" in text else LEMON


def read(
    text: str, count: int = 1, ending: str = "stop", question: Question | None = None
) -> list[float | None]:
    reply = {"choices": [{"message": {"content": text}, "finish_reason": ending}]}
    questions = Q[:count] if count > 1 else [question or asked(text)]
    return [a.p_yes for a in read_chat(reply, questions)]


def test_no_reply_of_two_hundred_gets_a_wrong_label():
    wrong = [(t, label) for t, label in ONE if read(t)[0] not in (None, label)]
    assert len(ONE) > 200
    assert not wrong


def test_nearly_all_plain_answers_are_read():
    missed = [t for t, label in ONE if label is not None and read(t)[0] is None]
    assert not missed


def test_replies_are_read_by_the_question_that_they_answer():
    """A reply about something else, or one whose reason speaks for the other answer, is unknown."""
    found = [(q.text, t, label, read(t, question=q)[0]) for q, t, label in BY_QUESTION]
    assert len(found) > 300
    assert not [f for f in found if f[3] not in (None, f[2])]
    known = [f for f in found if f[2] is not None]
    missed = [f for f in known if f[3] is None]
    assert len(missed) <= 0.1 * len(known), missed


@pytest.mark.parametrize(("text", "label"), REPLIES["cut off"])
def test_a_reply_that_is_cut_off_counts_only_if_it_began_with_the_answer(text, label):
    assert read(text, ending="length") == [None if label is None else float(label)]


@pytest.mark.parametrize(("text", "labels"), REPLIES["two questions"])
def test_the_last_object_or_the_numbered_lines_answer_two_questions(text, labels):
    assert read(text, 2) == [None if x is None else float(x) for x in labels]


DOUBTS = [
    "I can't tell.",
    "Maybe not.",
    "The image is too blurry.",
    "Please upload it.",
    "It could be either.",
]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.sampled_from(REPLIES["yes"] + REPLIES["no"]), st.sampled_from(DOUBTS), st.booleans())
def test_a_doubt_beside_an_answer_never_adds_a_label(text, doubt, before):
    plain = read(text)[0]
    assert read(f"{doubt} {text}" if before else f"{text} {doubt}")[0] in (None, plain)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["yes", "no", "Yes", "{", "}", '"1":', '"', ",", "\n", " ", "</think>", "<think>", "1.", "\ud800", "İ", "n't", "."]
)).map("".join))  # fmt: skip
def test_any_text_is_read_without_an_error_and_as_words_that_it_has(text):
    for p in (*read(text), *read(text, 2), *read(text, ending="length")):
        assert p is None or re.search("(?i)(yes|true|y)" if p else "(?i)(no|false|n)", text)


PIECES = ["\n", " ", "yes ", "{", "}", "{}", '{"1": "yes"}', '"1":', "1.", "<", "<think>", "</think>", "no, ", "yes\n",
          "answer: ", "answer: yes ", "answer is yes\n", "so the ", ".", "*", "\t", "1", "n/", "guess", "'",
              "\\boxed", "1. yes\n",
          "lemon ", "the lemon on the plate ", "on the plate, ", "it is not "]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(("start", "end"), [("", ""), ("yes", "x"), ("{", "no")])
def test_long_replies_take_little_time(piece, start, end):
    def seconds(size: int) -> float:
        text = start + piece * (size // len(piece)) + end
        began = time.process_time()
        read(text, 2)
        read(text)
        return time.process_time() - began

    assert seconds(19_900) < 1.0
    assert seconds(2_000_000) < 1.0


def test_a_reply_longer_than_any_answer_is_unknown():
    assert read("Yes. " + "The lemon is there. " * 2000) == [None]
