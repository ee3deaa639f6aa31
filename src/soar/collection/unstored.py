"""Episodes that couldn't be stored when a collection was stopped, kept in a spare store until the next one begins."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from soar.data.store.lance import LanceStore, open_store
from soar.errors import ContentError, SoarError, StoreError
from soar.types import Episode, Query
from soar.utils.files import cache_folder

log = logging.getLogger(__name__)


def spare_folder(store: LanceStore) -> Path:
    """Return the folder of a store's spare stores, one for each station, in the user's cache."""
    return cache_folder() / "unstored" / (store.identity or store.path.resolve().name)


def keep(spare: Path | None, episodes: Sequence[Episode], error: SoarError) -> str:
    """Keep finished episodes in `spare`, losslessly, each that can be kept.

    Returns:
        What became of them and of `error`, in one line.
    """
    lost = [e for e in episodes if spare is None or not _keep(spare / e.provenance.station, e)]
    kept = len(episodes) - len(lost)
    parts = (
        [f"{kept} kept in {spare}, from where the next `soar collect` takes them"] if kept else []
    )
    if lost:
        named = ", ".join(f"{e.instruction} ({e.verdict.outcome})" for e in lost)
        parts.append(f"{len(lost)} lost: {named}")
    return f"{error}; of {len(episodes)} finished episodes {' and '.join(parts)}"


def _keep(folder: Path, episode: Episode) -> bool:
    """Store an episode in a spare store; return whether that was possible."""
    try:
        open_store(folder, create=True, codec="png").append(episode)
    except SoarError as error:
        log.error("an episode can't be kept in %s either: %s", folder, error)
        return False
    return True


def restore(store: LanceStore, station: str) -> None:
    """Move a station's episodes from its spare store into the store.

    Those that can't be read or that the store refuses stay there, which is logged.

    Raises:
        StoreError: they still can't be stored; they stay where they are.
    """
    folder = spare_folder(store) / station
    if not (folder / "store.json").exists():
        return
    known = {s.provenance.started_s for s in store.query(Query(stations=(station,)))}
    spare, complete = open_store(folder), True
    for summary in spare.query():
        if summary.provenance.started_s not in known:  # else a restore was interrupted
            try:
                store.append(_load(spare, summary.id))
            except ContentError as error:
                complete = False
                log.error("an episode in %s stays there: %s", folder, error)
    if not complete:
        return
    log.warning("stored the episodes of %s that were kept in %s", station, folder)
    shutil.rmtree(folder, ignore_errors=True)


def _load(spare: LanceStore, id: str) -> Episode:
    """Read a kept episode. Raises ContentError: it is damaged."""
    try:
        return spare.load(id)
    except StoreError as error:
        raise ContentError(str(error)) from error
