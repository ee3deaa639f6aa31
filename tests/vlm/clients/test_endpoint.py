"""Every kind of endpoint against a server that fails in every way."""

import logging
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError, ModelUnavailable
from soar.types import Question
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.decisions import DecisionsVLM
from soar.vlm.clients.endpoint import EndpointConfig
from soar.vlm.clients.systemone import SystemOneVLM

sys.path.insert(0, str(Path(__file__).parent))
import misbehaving as bad

IMAGE = np.zeros((8, 8, 3), np.uint8)
QUESTIONS = [
    Question(q)
    for q in ("Is the lemon on the plate?", "Is the drawer open?", "Is there a lemon present?")
]
SORTS = [SystemOneVLM, DecisionsVLM, ChatVLM]
LIMIT_S, SLACK_S = 1.0, 15.0
"""The slack is for a busy machine; servers here hang for a minute."""
IN_A_HURRY = {"timeout_s": 0.4, "limit_s": LIMIT_S}
"""For servers that fail; where an answer is expected, a busy machine has its time."""


def endpoint(sort, url: str, **settings):
    defaults = {"retries": 2, "backoff_s": 0.01}
    return sort(EndpointConfig(url, "tiny", **{**defaults, **settings}))


def p(answers):
    return [a.p_yes for row in answers for a in row]


@pytest.mark.parametrize("sort", SORTS)
def test_one_request_answers_all_questions_about_an_image(sort):
    with bad.serving(bad.good) as server:
        answers = endpoint(sort, server.url).answer([IMAGE], [QUESTIONS])
    assert p(answers) == ([1.0] * 3 if sort is ChatVLM else [0.75] * 3)
    assert [a.question for a in answers[0]] == QUESTIONS
    assert len(server.seen) == 1


FOREVER = [bad.hang, bad.drip, bad.cut, bad.drop, bad.html, bad.garbage, bad.status(429),
           bad.status(500), bad.status(503), bad.status(401), bad.status(404), bad.status(302)]  # fmt: skip


@pytest.mark.parametrize("behave", FOREVER, ids=lambda f: getattr(f, "__name__", "status"))
@pytest.mark.parametrize("sort", SORTS)
def test_a_server_that_fails_for_good_is_one_clear_error_in_time(sort, behave):
    with bad.serving(behave) as server:
        start = time.monotonic()
        with pytest.raises(ModelUnavailable) as error:
            endpoint(sort, server.url, **IN_A_HURRY).answer([IMAGE], [QUESTIONS])
        assert time.monotonic() - start < LIMIT_S + SLACK_S
    assert "\n" not in str(error.value)
    assert "tiny at 127.0.0.1" in str(error.value)


PASSING = [bad.drop, bad.cut, bad.html, bad.garbage, bad.status(429), bad.status(502)]


@pytest.mark.parametrize("behave", PASSING, ids=lambda f: getattr(f, "__name__", "status"))
@pytest.mark.parametrize("sort", SORTS)
def test_a_transient_failure_is_retried(sort, behave):
    def first_badly(handler, body, n):
        (behave if n == 0 else bad.good)(handler, body, n)

    with bad.serving(first_badly) as server:
        answers = endpoint(sort, server.url).answer([IMAGE], [QUESTIONS])
    assert None not in p(answers)
    assert len(server.seen) == 2


@pytest.mark.parametrize("behave", [bad.wrong_shape, bad.refuse])
@pytest.mark.parametrize("sort", SORTS)
def test_an_unreadable_reply_is_unknown(sort, behave):
    with bad.serving(behave) as server:
        answers = endpoint(sort, server.url).answer([IMAGE], [QUESTIONS])
    assert p(answers) == [None] * 3


def test_a_wrong_number_of_answers_never_labels_another_question():
    with bad.serving(bad.too_few) as server:
        assert p(endpoint(DecisionsVLM, server.url).answer([IMAGE], [QUESTIONS])) == [None] * 3
        assert p(endpoint(SystemOneVLM, server.url).answer([IMAGE], [QUESTIONS])) == [.75, .75, None]  # fmt: skip


def test_a_chat_model_that_garbles_a_joint_reply_is_asked_one_by_one():
    def only_simple(handler, body, n):
        body.pop("response_format", None)
        text = "No" if "drawer" in str(body["messages"]) else "Yes"
        handler.reply({"choices": [{"message": {"content": "hm" if n == 0 else text}}]})

    with bad.serving(only_simple) as server:
        answers = endpoint(ChatVLM, server.url).answer([IMAGE], [QUESTIONS])
    assert p(answers) == [1.0, 0.0, 1.0]
    assert len(server.seen) == 4


def test_a_chat_server_that_refuses_schemas_is_asked_without_from_then_on():
    def plain_only(handler, body, n):
        if "response_format" in body or "logprobs" in body:
            handler.reply({"error": "unknown field response_format"}, 400)
        else:
            text = '{"1": "yes", "2": "no", "3": "yes"}'
            handler.reply({"choices": [{"message": {"content": text}}]})

    with bad.serving(plain_only) as server:
        chat = endpoint(ChatVLM, server.url)
        assert p(chat.answer([IMAGE], [QUESTIONS])) == [1.0, 0.0, 1.0]
        chat.answer([IMAGE + 1], [QUESTIONS])
    sent = [sorted({"logprobs", "response_format"} & set(body)) for body in server.seen]
    # The error names the schema only, then nothing that was sent: the same once more, then nothing extra.
    assert sent == [["logprobs", "response_format"], ["logprobs"], ["logprobs"], [], []]


def test_answers_are_cached_by_image_and_question():
    with bad.serving(bad.good) as server:
        model = endpoint(SystemOneVLM, server.url)
        model.answer([IMAGE, IMAGE], [QUESTIONS, QUESTIONS[:1]])
        first = len(server.seen)
        model.answer([IMAGE], [QUESTIONS])
        assert len(server.seen) == first
        model.answer([IMAGE], [[*QUESTIONS, Question("Is there a fork present?")]])
        assert list(server.seen[-1]["questions"]) == ["q0"]
        model.answer([IMAGE + 1], [QUESTIONS])
        assert len(server.seen) == first + 2


def test_an_unknown_answer_is_not_cached():
    with bad.serving(lambda h, b, n: (bad.refuse if n == 0 else bad.good)(h, b, n)) as server:
        model = endpoint(SystemOneVLM, server.url)
        assert p(model.answer([IMAGE], [QUESTIONS])) == [None] * 3
        assert p(model.answer([IMAGE], [QUESTIONS])) == [0.75] * 3


def test_no_more_requests_run_at_once_than_allowed():
    def slowly(handler, body, n):
        time.sleep(0.03)
        bad.good(handler, body, n)

    images = [IMAGE + i for i in range(8)]
    with bad.serving(slowly) as server:
        endpoint(SystemOneVLM, server.url, concurrency=2).answer(images, [QUESTIONS] * 8)
    assert server.most_at_once == 2


def test_questions_beyond_the_limit_of_a_request_are_split():
    many = [Question(f"Is number {i} there?") for i in range(150)]
    with bad.serving(bad.good) as server:
        answers = endpoint(SystemOneVLM, server.url).answer([IMAGE], [many])
    assert [a.question for a in answers[0]] == many
    assert sorted(len(body["questions"]) for body in server.seen) == [22, 64, 64]


def test_a_spent_budget_is_an_error_and_retries_count():
    with bad.serving(bad.status(500)) as server:
        model = endpoint(SystemOneVLM, server.url, max_requests=2, retries=5)
        with pytest.raises(ModelUnavailable, match="budget of 2 requests"):
            model.answer([IMAGE], [QUESTIONS])
        assert len(server.seen) == 2
    with bad.serving(bad.good) as server:
        model = endpoint(SystemOneVLM, server.url, max_tokens=150)
        model.answer([IMAGE], [QUESTIONS])
        model.answer([IMAGE + 1], [QUESTIONS])
        with pytest.raises(ModelUnavailable, match="budget of 150 tokens"):
            model.answer([IMAGE + 2], [QUESTIONS])


def test_retry_after_beyond_the_time_limit_is_not_waited_for():
    def later(handler, body, n):
        handler.reply({}, 429, Retry_After="30")

    with bad.serving(later) as server:
        start = time.monotonic()
        with pytest.raises(ModelUnavailable, match="429"):
            endpoint(SystemOneVLM, server.url, **IN_A_HURRY).answer([IMAGE], [QUESTIONS])
        assert time.monotonic() - start < LIMIT_S + SLACK_S


def test_a_server_that_is_down_is_one_clear_error():
    with pytest.raises(ModelUnavailable, match="connection failed"):
        endpoint(SystemOneVLM, "http://127.0.0.1:9/v1").answer([IMAGE], [QUESTIONS])


@pytest.mark.parametrize("sort", SORTS)
def test_the_key_is_sent_and_appears_nowhere_else(sort, monkeypatch, caplog):
    key = "sk-very-secret-123"
    monkeypatch.setenv("MY_KEY", key)
    caplog.set_level(logging.DEBUG)

    def echo(handler, body, n):
        text = f"your key {key} is no good, yes"
        if n == 0:
            handler.reply({"error": text}, 401)
        else:
            handler.reply({"choices": [{"message": {"content": text}}], "answers": {"q0": {"x": key}}})  # fmt: skip

    with bad.serving(echo) as server:
        model = endpoint(sort, server.url, key_variable="MY_KEY")
        with pytest.raises(ModelUnavailable, match="401") as error:
            model.answer([IMAGE], [QUESTIONS[:1]])
        answers = model.answer([IMAGE], [QUESTIONS[:1]])
        assert server.headers[0]["Authorization"] == f"Bearer {key}"
    for text in (str(error.value), repr(answers), repr(vars(model)), caplog.text, model.name):
        assert key not in text


def test_keys_in_settings_are_refused():
    with pytest.raises(ConfigError, match="key_variable"):
        EndpointConfig("https://user:secret@example.com/v1", "m")
    with pytest.raises(ConfigError, match="key_variable") as error:
        EndpointConfig("https://example.com/v1?key=secret", "m")
    assert "secret" not in str(error.value)
    with pytest.raises(ConfigError, match="url must be like"):
        EndpointConfig("localhost:8000", "m")


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    model = endpoint(SystemOneVLM, "http://127.0.0.1:9/v1", key_variable="MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY"):
        model.answer([IMAGE], [QUESTIONS])


def test_decisions_are_sent_as_the_openai_package_sends_them():
    openai = pytest.importorskip("openai")
    with bad.serving(bad.good) as server:
        model = endpoint(DecisionsVLM, server.url)
        ours = model.answer([IMAGE], [QUESTIONS])
        body = server.seen[0]
        client = openai.OpenAI(base_url=server.url, api_key="x", max_retries=0)
        theirs = client.decisions.create(**body)
        assert server.seen[1] == body
    assert [a.probability for a in theirs.answers] == p(ours)


def test_stations_may_ask_from_many_threads():
    with bad.serving(bad.good) as server:
        model = endpoint(SystemOneVLM, server.url)
        results: list = []
        threads = [
            threading.Thread(
                target=lambda i=i: results.append(model.answer([IMAGE + i], [QUESTIONS]))
            )
            for i in range(12)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(results) == 12
    assert all(p(r) == [0.75] * 3 for r in results)
