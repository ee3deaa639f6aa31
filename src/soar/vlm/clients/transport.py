"""JSON over HTTP, with retries."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable

from soar.utils import http
from soar.utils.files import Json

_TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Status codes of transient failures."""
_SHOWN = 200
"""Most characters of a server's reply in an error message."""
_DEEPEST = 50
"""Deepest nesting of a reply's JSON."""
_NOT_JSON = object()


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
    """HTTP client that posts JSON with retries and backoff, and keeps the key out of replies and errors.

    Certificates are always verified, redirects are not followed, and each attempt has one deadline for the whole
    exchange, however slowly the server sends.
    """

    def __init__(self, url: str, key: Callable[[], str], retries: int, backoff_s: float) -> None:
        """`key` is called before each request, so that the key isn't stored."""
        self._url, self._key = url.rstrip("/"), key
        self._retries, self._backoff_s = retries, backoff_s

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
        try:
            reply = http.exchange(self._url + path, data, headers, deadline - time.monotonic())
        except http.ExchangeError as error:
            raise (_TransientError if error.passes else RequestError)(str(error)) from None
        return _decoded(reply, key)


def _decoded(reply: http.Reply, key: str) -> Json:
    """JSON of a reply with status 200, checked and without the key. Raises RequestError."""
    text = reply.body.decode("utf-8", "replace")
    try:
        value = _clean(json.loads(text, parse_int=_number), key)
        shown = _one_line(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        )
    except (ValueError, RecursionError):
        value, shown = _NOT_JSON, _one_line(_clean(text, key))
    status = reply.status
    if status in _TRANSIENT:
        wait_s = _retry_after_s(reply.retry_after)
        raise _TransientError(f"status {status}: {shown}", status, wait_s)
    if status != 200:
        raise RequestError(f"status {status}: {shown}", status)
    if value is _NOT_JSON:
        raise _TransientError(f"the reply is no JSON: {shown}", status)
    _refuse_error(value, shown)
    return value


def _refuse_error(value: Json, shown: str) -> None:
    """Raise for a reply with status 200 that reports an error, or has no choices."""
    if not isinstance(value, dict):
        return
    error = value.get("error")
    if value.get("choices") or value.get("answers") or not (error or "choices" in value):
        return
    code = error.get("code") if isinstance(error, dict) else None
    code = (
        int(code) if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)) else 200
    )
    kind = RequestError if code not in {200, *_TRANSIENT} else _TransientError
    raise kind(f"an error with status 200: {shown}", code)


def _clean(value: Json, key: str, depth: int = 0) -> Json:
    """Decoded JSON without the key and without lone surrogates. Raises ValueError if nested too deep."""
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode("utf-8")
        return text.replace(key, "***") if key else text
    if isinstance(value, list):
        return [_clean(v, key, depth + 1) for v in value]
    if isinstance(value, dict):
        return {str(_clean(k, key)): _clean(v, key, depth + 1) for k, v in value.items()}
    return value


def _number(digits: str) -> int | float:
    """An integer of JSON; as float if it is larger than any that is meant."""
    return int(digits) if len(digits) <= 18 else float(digits)


def _one_line(text: str) -> str:
    """The beginning of a reply, for an error message."""
    return " ".join(text[: 4 * _SHOWN].split())[:_SHOWN]


def _retry_after_s(value: str) -> float:
    """Seconds that the server asks to wait; 0 if it doesn't, or gives a date."""
    return min(60.0, float(value)) if re.fullmatch(r"[0-9]{1,9}", value) else 0.0
