"""The page's application and its server."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from soar import __version__
from soar.errors import ConfigError
from soar.serving.server import LOOPBACK, listen
from soar.utils.config import check_ranges
from soar.utils.files import short_name
from soar.watch.access import Access
from soar.watch.episodes import episodes, labels
from soar.watch.feed import Feed
from soar.watch.panel import Panel
from soar.watch.place import Place
from soar.watch.progress import progress
from soar.watch.results import results
from soar.watch.stations import stations

PANELS: tuple[Callable[[Place], Panel], ...] = (stations, episodes, labels, results, progress)
"""Makers of the page's panels, in the order of its navigation."""
PORT = 8700
_STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class PageConfig:
    """Address of the page, and its token."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every network of this machine, and then looking needs the token, too."""
    port: Annotated[int, Ge(0), Le(65535)] = PORT
    """Port; 0 for any that is free."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    """Token of those who steer."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable():
            raise ConfigError("the token needs 16 printable ASCII characters or more")


def make_page(
    place: Place,
    token: str,
    *,
    open_here: bool = True,
    is_ending: Callable[[], bool] = lambda: False,
    panels: Sequence[Callable[[Place], Panel]] = PANELS,
) -> Starlette:
    """Return the application.

    Args:
        place: what is shown.
        token: token of those who steer.
        open_here: whether looking needs no token, as on this machine alone.
        is_ending: whether the server is about to end.
        panels: makers of the panels.
    """
    made = [panel(place) for panel in panels]
    feed = Feed([panel.values for panel in made if panel.values])

    async def index(request: Request) -> Response:
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def page(request: Request) -> Response:
        run = place.run.folder if place.run else place.store
        return JSONResponse(
            {
                "name": short_name(run),
                "version": __version__,
                "may_steer": request.state.may_steer,
                "panels": [{"name": p.name, "title": p.title} for p in made],
            }
        )

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK\n")

    routes = [
        Route("/", index),
        Route("/healthz", healthz),
        Route("/api/page", page),
        feed.route(is_ending),
        *(route for panel in made for route in panel.routes),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    access = Middleware(Access, token=token, open_here=open_here)
    return Starlette(routes=routes, middleware=[access])


class PageServer:
    """The page's server, which listens from its construction on."""

    address: str
    """Address with the token."""

    def __init__(
        self,
        place: Place,
        config: PageConfig,
        *,
        any_port: bool = False,
        panels: Sequence[Callable[[Place], Panel]] = PANELS,
    ) -> None:
        """Listen.

        Args:
            place: what is shown.
            config: address and token.
            any_port: take another port where the configured one is in use.
            panels: makers of the panels.

        Raises:
            ConfigError: the address or port can't be used.
        """
        import uvicorn

        self._listening = _listening(config, any_port)
        host, port = self._listening.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{port}/?token={config.token}"
        app = make_page(
            place,
            config.token,
            open_here=config.host in LOOPBACK,
            is_ending=lambda: self._server.should_exit,
            panels=panels,
        )
        options = uvicorn.Config(
            app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(options)

    def run(self) -> None:
        """Serve until `end`; in the main thread also until Ctrl-C or SIGTERM."""
        with self._listening:
            self._server.run(sockets=[self._listening])

    def end(self) -> None:
        """End `run`, from any thread."""
        self._server.should_exit = True


def serve_page(
    place: Place, config: PageConfig, on_ready: Callable[[str], None], *, any_port: bool = False
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        place: what is shown.
        config: address and token.
        on_ready: called with the page's address and token, once it can be opened.
        any_port: take another port where the configured one is in use.

    Raises:
        ConfigError: the address or port can't be used.
    """
    server = PageServer(place, config, any_port=any_port)
    on_ready(server.address)
    server.run()


def _listening(config: PageConfig, any_port: bool) -> socket.socket:
    if any_port:
        with contextlib.suppress(ConfigError):
            return listen(config)
        return listen(PageConfig(config.host, 0, config.token))
    return listen(config)
