"""Verification of a store, down to every frame, and repair."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from soar.data.store.content import numbers
from soar.data.store.images import decode
from soar.data.store.lance import LanceStore
from soar.data.store.rows import Row, from_row
from soar.data.store.steps import camera_columns, checksum, read_row, read_table, table_numbers
from soar.errors import StoreError
from soar.utils.files import os_problem
from soar.utils.objects import AnyPath, ObjectPath, sorted_glob

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("id", "instruction", "length", "bytes", "crc32")


class Finding(NamedTuple):
    """Result of checking one part of a store."""

    part: str
    """"episode <id>", "rows", "version <n>" or "file <path>"."""
    problem: str
    """One line; "" for an intact part."""
    is_orphan: bool = False
    """Whether it is a steps file without a row, from an append in progress or interrupted, which is no damage."""


class SweepResult(NamedTuple):
    """Changes made by a sweep."""

    removed: tuple[AnyPath, ...]
    """Files that were deleted: steps files without a row, temporary ones of killed writers, damaged versions."""
    restored: tuple[str, ...]
    """Episodes whose row was restored from the copy in their steps file."""
    damaged: tuple[str, ...]
    """Episodes removed because their steps are damaged; the files stay, renamed `.damaged`."""
    expired: tuple[int, ...]
    """Old, untagged versions of the index that were deleted."""


def verify(
    store: LanceStore, workers: int | None = None, sample: int | None = None
) -> Iterator[Finding]:
    """Check every version, row, file and frame; yields intact parts, too, so that progress can be shown.

    Args:
        store: the store.
        workers: threads; None is one for each core.
        sample: number of random episodes whose row, file and frames are checked; None checks all, and looks for files
            without a row.
    """
    unreadable = store.index.unreadable() if sample is None else []
    for version, whole in store.index.manifests():
        problem = "its manifest can't be read" if version in unreadable else ""
        yield Finding(f"version {version}", problem if whole else "its manifest is cut short")
    for path in store.index.set_aside():
        yield Finding(
            f"file {path}", "was found cut short and set aside; `soar data sweep` repairs it"
        )
    if sample is not None:
        yield from _check_episodes(store, _sampled(store, sample), workers)
        return
    for number, error in store.index.damaged_fragments():
        yield Finding("rows", f"fragment {number} of episodes.lance can't be read: {error}")
    rows = store.index.rows(_COLUMNS, "").to_pylist()
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            yield Finding("rows", f"episode {row['id']} has two rows")
        seen.add(row["id"])
    for path in _orphans(store, seen):
        yield Finding(f"file {path}", "no row", is_orphan=True)
    yield from _check_episodes(store, rows, workers)


def sweep(
    store: LanceStore,
    *,
    older_than_s: float = 3600.0,
    damaged: bool = False,
    keep_versions_s: float = 14 * 86400.0,
) -> SweepResult:
    """Remove the files of unfinished appends, restore damaged rows, merge the index, delete its old versions.

    Args:
        store: opened for writing.
        older_than_s: age of the files that are removed; the writer of a younger one may still be at work.
        damaged: also remove the episodes that `verify` finds damaged.
        keep_versions_s: age of the versions that are deleted, unless they are tagged (`LanceStore.tag`).

    Raises:
        StoreError: the store is read-only or can't be read.
    """
    store.require_write()
    rows_lost = store.index.repair()
    bad = _remove_damaged(store) if damaged else ()
    removed, restored = [], []
    with_row = store.index.ids()
    for path in _orphans(store, with_row):
        if _age_s(path) < older_than_s:
            continue
        if rows_lost and (row := _copy_of_row(path)):
            store.commit((row, path))
            restored.append(path.stem)
        else:
            path.unlink(missing_ok=True)
            removed.append(path)
    for path in _temporaries(store):
        if _age_s(path) >= older_than_s:
            path.unlink(missing_ok=True)
            removed.append(path)
    for path in store.index.set_aside():
        path.unlink(missing_ok=True)
        removed.append(path)
    expired = store.index.clean(keep_versions_s)
    return SweepResult(tuple(removed), tuple(restored), bad, expired)


def preview(
    store: LanceStore,
    *,
    older_than_s: float = 3600.0,
    damaged: bool = False,
    keep_versions_s: float = 14 * 86400.0,
) -> SweepResult:
    """Return what `sweep` would change, and change nothing; old versions are left out where a version is damaged."""
    index = store.index
    unreadable = index.unreadable()
    lost = bool(index.damaged_fragments() or index.set_aside() or unreadable)
    lost |= not all(whole for _, whole in index.manifests())
    rows = index.rows(_COLUMNS, "").to_pylist()
    old = [p for p in _orphans(store, {row["id"] for row in rows}) if _age_s(p) >= older_than_s]
    restored = [path for path in old if lost and _copy_of_row(path)]
    leftovers = [path for path in _temporaries(store) if _age_s(path) >= older_than_s]
    return SweepResult(
        removed=(*(p for p in old if p not in restored), *leftovers, *index.set_aside()),
        restored=tuple(path.stem for path in restored),
        damaged=tuple(row["id"] for row in rows if damaged and _episode_problem(store, row)),
        expired=() if unreadable else index.expired(keep_versions_s),
    )


def _check_episodes(store: LanceStore, rows: list[Row], workers: int | None) -> Iterator[Finding]:
    threads = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        problems = pool.map(lambda row: _episode_problem(store, row), rows)
        for row, problem in zip(rows, problems, strict=True):
            yield Finding(f"episode {row['id']}", problem)


def _sampled(store: LanceStore, count: int) -> list[Row]:
    """Return the rows of random episodes, different ones at each call."""
    dataset = store.index.open()
    chosen = random.sample(range(total := dataset.count_rows()), min(count, total))
    rows: list[Row] = dataset.take(sorted(chosen), columns=list(_COLUMNS)).to_pylist()
    return rows


def _episode_problem(store: LanceStore, row: Row) -> str:
    """Return the problem with an episode's steps in one line; "" for intact ones."""
    try:
        path = store.steps_path(row["id"])
        problems = [] if checksum(path) == row["crc32"] else ["bytes differ from those written"]
        table = read_table(path)
        copy = read_row(path)
    except FileNotFoundError:
        return f"steps file '{path}' is missing"
    except OSError as error:
        return f"steps file '{path}' can't be read: {os_problem(error)}"
    except StoreError as error:
        return str(error)
    if table.num_rows != row["length"] + 1:
        problems.append(f"{table.num_rows} observations for {row['length']} steps")
    if (copy["id"], copy["instruction"]) != (row["id"], row["instruction"]):
        problems.append(f"the file is of episode {copy['id']}, '{copy['instruction']}'")
    for column in (*camera_columns(table), "subgoal"):
        problems += _undecodable(column, table)
    if problem := numbers(*table_numbers(table)):
        problems.append(problem)
    return "; ".join(problems)


def _undecodable(column: str, table: pa.Table) -> list[str]:
    bad = []
    for step, frame in enumerate(table[column].to_pylist()):
        try:
            if frame is not None:
                decode(frame)
        except StoreError:
            bad.append(str(step))
    return [f"{column} of step {', '.join(bad)} can't be decoded"] if bad else []


def _remove_damaged(store: LanceStore) -> tuple[str, ...]:
    rows = store.index.rows(_COLUMNS, "").to_pylist()
    bad = [row["id"] for row in rows if _episode_problem(store, row)]
    for id in bad:
        store.index.delete(id)
        path = store.steps_path(id)
        if path.exists():
            path.rename(path.with_suffix(".damaged"))  # type: ignore[arg-type]
    return tuple(bad)


def _orphans(store: LanceStore, with_row: set[Any]) -> list[AnyPath]:
    files = sorted_glob(store.root / "steps", "*/*.lance")
    return [path for path in files if path.stem not in with_row]


def _temporaries(store: LanceStore) -> list[AnyPath]:
    """Return the files that Lance, copies and the store's creation write before they rename them."""
    steps = ("steps/*/.tmp*", "steps/*/.*.soar-tmp")
    patterns = (*steps, "episodes.lance/*/.tmp*", f"store.json.{'[0-9a-f]' * 16}")
    if isinstance(store.root, ObjectPath):
        return []
    return sorted(path for pattern in patterns for path in store.root.glob(pattern))


def _age_s(path: AnyPath) -> float:
    """Return the time since a file's last change in seconds; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _copy_of_row(path: AnyPath) -> Row | None:
    try:
        read_table(path)
        row = read_row(path)
        return row if from_row(row).id == path.stem else None
    except StoreError:
        return None
