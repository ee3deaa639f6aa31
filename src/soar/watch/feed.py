"""Server-sent events: values that change, to any number of pages. A slow page gets fewer of them, always the newest."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from soar.errors import SoarError
from soar.watch.panel import Values

PERIOD_S = 0.25
"""Time between two looks at everything that is shown [s]."""
_PING_S = 10.0
"""Time after which a silent stream sends a comment, so that a lost page is noticed [s]."""
_log = logging.getLogger(__name__)


class Feed:
    """The newest values, read by one task for all pages, and only while there is one."""

    def __init__(self, sources: Sequence[Callable[[], Values]]) -> None:
        self._sources = sources
        self._sent: dict[str, tuple[int, str]] = {}
        """Serial number of the last change, and the value as JSON, by key."""
        self._serial = self._pages = 0
        self._task: asyncio.Task[None] | None = None

    def route(self, is_ending: Callable[[], bool]) -> Route:
        """Return the route `/events`. `is_ending`: whether the server is about to end, which ends all streams."""

        async def events(request: Request) -> StreamingResponse:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            stream = self.stream(is_ending)
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

        return Route("/events", events)

    async def stream(self, is_ending: Callable[[], bool]) -> AsyncIterator[str]:
        """Yield every value once, and each change of one, until the page is closed or the server ends."""
        self._pages += 1
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        seen = 0
        try:
            yield f"event: hello\ndata: {json.dumps({'now_s': time.time()})}\n\n"
            while not is_ending() and not self._task.done():
                news = [(k, text) for k, (serial, text) in self._sent.items() if serial > seen]
                seen = self._serial
                for key, text in news:
                    yield f'data: {{"event": "{key.split(" ")[0]}", "value": {text}}}\n\n'
                if not news and not await self._wait(seen, is_ending):
                    yield ": still here\n\n"
            if is_ending():
                yield "event: end\ndata: {}\n\n"
        finally:
            self._pages -= 1
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _wait(self, seen: int, is_ending: Callable[[], bool]) -> bool:
        """Wait for a change. Returns False after a silent while."""
        ends_s = time.monotonic() + _PING_S
        while self._serial == seen and not is_ending():
            if time.monotonic() > ends_s:
                return False
            await asyncio.sleep(PERIOD_S / 5)
        return True

    async def _read(self) -> None:
        """Read all sources again and again. One that fails is tried again."""
        while True:
            started_s = time.monotonic()
            for source in self._sources:
                try:
                    values = await run_in_threadpool(_as_json, source)
                except (SoarError, OSError) as error:
                    _log.warning("a part of the page can't be read: %s", error)
                    continue
                self._note(values)
            took_s = time.monotonic() - started_s
            await asyncio.sleep(max(PERIOD_S - took_s, took_s / 4))

    def _note(self, values: dict[str, str]) -> None:
        for key, text in values.items():
            if self._sent.get(key, (0, ""))[1] != text:
                self._serial += 1
                self._sent[key] = self._serial, text


def _as_json(source: Callable[[], Values]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in source().items()}
