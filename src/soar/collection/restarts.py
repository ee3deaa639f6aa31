"""Restarts of a station that crashed: one rule whatever starts it, with its memory in the store's folder."""

from __future__ import annotations

import logging
import time

from soar.collection.retry import Backoff
from soar.collection.status import StatusFolder
from soar.errors import SoarError
from soar.interfaces import EpisodeStore
from soar.types import Query

log = logging.getLogger(__name__)

MOST_RESTARTS = 3
"""Number of crashes in a row, without an episode between them, after which a station isn't started again."""


class Restarts:
    """Growing pauses between a station's starts, and an end after too many crashes in a row.

    Crashes are counted from the station's events, so that the rule also holds where the counting process is lost with
    the station.
    """

    def __init__(
        self,
        store: EpisodeStore,
        status_folder: StatusFolder,
        backoff: Backoff,
        since_s: float | None = None,
    ) -> None:
        """Begin to count.

        Args:
            store: where the station's episodes are.
            status_folder: its events and commands.
            backoff: pauses before restarts.
            since_s: Unix time at which a person started it, before which no crash counts; None for now.
        """
        self._store, self._status_folder, self._backoff = store, status_folder, backoff
        self._since_s = time.time() if since_s is None else since_s
        self.broken = False
        """Whether it crashed too often, and needs a person."""

    def pause_after(self, why: str) -> float | None:
        """Note a crash. Return the pause in seconds before the next start; None if there is to be none.

        While the store can't be read, no crash is one too many.
        """
        if self._status_folder.command() == "stop":
            self._status_folder.note("crash", f"{why}; it had been stopped")
            return None
        try:
            crashes = self._crashes_in_a_row()
        except SoarError as error:
            log.warning("crashes of %s not counted: %s", self._status_folder.station, error)
            return self._backoff.max_s
        if crashes >= MOST_RESTARTS:
            self.broken = True
            self._status_folder.note("broken", why, person=True)
            return None
        pause_s = self._backoff.pause_s(crashes)
        self._status_folder.note("crash", f"{why}; next start in {pause_s:g} s")
        return pause_s

    def _crashes_in_a_row(self) -> int:
        """Number of crashes since the station's last episode began."""
        query = Query(stations=(self._status_folder.station,), since_s=self._since_s)
        since_s = max((s.provenance.started_s for s in self._store.query(query)), default=0.0)
        since_s = max(since_s, self._since_s)
        crashes = [e for e in self._status_folder.events() if e["kind"] == "crash"]
        return sum(float(e["time_s"]) >= since_s for e in crashes)
