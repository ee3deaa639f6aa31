"""Demonstrations by a person in the browser: a panel beside the others, in the process that records.

Several times a second the browser sends the keys that are down; once it is cut off, the arm stands still.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from starlette.requests import Request

from soar.collection.live import encode_picture
from soar.collection.recording import RecordingState
from soar.errors import ConfigError
from soar.types import Image
from soar.utils.files import Json
from soar.watch.app import PANELS, PageConfig, PageServer
from soar.watch.panel import Panel, post, route
from soar.watch.place import Place

_WAIT_S = 5.0
"""Longest time for which a browser waits for the next picture [s]."""
_MOST_KEYS, _LONGEST_TASK = 20, 300
_LAST_LOOK_S = 1.0
"""Time for which the page outlives the recording, so that it shows the end [s]."""


class RecordingPage:
    """Where a person in the browser looks, and whose keys they press. A `View` of `Recording`."""

    def __init__(
        self,
        press: Callable[[str], None],
        choose: Callable[[str], None],
        tasks: Sequence[str],
        help_line: str = "",
    ) -> None:
        """Show nothing yet.

        Args:
            press: takes each key, from any thread.
            choose: takes an instruction that the person chose, likewise.
            tasks: instructions that are offered.
            help_line: what the person is told beside the keys.
        """
        self._press, self._choose, self._tasks = press, choose, list(tasks)
        self._help = help_line
        self._news = threading.Condition()
        self._number = 0
        self._seen: tuple[Image, RecordingState] | None = None
        self._ended = False

    def show(self, image: Image, state: RecordingState) -> None:
        """See `View.show`."""
        with self._news:
            self._number, self._seen = self._number + 1, (image, state)
            self._news.notify_all()

    def panel(self, place: Place) -> Panel:
        """Return the panel."""
        routes = (
            route("/api/record", self._next),
            post("/api/record/keys", self._take_keys),
            post("/api/record/task", self._take_task),
        )
        return Panel("record", "Record", routes)

    @contextlib.contextmanager
    def serve(self, place: Place, config: PageConfig) -> Iterator[str]:
        """Serve the whole page in a thread, with this panel first; yields its address.

        Args:
            place: the store that is recorded into.
            config: address and token; another port is taken where that one is in use.

        Raises:
            ConfigError: the address can't be used.
        """
        server = PageServer(place, config, any_port=True, panels=(self.panel, *PANELS))
        thread = threading.Thread(target=server.run, name="page", daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()
            time.sleep(_LAST_LOOK_S)
            server.end()
            thread.join()

    def _next(self, request: Request) -> Json:
        """Return the newest picture and state, once they are newer than those that the browser has."""
        seen = request.query_params.get("after", "0")
        with self._news:
            self._news.wait_for(lambda: self._ended or str(self._number) != seen, _WAIT_S)
            number, newest, ended = self._number, self._seen, self._ended
        found: dict[str, Json] = {"number": number, "ended": ended}
        if newest is None:
            return found
        image, state = newest
        more = {"image": encode_picture(image), "tasks": self._tasks, "help": self._help}
        return {**found, **asdict(state), **more}

    def _take_keys(self, request: Request, body: Json) -> Json:
        keys: Json = body.get("keys") if isinstance(body, dict) else None
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise ConfigError("keys are a list of texts")
        for key in keys[:_MOST_KEYS]:
            self._press(key)
        return {}

    def _take_task(self, request: Request, body: Json) -> Json:
        task: Json = body.get("task") if isinstance(body, dict) else None
        valid = isinstance(task, str) and task.strip() and task.isprintable()
        if not valid or len(task) > _LONGEST_TASK:
            raise ConfigError(f"a task is a line of up to {_LONGEST_TASK} characters")
        self._choose(task.strip())
        return {"task": task.strip()}
