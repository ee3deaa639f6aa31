"""Episodes copied between stores, file by file, under their own ids.

A copy is complete or not there, as any episode; a copy that was interrupted goes on. Rows are committed in batches, so
that a hundred thousand episodes cost no hundred thousand commits.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from soar.data.store.disk import LANCE_ERRORS, adding, first_line
from soar.data.store.index import id_in
from soar.data.store.lance import LanceStore
from soar.data.store.rows import Row
from soar.errors import StoreError
from soar.types import EpisodeSummary
from soar.utils.files import write_bytes

BATCH = 64
"""Episodes that become visible at once."""
Group: TypeAlias = Literal["episode", "task", "scene", "station"]
"""Episodes that stay together when a store is split."""


def copy_episodes(
    source: LanceStore, ids: Iterable[str], target: LanceStore
) -> Iterator[tuple[str, str]]:
    """Copy episodes into another store; those that it already has are skipped.

    Verdicts that were given later come along. A file that is damaged is not copied.

    Yields:
        Each id, and "" or why it wasn't copied: "there already", or the damage.

    Raises:
        StoreError: the target can't be written, or another process imports into it; what was committed before stays.
    """
    target.require_write()
    with adding(target.path, alone=False):
        known = target.index.ids()
        batch: list[str] = []
        for id in ids:
            if id in known:
                yield id, "there already"
                continue
            known.add(id)
            batch.append(id)
            if len(batch) == BATCH:
                yield from _copy_batch(source, batch, target)
                batch = []
        yield from _copy_batch(source, batch, target)


def select(
    summaries: Iterable[EpisodeSummary],
    *,
    judges: Sequence[str] = (),
    least_p: float | None = None,
    most_p: float | None = None,
) -> Iterator[EpisodeSummary]:
    """Yield the episodes whose verdicts match; one without a probability is within no bound on it.

    Args:
        summaries: the episodes.
        judges: beginnings of the judges' names; empty for all.
        least_p: least probability of success.
        most_p: largest probability of success.
    """
    for summary in summaries:
        verdict = summary.verdict
        if judges and not verdict.judge.startswith(tuple(judges)):
            continue
        p = verdict.p_success
        low = least_p is not None and (p is None or p < least_p)
        high = most_p is not None and (p is None or p > most_p)
        if not low and not high:
            yield summary


def held_out(summary: EpisodeSummary, fraction: float, by: Group, seed: int) -> bool:
    """Whether an episode belongs to the held-out part of a split.

    The choice depends on the group's name and the seed alone, so a store that grows keeps its split.
    """
    group = {
        "episode": summary.id,
        "task": summary.instruction,
        "scene": f"{summary.provenance.regime} {summary.provenance.scene}",
        "station": summary.provenance.station,
    }[by]
    digest = hashlib.sha256(f"{seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def _copy_batch(
    source: LanceStore, ids: Sequence[str], target: LanceStore
) -> Iterator[tuple[str, str]]:
    if not ids:
        return
    rows = {row["id"]: row for row in _rows(source, ids)}
    problems = {id: _copy_file(source, rows.get(id), id, target) for id in ids}
    copied = [(rows[id], target.steps_path(id)) for id in ids if not problems[id]]
    if copied:
        try:
            there = target.commit(*copied)
        except LANCE_ERRORS as error:
            raise StoreError(
                f"episodes not stored in '{target.root}': {first_line(error)}"
            ) from error
        problems |= dict.fromkeys(there, "there already")
    yield from problems.items()


def _rows(source: LanceStore, ids: Sequence[str]) -> list[Row]:
    """Return the complete rows of episodes."""
    columns = source.index.open().schema.names
    rows: list[Row] = source.index.rows(columns, id_in(ids)).to_pylist()
    return rows


def _copy_file(source: LanceStore, row: Row | None, id: str, target: LanceStore) -> str:
    """Copy an episode's steps, which another process may copy as well; return "" or what is wrong with them."""
    if row is None:
        return "its row is damaged"
    path, to = source.steps_path(id), target.steps_path(id)
    try:
        data = path.read_bytes()
        if zlib.crc32(data) != row["crc32"]:
            return f"steps file '{path}' is damaged"
        if isinstance(to, Path):
            write_bytes(to, data)
        else:
            to.write_bytes(data)
    except FileNotFoundError:
        return f"steps file '{path}' is missing"
    except OSError as error:
        raise StoreError(f"episodes not stored in '{target.root}': {first_line(error)}") from error
    return ""
