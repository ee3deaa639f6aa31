"""The server: routes behind a guard, on a socket of this machine unless a key is asked for."""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Ge, Le
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from soar.errors import ConfigError
from soar.utils.config import check_ranges

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine for itself."""
_OPEN_PATHS = ("/healthz", "/health")
"""Paths that need no key."""
_LARGEST_MESSAGE = 2**30
"""Bytes of the largest websocket message."""


@dataclass(frozen=True)
class ServerConfig:
    """Address of a server, and who may use it."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every network of this machine, and needs a key."""
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port; 0 for any that is free."""
    key: str = ""
    """Environment variable with the key that clients must send as "Authorization: Api-Key KEY" or "Bearer KEY"."""
    wait_ms: Annotated[float, Ge(0), Le(1000)] = 5.0
    """Longest wait of a request for those of other clients, with which it shares a batch."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the random numbers of requests without one."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.key and self.host not in LOOPBACK:
            raise ConfigError(
                f"--host {self.host} is open to other machines: name the environment variable of a key (--key VARIABLE)"
            )

    @property
    def wait_s(self) -> float:
        """Longest wait in seconds."""
        return self.wait_ms / 1000

    def secret(self) -> str:
        """Return the key; "" if none is asked for. Raises ConfigError: its variable isn't set."""
        if not self.key:
            return ""
        secret = os.environ.get(self.key, "").strip()
        if not secret:
            raise ConfigError(f"the environment variable {self.key} isn't set")
        return secret


def make_app(routes: Sequence[BaseRoute], secret: str = "") -> Starlette:
    """Return the application. `secret`: key that clients must send; "" serves this machine alone."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK\n")

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    own = [Route("/healthz", healthz), Route("/health", health)]
    return Starlette(routes=[*own, *routes], middleware=[Middleware(Guard, secret=secret)])


class Guard:
    """Middleware that refuses clients without the key, and web pages of other origins."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app, self._secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it: with status 401 or 403, or before a websocket is accepted."""
        status = self._refusal(scope) if scope["type"] in ("http", "websocket") else 0
        if not status:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
        else:
            text = "a key is needed" if status == 401 else "pages of other origins are refused"
            await JSONResponse({"error": text}, status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> int:
        """The status of the refusal; 0 for a client that may pass."""
        headers = Headers(scope=scope)
        if is_foreign(headers):
            return 403
        if not self._secret:
            return 0 if names_this_machine(headers) else 403
        if scope["path"] in _OPEN_PATHS:
            return 0
        scheme, _, given = headers.get("authorization", "").partition(" ")
        known = scheme.lower() in ("api-key", "bearer") and hmac.compare_digest(
            given.strip().encode(), self._secret.encode()
        )
        return 0 if known else 401


def is_foreign(headers: Headers) -> bool:
    """Whether a request comes from a web page of another origin."""
    origin = headers.get("origin", "")
    return bool(origin) and origin.rpartition("/")[2] != headers.get("host", "")


def names_this_machine(headers: Headers) -> bool:
    """Whether a request is for this machine by its own name; a page whose name resolves to it has another host."""
    return _name(headers.get("host", "")) in (*LOOPBACK, "")


@runtime_checkable
class Address(Protocol):
    """Where a server listens."""

    @property
    def host(self) -> str:
        """Address of this machine."""

    @property
    def port(self) -> int:
        """Port; 0 for any that is free."""


def listen(config: Address) -> socket.socket:
    """Open the server's socket. Raises ConfigError: the address or port can't be used."""
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"can't listen at {config.host}:{config.port}: {error.strerror or error}"
        ) from error


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _name(host: str) -> str:
    """A host without its port, and without an IPv6 address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
