"""The seeds of a station's episodes."""

from __future__ import annotations

import numpy as np

from soar.interfaces import EpisodeStore
from soar.rollout.station import Station
from soar.types import Query


class Seeds:
    """Seeds that follow from what is in the store; no two stored episodes of the station have the same one.

    The number of stored episodes alone isn't enough: episodes that were dropped before a restart had seeds, too.
    """

    def __init__(self, station: Station, store: EpisodeStore) -> None:
        episodes = store.query(Query(stations=(station.name,)))
        used = [e.provenance.seed for e in episodes]
        self._first, self._count, self._used = station.seed, len(used), frozenset(used)
        self._skip_used()

    @property
    def current(self) -> int:
        """Seed of the next episode."""
        return int(np.random.SeedSequence([self._first, self._count]).generate_state(1)[0])

    def advance(self) -> None:
        """Go on to the next seed."""
        self._count += 1
        self._skip_used()

    def _skip_used(self) -> None:
        while self.current in self._used:
            self._count += 1
