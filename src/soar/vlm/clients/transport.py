"""JSON to a server and back, over a network and a server that may fail in every way."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import httpx

from soar.utils.files import Json

_MAY_PASS = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Status codes after which trying again makes sense."""
_LARGEST_REPLY = 8_000_000
_SHOWN = 200
"""Characters of a server's own words in an error."""


class RequestError(Exception):
    """No usable reply: why, in one line, never with the key in it."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class _PassingError(RequestError):
    """A failure that may pass."""

    def __init__(self, reason: str, status: int | None = None, after_s: float = 0.0) -> None:
        super().__init__(reason, status)
        self.after_s = after_s


class Transport:
    """Posts JSON with retries and backoff, and keeps the key out of whatever it returns or raises."""

    def __init__(self, url: str, key: Callable[[], str], retries: int, backoff_s: float) -> None:
        """`key` is asked before each request, so that it is kept nowhere."""
        self._url, self._key = url.rstrip("/"), key
        self._retries, self._backoff_s = retries, backoff_s
        # Certificates take long to load, and plain http has none to verify.
        self._client = httpx.Client(verify=self._url.startswith("https:"))

    def post(
        self,
        path: str,
        body: Json,
        timeout_s: float,
        deadline: float,
        before_each: Callable[[], None],
    ) -> Json:
        """The decoded reply, before `deadline` on the monotonic clock.

        `before_each` is called before every attempt and may refuse it by raising.

        Raises:
            RequestError: no reply in time, or none that retrying would make usable.
        """
        data = json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            before_each()
            try:
                return self._once(path, data, min(deadline, time.monotonic() + timeout_s))
            except _PassingError as failure:
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
            raise _PassingError("no reply in time") from None
        except httpx.HTTPError as error:
            raise _PassingError(
                _without(key, f"connection failed ({type(error).__name__})")
            ) from None
        return _decoded(reply, text)


def _body(reply: httpx.Response, deadline: float) -> str:
    """The reply's text; a server that sends it drop by drop is cut off at the deadline."""
    parts: list[bytes] = []
    size = 0
    for part in reply.iter_bytes():
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise _PassingError("the reply came too slowly")
        if size > _LARGEST_REPLY:
            raise RequestError(f"the reply is larger than {_LARGEST_REPLY} bytes")
    return b"".join(parts).decode("utf-8", "replace")


def _decoded(reply: httpx.Response, text: str) -> Json:
    """The JSON of a good reply."""
    shown = " ".join(text.split())[:_SHOWN]
    status = reply.status_code
    if status in _MAY_PASS:
        raise _PassingError(f"status {status}: {shown}", status, _retry_after_s(reply))
    if status != 200:
        raise RequestError(f"status {status}: {shown}", status)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise _PassingError(f"the reply is no JSON: {shown}", status) from None


def _retry_after_s(reply: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 where it doesn't, or gives a date."""
    value = reply.headers.get("Retry-After", "")
    return min(60.0, float(value)) if value.isdigit() else 0.0


def _without(key: str, text: str) -> str:
    return text.replace(key, "***") if key else text
