import json
import math

import pytest

from soar.types import Question
from soar.vlm.clients.replies import (
    probability,
    read_chat,
    read_decisions,
    read_systemone,
)

Q = [Question("Is the lemon on the plate?"), Question("Is the drawer open?")]


def chat(text: str | None, tokens: list[object] | None = None, **message: object) -> object:
    logprobs = None if tokens is None else {"content": tokens}
    return {"choices": [{"message": {"content": text, **message}, "logprobs": logprobs}]}


def token(text: str, **alternatives: float) -> object:
    top = [{"token": k, "logprob": math.log(p)} for k, p in alternatives.items()]
    return {"token": text, "logprob": 0.0, "top_logprobs": top}


def p(answers: list) -> list[float | None]:
    return [a.p_yes for a in answers]


def test_decisions_are_matched_by_name():
    reply = {"answers": [
        {"type": "predicate", "name": "q1", "probability": 0.2},
        {"type": "predicate", "name": "q0", "probability": 0.9},
    ]}  # fmt: skip
    assert p(read_decisions(reply, Q)) == [0.9, 0.2]


def test_nameless_decisions_count_only_when_none_is_missing():
    one = {"type": "predicate", "name": None, "probability": 0.9}
    assert p(read_decisions({"answers": [one, one]}, Q)) == [0.9, 0.9]
    assert p(read_decisions({"answers": [one]}, Q)) == [None, None]


def test_a_refused_decision_is_unknown_and_leaves_the_others():
    reply = {"answers": [
        {"type": "refusal", "name": "q0"},
        {"type": "predicate", "name": "q1", "probability": 0.2},
    ]}  # fmt: skip
    answers = read_decisions(reply, Q)
    assert p(answers) == [None, 0.2]
    assert "refusal" in answers[0].raw


def test_systemone_answers_are_matched_by_name():
    reply = {"answers": {"q1": {"type": "noul", "noul": 1}, "q0": {"type": "noul", "noul": 0.25}}}
    assert p(read_systemone(reply, Q)) == [0.25, 1.0]
    assert p(read_systemone({"answers": {"q0": {"type": "noul", "noul": 0.25}}}, Q)) == [0.25, None]


@pytest.mark.parametrize("reply", [None, [], "yes", 3, {}, {"answers": 5}, {"answers": None},
                                   {"answers": {"q0": "yes"}}, {"answers": ["yes", "no"]},
                                   {"choices": []}, {"choices": [None]}, {"choices": "yes"}])  # fmt: skip
@pytest.mark.parametrize("read", [read_decisions, read_systemone, read_chat])
def test_garbage_of_any_shape_is_unknown(read, reply):
    assert p(read(reply, Q)) == [None, None]


@pytest.mark.parametrize("value", [None, True, "0.5", -0.1, 1.5, math.nan, math.inf, [0.5]])
def test_only_a_number_from_0_to_1_is_a_probability(value):
    assert probability(value) is None


@pytest.mark.parametrize(("text", "answer"), [
    ("Yes", 1.0),
    ("no.", 0.0),
    ("**Yes**, it is.", 1.0),
    ("No, the green block is placed outside the bowl, on the edge of the platform.", 0.0),
    ("The answer is yes.", 1.0),
    ("True", 1.0),
    ("I can't help with that.", None),
    ("It may be yes or no.", None),
    ("I do not know", None),
    ("Nothing is in the bowl", None),
    ("", None),
])  # fmt: skip
def test_a_sentence_is_read_by_its_first_word_or_its_only_answer(text, answer):
    question = Question("Is the green block in the brown bowl?")
    assert p(read_chat(chat(text), [question])) == [answer]


def test_words_without_probabilities_are_certain():
    assert p(read_chat(chat("Yes."), Q[:1])) == [1.0]
    assert p(read_chat(chat("No."), Q[:1])) == [0.0]


def test_log_probabilities_give_the_share_of_yes():
    reply = chat(" Yes", [token(" Yes", **{" Yes": 0.6, " No": 0.2, " Maybe": 0.2})])
    assert p(read_chat(reply, Q[:1])) == [pytest.approx(0.75)]


def test_yes_and_no_with_little_of_the_probability_are_unknown():
    reply = chat("Yes", [token("Yes", **{"Yes": 0.05, "Definitely": 0.9})])
    assert p(read_chat(reply, Q[:1])) == [None]


@pytest.mark.parametrize("value", [
    math.nan, math.inf, -math.inf, True, 99, 1e-3, "0", None, [0], 10**400,
])  # fmt: skip
def test_an_impossible_log_probability_is_unknown(value):
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": value}]
    reply = chat("Yes", [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}])
    assert p(read_chat(reply, Q[:1])) == [None]


def test_log_probabilities_that_add_up_to_more_than_one_are_unknown():
    reply = chat("Yes", [token("Yes", Yes=1.0, No=1.0)])
    assert p(read_chat(reply, Q[:1])) == [None]


def test_a_json_object_answers_many_questions():
    assert p(read_chat(chat('```json\n{"1": "yes", "2": "no"}\n```'), Q)) == [1.0, 0.0]
    assert p(read_chat(chat('{"1": true, "2": false}'), Q)) == [1.0, 0.0]
    assert p(read_chat(chat('{"1": "yes"}'), Q)) == [1.0, None]
    assert p(read_chat(chat('{"1": "perhaps", "2": "no"}'), Q)) == [None, 0.0]


def test_each_json_value_gets_the_probability_of_its_own_token():
    pieces = ['{"', "1", '":"', "yes", '","', "2", '":"', "no", '"}']
    tokens = [token(t) for t in pieces]
    tokens[3] = token("yes", yes=0.7, no=0.3)
    tokens[7] = token("no", yes=0.4, no=0.6)
    text = "".join(pieces)
    assert json.loads(text)
    assert p(read_chat(chat(text, tokens), Q)) == [pytest.approx(0.7), pytest.approx(0.4)]


def test_numbered_lines_answer_many_questions():
    assert p(read_chat(chat("1. Yes\n2) No, it is shut."), Q)) == [1.0, 0.0]
    assert p(read_chat(chat("Yes\nNo"), Q)) == [None, None]
    assert p(read_chat(chat("Yes"), Q)) == [None, None]


def test_a_refusal_is_unknown_whatever_its_text():
    assert p(read_chat(chat("Yes", refusal="I can't look at this."), Q[:1])) == [None]
    assert p(read_chat(chat(None, refusal="No."), Q[:1])) == [None]


def test_a_forced_word_with_little_probability_of_its_own_is_unknown():
    """A grammar may force "yes" on a model that would say something else (4e-4 of the probability here)."""
    forced = {"token": "yes", "logprob": math.log(4e-4), "top_logprobs": []}
    assert p(read_chat(chat("yes", [forced]), Q[:1])) == [None]
    listed = token("yes", yes=4e-4, no=1e-4, The=0.9)
    assert p(read_chat(chat("yes", [listed]), Q[:1])) == [None]


@pytest.mark.parametrize(("least", "expected"), [(0.5, None), (0.04, 0.8)])
def test_the_least_mass_of_yes_and_no_is_configured(least, expected):
    reply = chat("Yes", [token("Yes", Yes=0.04, No=0.01, The=0.9)])
    found = p(read_chat(reply, Q[:1], least))
    assert found == [expected and pytest.approx(expected)]


def test_an_answer_outside_the_alternatives_isn_t_impossible():
    """With one alternative, what is left may all be "no"; with more, each other token is less likely than the last."""
    assert p(read_chat(chat("Yes", [token("Yes", Yes=0.6)]), Q[:1])) == [pytest.approx(0.6)]
    reply = chat("Yes", [token("Yes", Yes=0.9, The=0.06, It=0.03)])
    assert p(read_chat(reply, Q[:1])) == [pytest.approx(0.9 / 0.91)]


def test_answers_say_how_they_came_about():
    [counted] = read_chat(chat("Yes", [token("Yes", Yes=0.9, No=0.1)]), Q[:1])
    [worded] = read_chat(chat("Yes"), Q[:1])
    [served] = read_systemone({"answers": {"q0": {"type": "noul", "noul": 0.25}}}, Q[:1])
    assert (counted.source, worded.source, served.source) == ("probability", "word", "probability")
