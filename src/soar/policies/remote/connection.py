"""A websocket to a server of openpi's protocol."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.sync.client import ClientConnection, connect

from soar.errors import ConfigError, ModelUnavailable
from soar.utils.addresses import is_socket_url
from soar.utils.wire import is_mapping, pack, unpack

_OPEN_TIMEOUT_S = 5.0
"""Time limit of opening a connection."""
_CLOSE_TIMEOUT_S = 0.2
"""Time limit of closing one."""
_LARGEST_MESSAGE = 2**26
"""Most bytes of a server's message."""


def key_of(variable: str) -> str:
    """Return a server's key; "" without a variable. Raises ConfigError: it isn't set, or no key."""
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise ConfigError(f"the environment variable {variable} isn't set")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the environment variable {variable} holds no key: spaces, or not ASCII")
    return key


class Connection:
    """A connection, opened when it is first used and again after a failure."""

    def __init__(self, url: str, variable: str, first_timeout_s: float, timeout_s: float) -> None:
        """Prepare, without connecting.

        Args:
            url: ws:// or wss://.
            variable: environment variable that holds the server's key; "" if it needs none.
            first_timeout_s: time limit of the first answer.
            timeout_s: time limit of every later one.
        """
        self._url, self._variable = url, variable
        self._first_timeout_s, self._timeout_s = first_timeout_s, timeout_s
        self._socket: ClientConnection | None = None
        self._closing = ExitStack()
        self._answered = False
        self._metadata: Mapping[str, Any] = {}

    def metadata(self) -> Mapping[str, Any]:
        """Connect where needed, and return what the server says of itself. Raises ModelUnavailable, ConfigError."""
        self._open()
        return self._metadata

    def ask(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the reply to a request.

        Raises:
            ModelUnavailable: there is none within the time limit, or the server reports an error.
            ConfigError: the address or the key is refused.
        """
        opened = self._open()
        limit = self._timeout_s if self._answered else self._first_timeout_s
        try:
            opened.send(pack(message))
            reply = opened.recv(limit)
            if isinstance(reply, str):
                lines = self._without_key(reply).strip().splitlines() or ["an error without words"]
                raise ModelUnavailable(f"{self._url}: {lines[-1]:.300}")
            answer = unpack(reply)
        except TimeoutError:
            self.close()
            raise ModelUnavailable(f"{self._url} gave no answer within {limit:g} s") from None
        except (WebSocketException, OSError, ConfigError) as error:
            self.close()
            raise ModelUnavailable(f"{self._url}: {_words(error)}") from error
        except ModelUnavailable:
            self.close()
            raise
        if not is_mapping(answer):
            raise ModelUnavailable(f"{self._url}: the answer is no dictionary")
        self._answered = True
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._socket = None
        self._closing.close()

    def _open(self) -> ClientConnection:
        if self._socket is not None:
            return self._socket
        if not is_socket_url(self._url):
            raise ConfigError(f"'{self._url}' is no address; valid: ws://HOST:PORT")
        key = key_of(self._variable)
        headers = {"Authorization": f"Api-Key {key}"} if key else None
        try:
            made = connect(
                self._url,
                compression=None,
                max_size=_LARGEST_MESSAGE,
                additional_headers=headers,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=None,  # a server that compiles doesn't answer pings
            )
            opened = self._closing.enter_context(made)
        except InvalidHandshake as error:
            raise ConfigError(f"{self._url} refused the connection: {_words(error)}") from error
        except (WebSocketException, OSError) as error:
            raise ModelUnavailable(f"{self._url} can't be reached: {_words(error)}") from error
        opened.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._metadata = self._first_message(opened)
        self._socket, self._answered = opened, False
        return opened

    def _without_key(self, text: str) -> str:
        """A server's words without the key, which it may repeat."""
        key = key_of(self._variable)
        return text.replace(key, "***") if key else text

    def _first_message(self, opened: ClientConnection) -> Mapping[str, Any]:
        """What the server says of itself. Raises ModelUnavailable, ConfigError, after which it is closed."""
        said = ""
        try:
            first = opened.recv(self._first_timeout_s)
            if isinstance(first, str):
                said = f": {self._without_key(first).strip():.300}".splitlines()[-1]
            elif is_mapping(metadata := unpack(first)):
                return metadata
        except (TimeoutError, WebSocketException, OSError, ConfigError) as error:
            self.close()
            raise ModelUnavailable(f"{self._url}: {_words(error)}") from error
        self.close()
        raise ConfigError(f"{self._url} doesn't speak openpi's protocol{said}")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
