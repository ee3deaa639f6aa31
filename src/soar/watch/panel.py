"""Parts of the page: a title, routes, values that are sent as they change, and a script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from soar.errors import BadOutput, ConfigError, SoarError, StoreError
from soar.utils.files import Json

Values: TypeAlias = Mapping[str, Json]
"""JSON values by key. A key is the name of an event, and what it is about: "station arm1"."""


@dataclass(frozen=True)
class Panel:
    """A part of the page. `static/NAME.js` exports `open(root, page, argument)`, which draws it."""

    name: str
    """Name of the script, and of the panel in the page's address."""
    title: str
    """Title in the page's navigation; empty for a panel that only others lead to."""
    routes: Sequence[BaseRoute] = field(default_factory=tuple)
    """Routes of its own, below /api/. Those other than GET need the token."""
    values: Callable[[], Values] | None = None
    """Called a few times a second while somebody watches; what has changed is sent."""


def route(path: str, answer: Callable[[Request], Json], method: str = "GET") -> Route:
    """Return a route that answers in a thread with JSON, or a response of its own; a SoarError becomes one line."""

    async def endpoint(request: Request) -> Response:
        return await _answered(lambda: run_in_threadpool(answer, request))

    return Route(path, endpoint, methods=[method])


def post(path: str, change: Callable[[Request, Json], Json]) -> Route:
    """Return a route that changes something: gets the request and the JSON of its body, None for an empty one."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await request.json() if await request.body() else None
        except ValueError:
            return JSONResponse({"error": "the body is no JSON"}, 400)
        return await _answered(lambda: run_in_threadpool(change, request, body))

    return Route(path, endpoint, methods=["POST"])


def whole(name: str, text: str) -> int:
    """Return a number of a request's address. Raises ConfigError: it isn't one to nine digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ConfigError(f"{name} is '{text:.40}'; valid: a whole number from 0 to 999999999")
    return int(text)


async def _answered(answer: Callable[[], Awaitable[Json]]) -> Response:
    try:
        found = await answer()
    except SoarError as error:
        status = 404 if isinstance(error, StoreError) else 400
        status = status if isinstance(error, ConfigError | StoreError | BadOutput) else 503
        return JSONResponse({"error": " ".join(str(error).split())}, status)
    return found if isinstance(found, Response) else JSONResponse(found)
