"""JSON messages to a webhook, sent in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from soar.errors import ConfigError
from soar.utils.addresses import is_web_url

_TIMEOUT_S = 5.0
"""Time limit of a whole exchange in seconds."""


def check_webhook(url: str) -> None:
    """Refuse what is no URL of a webhook, without quoting it, as its path is often a secret. Raises ConfigError."""
    if not is_web_url(url) or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("webhook is not valid; valid: a URL such as https://HOST/PATH")


class Sending:
    """A message on its way, in a thread."""

    def __init__(self, send: Callable[[], str | None], limit_s: float) -> None:
        """Begin. `send` returns what is wrong or raises; only the error's type is shown: its text may hold secrets."""
        self._problem, self._limit_s = f"no reply within {limit_s:g} s", limit_s
        self._thread = threading.Thread(target=self._run, args=(send,), daemon=True)
        self._thread.start()

    def wait(self) -> str:
        """Return what went wrong within the time limit; empty if the message has arrived."""
        self._thread.join(self._limit_s)
        return self._problem

    def _run(self, send: Callable[[], str | None]) -> None:
        try:
            self._problem = send() or ""
        except Exception as error:  # noqa: BLE001  a hostile server's bytes raise many types
            self._problem = f"connection failed ({type(error).__name__})"


class Post(Sending):
    """A JSON message to a webhook. Redirects aren't followed, and the reply's body isn't read."""

    def __init__(self, url: str, message: Mapping[str, object]) -> None:
        """Begin to send. Raises ConfigError: see `check_webhook`."""
        check_webhook(url)
        super().__init__(lambda: _post(url, message), _TIMEOUT_S)


def _post(url: str, message: Mapping[str, object]) -> str:
    import httpx

    with (
        httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client,
        client.stream("POST", url, json=message) as reply,
    ):
        status = reply.status_code
    return "" if 200 <= status < 300 else f"status {status}"
