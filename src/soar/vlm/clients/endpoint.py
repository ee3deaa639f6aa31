"""Base of all clients of vision-language models behind HTTP.

It adds timeouts, bounded retries with backoff, a limit on concurrency, a budget, and a cache by image and question.
Whatever a server does, `answer` ends within its time limit: with answers, with unknown ones, or with one error. Keys
are read from the environment and go into requests only.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import httpx

from soar.errors import ConfigError, ModelUnavailable
from soar.types import Answer, Image, Question
from soar.utils.config import from_plain
from soar.utils.files import Json
from soar.utils.media import encode_png
from soar.vlm.clients.replies import LEAST_MASS, check_mass
from soar.vlm.clients.transport import RequestError, Transport


@dataclass(frozen=True)
class EndpointConfig:
    """Address of a served model, and the limits of its use."""

    url: str
    """Base URL of its paths: "http://localhost:8000/v1"."""
    model: str
    """Name of the model on the server."""
    key_variable: str = field(default="", repr=False)
    """Environment variable that holds the key; "" if none is needed."""
    timeout_s: float = 30.0
    """Time limit of one request."""
    limit_s: float = 90.0
    """Time limit of one call of `answer`, with retries and waiting."""
    retries: int = 3
    """Further attempts after a transient failure: connection, timeout, 429, 5xx, a reply that is no JSON."""
    backoff_s: float = 0.5
    """Pause before the first retry; doubled for each further one."""
    concurrency: int = 4
    """Concurrent requests, over all callers."""
    max_requests: int | None = None
    """Budget of requests over the client's life; None for no limit."""
    max_tokens: int | None = None
    """Budget of tokens as the server counts them; None for no limit."""
    cached: int = 20_000
    """Most answers in the cache."""
    least_mass: float = LEAST_MASS
    """Joint probability of yes and no below which an answer is unknown, where tokens have probabilities."""

    def __post_init__(self) -> None:
        """Refuse an address without http(s) or with a secret; no message shows what may be a secret."""
        valid = "url must be like http://localhost:8000/v1"
        try:
            parts = urlsplit(self.url)
            known = parts.port is None or parts.port > 0
            httpx.URL(self.url)
        except (ValueError, httpx.InvalidURL):
            raise ConfigError(valid) from None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"url of {parts.hostname} carries a user, password, query or fragment; a key is given by the"
                " name of its environment variable (key_variable)"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not known:
            raise ConfigError(valid if "@" in self.url else f"{valid}, not '{self.url}'")
        for name in ("timeout_s", "limit_s", "concurrency"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        check_mass(self.least_mass)

    def key(self) -> str:
        """Return the key. Raises ConfigError if its variable is named but not set, or holds no key."""
        if not self.key_variable:
            return ""
        plain = re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", self.key_variable)
        name = self.key_variable if plain else "named by key_variable (or after #)"
        try:
            key = os.environ.get(self.key_variable, "").strip()
        except ValueError:  # a name that isn't text for the operating system
            key = ""
        if not key:
            raise ConfigError(f"the environment variable {name} isn't set")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(f"the environment variable {name} holds no key: spaces, or not ASCII")
        return key


def endpoint_config(where: str, model: str, url: str, options: Mapping[str, Any]) -> EndpointConfig:
    """Return the configuration of a named endpoint.

    Args:
        where: its kind, for messages.
        model: name of the model on the server.
        url: base URL.
        options: further fields.

    Raises:
        ConfigError: an option is unknown or not valid, or is part of the name.
    """
    for key in ("model", "url"):
        if key in options:
            raise ConfigError(f"{where}: '{key}' is no option; it is part of the name")
    return from_plain(EndpointConfig, {**options, "model": model, "url": url}, where)


_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_background(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
    """Start a call in a thread that never keeps the process alive."""
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (raised again by the future's result)
            future.set_exception(error)

    threading.Thread(target=work, name="vlm", daemon=True).start()
    return future


class Endpoint(ABC):
    """A model behind HTTP. A subclass builds the requests and reads the replies."""

    most_questions: int
    """Most questions of one request."""
    path: str
    """Path after the configured URL."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config
        self.name = f"{config.model} at {urlsplit(config.url).hostname}"
        self.budget = Budget(config.max_requests, config.max_tokens)
        self._cache: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(config.concurrency)
        self._transport = Transport(config.url, config.key, config.retries, config.backoff_s)

    @abstractmethod
    def request(self, image: str, questions: Sequence[Question]) -> Json:
        """Build the body that asks questions about an image, a base64 PNG."""

    @abstractmethod
    def read(self, reply: Json, questions: Sequence[Question]) -> list[Answer]:
        """Read an answer to each question; unknown if there is none that can be read."""

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the answers in the order of the questions, cached ones without a request.

        Raises:
            ModelUnavailable: there is no answer within `limit_s`, or the budget is spent.
            ConfigError: the key's environment variable isn't set.
        """
        deadline = time.monotonic() + self.config.limit_s
        keys = [
            [_cache_key(image, q) for q in asked]
            for image, asked in zip(images, questions, strict=True)
        ]
        with self._lock:  # late answers of earlier calls move the oldest out
            found = {k: self._cache[k] for row in keys for k in row if k in self._cache}
        jobs: list[Future[dict[str, Answer]]] = []
        for image, asked, row in zip(images, questions, keys, strict=True):
            new = {k: q for k, q in zip(row, asked, strict=True) if k not in found}
            jobs += [
                in_background(self._ask, image, dict(part), deadline)
                for part in _parts(list(new.items()), self.most_questions)
            ]
        for answers in _results(jobs, deadline, self.name):
            found |= answers
        return [[found[k] for k in row] for row in keys]

    def _ask(self, image: Image, asked: dict[str, Question], deadline: float) -> dict[str, Answer]:
        """Answers to questions about one image, both by cache key."""
        questions = list(asked.values())
        png = base64.b64encode(encode_png(image)).decode()
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise ModelUnavailable(f"{self.name} didn't answer within its time limit")
        try:
            answers = dict(zip(asked, self.ask(png, questions, deadline), strict=True))
        except RequestError as error:
            raise ModelUnavailable(f"{self.name}: {error}") from None
        finally:
            self._slots.release()
        with self._lock:
            self._cache |= {k: a for k, a in answers.items() if a.p_yes is not None}
            while len(self._cache) > self.config.cached:
                self._cache.popitem(last=False)
        return answers

    def ask(self, image: str, questions: Sequence[Question], deadline: float) -> list[Answer]:
        """Return the answers to questions about one image, a base64 PNG.

        Args:
            image: base64 PNG.
            questions: at most `most_questions`.
            deadline: time on the monotonic clock [s].

        Raises:
            RequestError: there is no usable reply.
        """
        return self.read(self.post(self.request(image, questions), deadline), questions)

    def post(self, body: Json, deadline: float) -> Json:
        """Post one request within the budget, and retry after transient failures. Raises RequestError."""
        reply = self._transport.post(
            self.path, body, self.config.timeout_s, deadline, self.budget.spend_request
        )
        self.budget.spend_tokens(reply)
        return reply


class Budget:
    """Remaining requests and tokens; thread-safe."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self.most_requests, self.most_tokens = requests, tokens
        self.requests = self.tokens = 0
        self._lock = threading.Lock()

    def spend_request(self) -> None:
        """Count one request before it is made. Raises ModelUnavailable if the budget is spent."""
        with self._lock:
            for word, spent, most in (
                ("requests", self.requests, self.most_requests),
                ("tokens", self.tokens, self.most_tokens),
            ):
                if most is not None and spent >= most:
                    raise ModelUnavailable(f"the budget of {most} {word} is spent")
            self.requests += 1

    def spend_tokens(self, reply: Json) -> None:
        """Count the tokens that a reply reports."""
        usage = reply.get("usage") if isinstance(reply, dict) else None
        if not isinstance(usage, dict):
            return
        total = usage.get("total_tokens")
        names = ("input_tokens", "output_tokens")
        counts = [total] if isinstance(total, int) else [usage.get(n) for n in names]
        with self._lock:
            self.tokens += sum(n for n in counts if isinstance(n, int) and n > 0)


def _cache_key(image: Image, question: Question) -> str:
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.tobytes())
    return f"{digest.hexdigest()} {question}"


def _parts(items: list[tuple[str, Question]], size: int) -> list[list[tuple[str, Question]]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _results(
    jobs: Sequence[Future[dict[str, Answer]]], deadline: float, name: str
) -> list[dict[str, Answer]]:
    """All results. Raises the first error, or ModelUnavailable when the time is up."""
    finished, late = wait(jobs, max(0.0, deadline - time.monotonic()))
    done = [job.result() for job in jobs if job in finished]
    if late:
        raise ModelUnavailable(f"{name} didn't answer within its time limit")
    return done
