"""JSON messages to a webhook, sent in the background."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from soar.errors import ConfigError

_TIMEOUT_S = 5.0
"""Time limit of a whole exchange in seconds."""


def check_webhook(url: str) -> None:
    """Refuse what is no URL of a webhook, without a word of it, as its path is often a secret. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("webhook is not valid; valid: a URL such as https://HOST/PATH")


class Post:
    """A message on its way. Redirects aren't followed, and the reply's body isn't read."""

    def __init__(self, url: str, message: Mapping[str, object]) -> None:
        """Begin to send. Raises ConfigError: see `check_webhook`."""
        check_webhook(url)
        self._problem = f"no reply within {_TIMEOUT_S:g} s"
        self._thread = threading.Thread(target=self._send, args=(url, message), daemon=True)
        self._thread.start()

    def wait(self) -> str:
        """Return what went wrong within the time limit, without the URL; empty if the message has arrived."""
        self._thread.join(_TIMEOUT_S)
        return self._problem

    def _send(self, url: str, message: Mapping[str, object]) -> None:
        import httpx

        try:
            with (
                httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client,
                client.stream("POST", url, json=message) as reply,
            ):
                status = reply.status_code
        except Exception as error:  # noqa: BLE001  a hostile server's bytes raise many types
            self._problem = f"connection failed ({type(error).__name__})"
        else:
            self._problem = "" if 200 <= status < 300 else f"status {status}"
