"""JSON over HTTP, with retries."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import httpx

from soar.utils.files import Json

_TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Status codes of transient failures."""
_LARGEST_REPLY = 8_000_000
_SHOWN = 200
"""Most characters of a server's reply in an error message."""


class RequestError(Exception):
    """There is no usable reply; the message is one line and never contains the key."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class _TransientError(RequestError):
    """A failure that a retry may overcome."""

    def __init__(self, reason: str, status: int | None = None, after_s: float = 0.0) -> None:
        super().__init__(reason, status)
        self.after_s = after_s


class Transport:
    """HTTP client that posts JSON with retries and backoff, and keeps the key out of replies and errors."""

    def __init__(self, url: str, key: Callable[[], str], retries: int, backoff_s: float) -> None:
        """`key` is called before each request, so that the key isn't stored."""
        self._url, self._key = url.rstrip("/"), key
        self._retries, self._backoff_s = retries, backoff_s
        # Loading certificates is slow, and plain HTTP has none to verify.
        self._client = httpx.Client(verify=self._url.startswith("https:"))

    def post(
        self,
        path: str,
        body: Json,
        timeout_s: float,
        deadline: float,
        before_each: Callable[[], None],
    ) -> Json:
        """Return the decoded reply.

        Args:
            path: path after the base URL.
            body: JSON to post.
            timeout_s: time limit of each attempt.
            deadline: time on the monotonic clock until which to try [s].
            before_each: called before every attempt; may refuse it by raising.

        Raises:
            RequestError: there is no reply in time, or one that a retry wouldn't improve.
        """
        data = json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            before_each()
            try:
                return self._once(path, data, min(deadline, time.monotonic() + timeout_s))
            except _TransientError as failure:
                pause = max(failure.after_s, self._backoff_s * 2**attempt * random.uniform(1, 1.5))
                if attempt == self._retries or time.monotonic() + pause >= deadline:
                    tries = f"after {attempt + 1} attempts" if attempt else "at the first attempt"
                    raise RequestError(f"{failure} {tries}", failure.status) from None
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _once(self, path: str, data: bytes, deadline: float) -> Json:
        key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        left = max(0.01, deadline - time.monotonic())
        try:
            with self._client.stream(
                "POST", self._url + path, content=data, headers=headers, timeout=left
            ) as reply:
                text = _without(key, _body(reply, deadline))
        except httpx.TimeoutException:
            raise _TransientError("no reply in time") from None
        except httpx.HTTPError as error:
            raise _TransientError(
                _without(key, f"connection failed ({type(error).__name__})")
            ) from None
        return _decoded(reply, text)


def _body(reply: httpx.Response, deadline: float) -> str:
    """The reply's text. Raises at the deadline, however slowly the server sends."""
    parts: list[bytes] = []
    size = 0
    for part in reply.iter_bytes():
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise _TransientError("the reply came too slowly")
        if size > _LARGEST_REPLY:
            raise RequestError(f"the reply is larger than {_LARGEST_REPLY} bytes")
    return b"".join(parts).decode("utf-8", "replace")


def _decoded(reply: httpx.Response, text: str) -> Json:
    """JSON of a reply with status 200. Raises RequestError."""
    shown = " ".join(text.split())[:_SHOWN]
    status = reply.status_code
    if status in _TRANSIENT:
        raise _TransientError(f"status {status}: {shown}", status, _retry_after_s(reply))
    if status != 200:
        raise RequestError(f"status {status}: {shown}", status)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise _TransientError(f"the reply is no JSON: {shown}", status) from None


def _retry_after_s(reply: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 if it doesn't, or gives a date."""
    value = reply.headers.get("Retry-After", "")
    return min(60.0, float(value)) if value.isdigit() else 0.0


def _without(key: str, text: str) -> str:
    return text.replace(key, "***") if key else text
