"""What a page shows: an episode store, and the run that it belongs to."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, StoreError
from soar.improvement.run import Run
from soar.types import EpisodeSummary
from soar.utils.objects import AnyPath, object_of
from soar.vlm.labels import read_labels, update_label

_log = logging.getLogger(__name__)

LABELS = "labels.csv"
"""File of a person's labels in a store, where no other is named."""
_PAUSE_S, _PAUSE_FACTOR = 1.0, 10
"""Least time between two readings of the whole index: in seconds, and as a multiple of the time that one takes."""


@dataclass
class Place:
    """Folder of a store, and of its run where there is one. Can be used from several threads."""

    store: Path
    """Folder of the store, which need not exist yet."""
    labels: AnyPath
    """CSV file of a person's labels."""
    run: Run | None = None
    critic: str = ""
    """Folder of the critic whose values are shown along an episode; empty for none."""
    frames: threading.Lock = field(default_factory=threading.Lock)
    """Held while frames are read, as an open steps file can't be read by two threads at once."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _episodes: tuple[EpisodeSummary, ...] = ()
    _version: int = 0
    _next_s: float = 0.0

    def opened(self) -> LanceStore:
        """Open the store. Raises StoreError: there is none yet."""
        return open_store(self.store, read_only=True)

    def episodes(self) -> tuple[int, tuple[EpisodeSummary, ...]]:
        """Return the store's version and its episodes, oldest first, as read a moment ago; version 0 without a store.

        While the store is away, they are those read last.

        Raises:
            StoreError: the store can't be read, and never could.
        """
        with self._lock:
            if time.monotonic() < self._next_s or not (self.store / "store.json").exists():
                return self._version, self._episodes
            started_s = time.monotonic()
            try:
                store = self.opened()
                if (version := store.version) != self._version:
                    self._episodes, self._version = tuple(store.query()), version
            except StoreError as error:
                if not self._version:
                    raise
                _log.warning("%s", error)
            finally:
                took_s = time.monotonic() - started_s
                self._next_s = time.monotonic() + max(_PAUSE_S, _PAUSE_FACTOR * took_s)
            return self._version, self._episodes

    def read_labels(self) -> dict[str, bool | None]:
        """Return a person's labels by episode. Raises ConfigError: the file is damaged."""
        return read_labels(self.labels)

    def write_label(self, id: str, success: bool | None, *, forget: bool = False) -> None:
        """Store a label, or forget it. Raises ConfigError, FileError, StoreError."""
        update_label(self.labels, self.opened().summary(id), success, forget=forget)


def open_place(folder: Path, labels: Path | None = None, critic: str = "") -> Place:
    """Return the place of a store's or a run's folder.

    Args:
        folder: the folder.
        labels: file of a person's labels; STORE/labels.csv if None.
        critic: folder of a critic.

    Raises:
        ConfigError: it is neither.
        StoreError: the store can't be read.
    """
    if (folder / "store.json").exists():
        parent = Run(folder.absolute().parent)
        has_run = (
            parent.folder / "run.json"
        ).exists() and parent.store.name == folder.absolute().name
        place = Place(folder, labels or _labels(folder), parent if has_run else None, critic)
        place.opened()
        return place
    if not (folder / "run.json").exists():
        raise ConfigError(f"{folder} is neither an episode store (store.json) nor a run (run.json)")
    return place_of_run(folder, labels, critic)


def place_of_run(folder: Path, labels: Path | None = None, critic: str = "") -> Place:
    """Return the place of a run that has begun, or is just about to."""
    run = Run(folder)
    return Place(run.store, labels or _labels(run.store), run, critic)


def _labels(store: Path) -> AnyPath:
    """Return the file of a person's labels in a store."""
    return (object_of(store) or store) / LABELS


def readable(place: Place) -> tuple[int, tuple[EpisodeSummary, ...]]:
    """Return `Place.episodes`, and nothing while the store can't be read."""
    try:
        return place.episodes()
    except StoreError:
        return 0, ()
