"""Hostile replies to every HTTP client: each call ends in time with answers, unknown ones, or one clear error."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.attack.attack import Attack, Outcome
from benchmarks.attack.tools.raw_server import RawServer

from soar.errors import ModelUnavailable
from soar.types import Question
from soar.utils.webhook import Post
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.decisions import DecisionsVLM
from soar.vlm.clients.endpoint import Endpoint, EndpointConfig, in_background
from soar.vlm.clients.replies import read_text
from soar.vlm.clients.systemone import SystemOneVLM
from soar.vlm.clients.transport import RequestError

_KEY = "sk-attack-0123456789abcdef"
_VARIABLE = "SOAR_ATTACK_KEY"
_TIMEOUT_S, _LIMIT_S = 0.4, 0.8
"""Time limits of a request and of a call."""
_GRACE_S = 30.0
"""Time that a busy machine may add to them."""
_IMAGE = np.zeros((4, 4, 3), np.uint8)
_QUESTIONS = (Question("Is the drawer open?"), Question("Is the cup on the plate?"))
_CLIENTS = ("chat", "chat of one", "decisions", "systemone", "language model", "webhook")


class Reply(NamedTuple):
    """Bytes of a server's reply, and what may come of them."""

    parts: tuple[bytes, ...]
    pause_s: float = 0.0
    """Pause of the server after each part."""
    answerable: bool = False
    """Whether it may hold an answer; else a label is made up."""


class HostileReplies(Attack):
    """Twenty replies in each step, at the same time, each to one call of one client."""

    title = "hostile server replies"
    tries = 10_000
    size = 20
    in_process = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        os.environ[_VARIABLE] = _KEY
        self._servers = [RawServer() for _ in range(self.size)]
        self._trap = RawServer()
        self._pool = ThreadPoolExecutor(self.size)

    def step(self, index: int) -> Outcome:
        """Send hostile replies to the clients."""
        harm = list(filter(None, self._pool.map(partial(self._attempt, index), range(self.size))))
        if self._trap.requests:
            harm.append(f"step {index}: a redirect was followed")
            self._trap.requests = 0
        return Outcome(tuple(harm))

    def finish(self) -> Outcome:
        """Count the clients' threads that are still there."""
        end = time.monotonic() + _GRACE_S
        while (left := _client_threads()) and time.monotonic() < end:
            time.sleep(0.1)
        return Outcome(leftovers=left)

    def close(self) -> None:
        """Stop the servers."""
        self._pool.shutdown()
        for server in (*self._servers, self._trap):
            server.close()

    def _attempt(self, step: int, number: int) -> str:
        """Send one reply to one client; return what was wrong, or nothing."""
        rng, server = np.random.default_rng([8, step, number]), self._servers[number]
        client = _CLIENTS[(step * self.size + number) % len(_CLIENTS)]
        reply = hostile_reply(rng, client, self._trap.url)
        server.reply, server.pause_s = reply.parts, reply.pause_s
        began = time.monotonic()
        problem = _call(client, server.url, reply)
        seconds = time.monotonic() - began
        server.reply = ()  # else the servers' megabytes would count as growth
        limit = 5.0 if client == "webhook" else _LIMIT_S
        if not problem and seconds > limit + _GRACE_S:
            problem = f"took {seconds:.1f} s"
        return f"{client}, try {step}.{number}: {problem}" if problem else ""


def _client_threads() -> int:
    return sum(thread.name == "vlm" for thread in threading.enumerate())


def _call(client: str, url: str, reply: Reply) -> str:
    """Call a client once, and say what is wrong with what it does; empty if nothing is."""
    try:
        if client == "webhook":
            problem = Post(url, {"message": "x"}).wait()
            return _line(problem) if problem else ""
        if client == "language model":
            return "the key is in the reply" if _KEY in _complete(url) else ""
        vlm = _vlm(client, url)
        questions = _QUESTIONS[:1] if client == "chat of one" else _QUESTIONS
        answers = vlm.answer([_IMAGE], [questions])
    except ModelUnavailable as error:
        return _line(str(error))
    except BaseException as error:  # noqa: BLE001  any other exception is harm
        return f"{type(error).__name__}: {error!s:.200}"
    return _wrong(answers, len(questions), reply)


def _line(message: str) -> str:
    """Say what is wrong with an error's message."""
    if _KEY in message:
        return "the key is in the message"
    if len(message.splitlines()) > 1 or len(message) > 600:
        return f"the message is no short line: {message[:100]!r}"
    return ""


def _wrong(answers: list[list[Any]], count: int, reply: Reply) -> str:
    if len(answers) != 1 or len(answers[0]) != count:
        return "the number of answers differs from that of the questions"
    for answer in answers[0]:
        p = answer.p_yes
        if _KEY in answer.raw:
            return "the key is in the answer"
        if p is not None and not (isinstance(p, float) and 0 <= p <= 1):
            return f"a probability of {p!r:.40}"
        if p is not None and not reply.answerable:
            return f"a made-up answer {p} from {reply.parts!r:.200}"
    return ""


def _config(url: str) -> EndpointConfig:
    return EndpointConfig(
        url, "m", _VARIABLE, timeout_s=_TIMEOUT_S, limit_s=_LIMIT_S, retries=1, backoff_s=0.01
    )


def _vlm(client: str, url: str) -> Endpoint:
    kinds: dict[str, Callable[[EndpointConfig], Endpoint]] = {
        "decisions": DecisionsVLM, "systemone": SystemOneVLM
    }  # fmt: skip
    return kinds.get(client, ChatVLM)(_config(url))


def _complete(url: str) -> str:
    """Ask for text as `soar.vlm.clients.chat.language_model` does, within the attack's time limits."""
    chat = ChatVLM(_config(url))
    body = {"model": "m", "messages": [{"role": "user", "content": "a prompt"}], "max_tokens": 300}
    try:
        return read_text(in_background(chat.post, body, time.monotonic() + _LIMIT_S).result())
    except RequestError as error:
        raise ModelUnavailable(str(error)) from None


def hostile_reply(rng: np.random.Generator, client: str, elsewhere: str) -> Reply:
    """Return a server's reply of a random kind. `elsewhere`: address that no client may follow to."""
    kinds = (
        _random_bytes,
        _mutated,
        _truncated,
        _wrong_json,
        _huge,
        _bomb,
        _error_in_200,
        _odd_status,
        _mutated,
    )
    if rng.random() < 0.06:
        return _slow(rng, client)
    if rng.random() < 0.1:
        return _redirect(rng, elsewhere)
    return kinds[rng.integers(len(kinds))](rng, client)


def good_body(client: str) -> bytes:
    """Return the body of an honest reply."""
    logprobs = {
        "content": [
            {"token": "yes", "top_logprobs": [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]}
        ]
    }  # fmt: skip
    content = '{"1": "yes", "2": "no"}' if client == "chat" else "yes"
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    if client == "chat of one":
        choice["logprobs"] = logprobs
    bodies: dict[str, Any] = {
        "decisions": {"answers": [{"name": "q0", "probability": 0.9}, {"name": "q1", "probability": 0.2}]},
        "systemone": {"answers": {"q0": {"noul": 0.9}, "q1": {"noul": 0.2}}},
    }  # fmt: skip
    return json.dumps(bodies.get(client, {"choices": [choice]})).encode()


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """Wrap a body into a reply of HTTP/1.1."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode("latin-1", "replace") + body


def _random_bytes(rng: np.random.Generator, client: str) -> Reply:
    noise = rng.bytes(int(rng.integers(0, 3000)))
    if rng.random() < 0.5:
        return Reply((noise,))
    return Reply((http(noise),))


def _mutated(rng: np.random.Generator, client: str) -> Reply:
    """An honest reply with a few bytes changed; it may still hold an answer."""
    data = bytearray(http(good_body(client)) if rng.random() < 0.5 else good_body(client))
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(data)))
        data[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
    return Reply((bytes(data) if data.startswith(b"HTTP") else http(bytes(data)),), answerable=True)


def _truncated(rng: np.random.Generator, client: str) -> Reply:
    """A reply that ends before its body is whole."""
    data = http(good_body(client))
    return Reply((data[: int(rng.integers(len(data)))],))


def _wrong_json(rng: np.random.Generator, client: str) -> Reply:
    """JSON of other shapes and types, deep, or with numbers that no type holds."""
    deep = int(rng.integers(10, 100_000))
    texts = (
        "[" * deep,
        '{"choices":' * min(deep, 2000) + "1" + "}" * min(deep, 2000),
        "9" * deep,
        f"-{'9' * 400}",
        "1e999999",
        "NaN",
        '"\\ud800"',
        "null",
        "[]",
        '{"choices": null}',
        '{"choices": [null]}',
        '{"choices": [{"message": {"content": ["yes"]}}]}',
        '{"choices": [{"message": {"content": "' + "\\n" * min(deep, 50_000) + '"}}]}',
        '{"choices": [{"message": {"content": "no idea"}, "logprobs": {"content": 7}}]}',
        '{"choices": [{"message": {"content": "yes or no"}}]}',
        '{"choices": [{"message": {"content": "<think>yes"}}]}',
        '{"answers": {"q0": {"noul": Infinity}, "q1": {"noul": true}}}',
        '{"answers": [{"name": "q0", "probability": 1.5}, {"name": "q1", "probability": "0.5"}]}',
        '{"answers": 3}',
        f'{{"error": "{_KEY}"}}',
        f'"{_KEY}"',
    )
    text = texts[rng.integers(len(texts))]
    encoding = ("utf-8", "utf-16", "utf-8-sig")[rng.integers(3)]
    return Reply((http(text.encode(encoding, "surrogatepass")),))


def _huge(rng: np.random.Generator, client: str) -> Reply:
    """A body larger than any that is read, or one that claims to be, or headers without end."""
    kind = rng.integers(4)
    if kind == 0:
        return Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 9_000_000))
    if kind == 1:
        return Reply((http(b" " * 2_000_000),))
    if kind == 2:
        return Reply((b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n",))
    chunk = b"10\r\n" + b"a" * 16 + b"\r\n"
    return Reply((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 600_000))


def _bomb(rng: np.random.Generator, client: str) -> Reply:
    """A body that is small as sent and huge when unpacked, or wrongly declared as packed."""
    kind = rng.integers(4)
    if kind == 0:
        return Reply((http(_BOMB, headers="Content-Encoding: gzip\r\n"),))
    if kind == 1:
        return Reply((http(good_body(client), headers="Content-Encoding: gzip\r\n"),))
    if kind == 2:
        return Reply((http(zlib.compress(_BOMB), headers="Content-Encoding: deflate, gzip\r\n"),))
    packed = gzip.compress(b"[" * 100_000)
    return Reply((http(packed, headers="Content-Encoding: gzip\r\n"),))


_BOMB = gzip.compress(bytes(50_000_000))


def _error_in_200(rng: np.random.Generator, client: str) -> Reply:
    """An error that is reported with status 200."""
    message = ("overloaded", _KEY, "line\nline", "\x1b]0;title\x07", "x" * 5000)[rng.integers(5)]
    code: Any = (None, 429, "500", 400, True, [], 10**30)[rng.integers(7)]
    body = {"error": {"message": message, "code": code}, "choices": []}
    return Reply((http(json.dumps(body).encode()),))


def _odd_status(rng: np.random.Generator, client: str) -> Reply:
    """Another status, with headers that a client might trust."""
    status = int(
        rng.choice([100, 101, 199, 204, 206, 304, 400, 401, 404, 418, 422, 429, 500, 503, 599, 999])
    )
    after = ("0", "-1", "²", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 400)[rng.integers(6)]
    body = rng.choice([good_body(client), _KEY.encode(), b"logprobs not supported", b"max_tokens"])
    return Reply((http(bytes(body), f"{status} Odd", f"Retry-After: {after}\r\n"),))


def _redirect(rng: np.random.Generator, elsewhere: str) -> Reply:
    """A redirect to another address, which must get no request."""
    status = int(rng.choice([301, 302, 303, 307, 308]))
    target = (elsewhere, "file:///etc/passwd", "//x", "", "http://[::1/")[rng.integers(5)]
    return Reply((http(b"", f"{status} Moved", f"Location: {target}\r\n"),))


def _slow(rng: np.random.Generator, client: str) -> Reply:
    """A reply that drips, or never comes."""
    kind = rng.integers(4)
    if kind == 0:
        return Reply((), pause_s=3.0)
    if kind == 1:
        return Reply((b"HTTP/1.1 100 Continue\r\n\r\n",) * 100, pause_s=0.05)
    data = http(good_body(client))
    if kind == 2:
        data = re.sub(rb"Content-Length: \d+", b"Content-Length: 100000", data) + b" " * 300
    return Reply(tuple(bytes([byte]) for byte in data), pause_s=0.05)
