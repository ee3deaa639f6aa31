"""Chat servers that refuse parameters, or report errors in a reply with status 200."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ModelUnavailable
from soar.types import Question
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.endpoint import EndpointConfig

sys.path.insert(0, str(Path(__file__).parent))
import misbehaving as bad

IMAGE = np.zeros((8, 8, 3), np.uint8)
Q = [Question("Is the lemon on the plate?"), Question("Is the drawer open?")]


def chat(url: str, retries: int = 2) -> ChatVLM:
    return ChatVLM(EndpointConfig(url, "tiny", retries=retries, backoff_s=0.001))


def looks(behave, count: int = 3, questions=Q[:1], retries: int = 2):
    """Ask about several images; return the answers and what the server saw."""
    with bad.serving(behave) as server:
        vlm = chat(server.url, retries)
        answers = [vlm.answer([IMAGE + i], [questions])[0][0].p_yes for i in range(count)]
    return answers, server.seen


def refusing(refused, message: str, code: int = 400):
    def behave(handler, body, n):
        if refused(body):
            handler.reply({"error": {"message": message}}, code)
        else:
            bad.good(handler, body, n)

    return behave


CASES = {
    "max_tokens": (lambda b: "max_tokens" in b, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
    "temperature": (lambda b: "temperature" in b, "Unsupported value: 'temperature' does not support 0."),
    "top_logprobs": (lambda b: b.get("top_logprobs", 0) > 5, "top_logprobs must be at most 5"),
    "logprobs": (lambda b: "logprobs" in b, "You are not allowed to request logprobs"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES)
def test_a_parameter_that_a_refusal_names_is_replaced_or_left_out_and_nothing_else(
    name, case, caplog
):
    caplog.set_level(logging.WARNING)
    answers, seen = looks(refusing(*case))
    assert answers == [1.0] * 3
    assert len(seen) == 4
    gone = {"logprobs": {"logprobs", "top_logprobs"}, "top_logprobs": set()}.get(name, {name})
    assert set(seen[0]) - set(seen[-1]) == gone
    assert ("max_completion_tokens" in seen[-1]) == (name == "max_tokens")
    assert seen[-1].get("top_logprobs") == {"top_logprobs": 5, "logprobs": None}.get(name, 10)
    assert len(caplog.records) == 1
    assert ("without probabilities" in caplog.text) == (name == "logprobs")


def test_a_server_that_refuses_everything_is_asked_plainly():
    plain = {"model", "messages"}
    behave = refusing(
        lambda b: set(b) - plain,
        "max_tokens, max_completion_tokens, temperature, logprobs, response_format",
    )
    answers, seen = looks(behave, questions=Q)
    assert answers[0] is None or answers[0] == 1.0
    assert set(seen[-1]) == plain


@pytest.mark.parametrize("code", [400, 500])
def test_a_passing_refusal_does_not_cost_the_probabilities_for_life(code):
    def once(handler, body, n):
        if n == 0:
            handler.reply({"error": {"message": "bad request"}}, code)
        else:
            bad.good(handler, body, n)

    _, seen = looks(once, retries=0)
    assert len(seen) == 4
    assert all("logprobs" in body for body in seen[2:])


def test_a_refusal_that_no_change_overcomes_changes_nothing():
    with bad.serving(bad.status(400)) as server:
        vlm = chat(server.url)
        for i in range(2):
            with pytest.raises(ModelUnavailable, match="400"):
                vlm.answer([IMAGE + i], [Q[:1]])
        assert "logprobs" in server.seen[0]
        assert "logprobs" in server.seen[len(server.seen) // 2]


def test_a_server_that_fails_at_log_probabilities_is_asked_without():
    answers, seen = looks(refusing(lambda b: "logprobs" in b, "NaN isn't JSON", 500), retries=1)
    assert answers == [1.0] * 3
    assert ["logprobs" in body for body in seen] == [True, True, False] * 2 + [False]


ERRORS = {
    "error": {"error": {"message": "overloaded"}},
    "error in words": {"error": "yes, that failed"},
    "no choices": {"choices": None},
    "empty choices": {"choices": []},
    "error and no choices": {"error": {"code": 503, "message": "busy"}, "choices": None},
    "error with a code in words": {"error": {"code": "503"}},
}


@pytest.mark.parametrize("reply", ERRORS.values(), ids=ERRORS)
def test_an_error_within_a_good_status_is_retried(reply):
    answers, seen = looks(lambda h, b, n: h.reply(reply) if n == 0 else bad.good(h, b, n))
    assert answers == [1.0] * 3
    assert len(seen) == 4


@pytest.mark.parametrize("reply", ERRORS.values(), ids=ERRORS)
def test_an_error_within_a_good_status_that_stays_is_one_clear_error(reply):
    with bad.serving(lambda h, b, n: h.reply(reply)) as server:
        with pytest.raises(ModelUnavailable, match="error with status 200") as error:
            chat(server.url, 1).answer([IMAGE], [Q[:1]])
        assert "\n" not in str(error.value)


def test_a_refusal_within_a_good_status_is_treated_as_one():
    def refuse(handler, body, n):
        if "logprobs" in body:
            handler.reply({"error": {"code": 400, "message": "logprobs: not allowed"}})
        else:
            bad.good(handler, body, n)

    answers, seen = looks(refuse)
    assert answers == [1.0] * 3
    assert len(seen) == 4
