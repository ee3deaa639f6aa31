"""Judges of whole episodes, against servers that reply as the real ones do."""

from __future__ import annotations

import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from soar.errors import ConfigError, ModelUnavailable
from soar.registry import load_detector
from soar.tasks.success_detector import judge_episodes
from soar.types import EpisodeFrames, Task
from soar.vlm.judges.frames import spread_frames

TASK = Task("put the lemon on the plate")


class Replies:
    """A server that replays one reply, and keeps what it is asked."""

    def __init__(self, reply: Callable[[bytes], Any]) -> None:
        self.asked: list[tuple[str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, body))
                data = json.dumps(reply(body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def replies() -> Iterator[Callable[[Any], Replies]]:
    made: list[Replies] = []

    def make(reply: Any) -> Replies:
        made.append(Replies(reply if callable(reply) else lambda _: reply))
        return made[-1]

    yield make
    for server in made:
        server.close()


def token(text: str, ways: dict[str, float] | None = None) -> dict[str, Any]:
    listed = [{"token": t, "logprob": math.log(p)} for t, p in (ways or {text: 1.0}).items()]
    return {"token": text, "logprob": listed[0]["logprob"], "top_logprobs": listed}


def completion(text: str, tokens: list[Any] | None = None) -> dict[str, Any]:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [{**choice, "logprobs": {"content": tokens} if tokens else None}]}


def judged(name: str, count: int = 30, threshold: float = 0.5) -> Any:
    frames = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    detector = load_detector(name, threshold)
    [verdict] = judge_episodes(detector, [EpisodeFrames(TASK, frames)])
    return verdict


def test_roborewards_expected_score_is_the_probability(replies: Any) -> None:
    digit = token("4", {"4": 0.5, "5": 0.25, "3": 0.125, " the": 0.125})
    server = replies(completion("ANSWER: 4", [token("ANSWER"), token(": "), digit]))
    verdict = judged(f"roboreward:RoboReward-8B@{server.url}/v1")
    assert verdict.p_success == pytest.approx((0.5 * 0.75 + 0.25 + 0.125 * 0.5) / 0.875)
    assert (verdict.outcome, verdict.source) == ("success", "probability")
    [(path, body)] = server.asked
    request = json.loads(body)
    assert path == "/v1/chat/completions"
    *images, text = request["messages"][0]["content"]
    assert len(images) == 8
    assert all(i["image_url"]["url"].startswith("data:image/jpeg;base64,") for i in images)
    assert text["text"].endswith("Task: put the lemon on the plate")
    assert "format: ANSWER: <score>" in text["text"]


@pytest.mark.parametrize(
    ("text", "p"),
    [
        ("ANSWER: 5", 1.0),
        ("It moved. answer:2", 0.25),
        ("ANSWER: <1>", 0.0),
        ("ANSWER: 5 or rather ANSWER: 3", 0.5),
        ("The score is 4", None),
        ("ANSWER: 45", None),
        ("ANSWER: 4.5", None),
        ("", None),
    ],
)
def test_roborewards_words_count_without_probabilities(replies: Any, text: str, p: Any) -> None:
    verdict = judged(f"roboreward:m@{replies(completion(text)).url}/v1")
    assert verdict.p_success == p
    assert verdict.source == "word"
    assert (verdict.outcome == "unknown") is (p is None)


@pytest.mark.parametrize(
    ("ways", "p"),
    [
        ({" True": 0.7, "true": 0.1, " False": 0.15}, 0.8),
        ({" False": 0.9, " True": 0.05}, 0.05),
        ({" The": 0.9, " True": 0.05}, None),
        ({"True": 1.0, " True": 1e-7}, 1.0),
    ],
)
def test_toprewards_probability_is_that_of_true(replies: Any, ways: Any, p: Any) -> None:
    first = next(iter(ways))
    server = replies(completion(first, [token(first, ways)]))
    verdict = judged(f"topreward:Qwen3-VL-8B@{server.url}/v1")
    assert verdict.p_success == (None if p is None else pytest.approx(p))
    request = json.loads(server.asked[0][1])
    assert request["max_tokens"] == 1
    assert len(request["messages"][0]["content"]) == 17


def test_robometer_is_asked_as_its_own_server_expects(replies: Any) -> None:
    def reply(body: bytes) -> Any:
        assert (
            b'name="sample_0_trajectory_frames"; filename="sample_0_trajectory_frames.npy"' in body
        )
        start = body.index(b"\x93NUMPY")
        frames = np.load(io.BytesIO(body[start:]))
        assert frames.shape == (8, 16, 16, 3)
        assert b'"task": "put the lemon on the plate"' in body
        return {
            "outputs_progress": {"progress_pred": [[0.1, 0.6]]},
            "outputs_success": {"success_probs": [[0.2, 0.75]]},
        }

    server = replies(reply)
    verdict = judged(f"robometer:{server.url}", threshold=0.8)
    assert server.asked[0][0] == "/evaluate_batch_npy"
    assert (verdict.p_success, verdict.outcome, verdict.source) == (0.75, "failure", "probability")


@pytest.mark.parametrize("answer", [{}, {"outputs_success": {"success_probs": [[2.0]]}}, []])
def test_robometer_without_a_probability_is_unknown(replies: Any, answer: Any) -> None:
    assert judged(f"robometer:{replies(answer).url}").outcome == "unknown"


def test_options_come_from_a_component_file(replies: Any, tmp_path: Any) -> None:
    server, path = replies(completion("ANSWER: 5")), tmp_path / "judge.yaml"
    path.write_text(
        f"detector: roboreward:m@{server.url}/v1\noptions: {{frames: 4, timeout_s: 5}}\n"
    )
    judged(str(path))
    assert len(json.loads(server.asked[0][1])["messages"][0]["content"]) == 5
    path.write_text(f"detector: roboreward:m@{server.url}/v1\noptions: {{speed: 4}}\n")
    with pytest.raises(ConfigError, match="speed"):
        judged(str(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("roboreward:model", "names no endpoint"),
        ("robometer:localhost", "valid: robometer:http://"),
        ("robohorse:m@http://x/v1", "no success detector 'robohorse"),
    ],
)
def test_wrong_names_are_one_line(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_detector(name)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable):
        judged("robometer:http://127.0.0.1:1")


def test_frames_are_spread_and_hold_the_first_and_the_last() -> None:
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert spread_frames(images, 5)[:, 0, 0, 0].tolist() == [0, 25, 50, 74, 99]
    assert len(spread_frames(images[:3], 8)) == 3
