"""Is the store whole? Look at every row and every frame, name what is wrong, and mend what can be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from soar.data.store.images import decode
from soar.data.store.lance import LanceStore
from soar.data.store.rows import Row
from soar.data.store.steps import checksum, read_row, read_table
from soar.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("id", "instruction", "length", "bytes", "crc32")


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    """"episode <id>", "rows", "version <n>" or "file <path>"."""
    problem: str
    """One line; "" when it is whole."""
    unmarked: bool = False
    """A steps file without a row: an append in progress or one that was cut short. No damage."""


class SweepResult(NamedTuple):
    """What a sweep did."""

    removed: tuple[Path, ...]
    """Steps files without a row."""
    restored: tuple[str, ...]
    """Episodes whose damaged row was written again from the copy in their steps file."""
    damaged: tuple[str, ...]
    """Episodes taken out because their steps are damaged; the files stay, renamed `.damaged`."""
    forgotten: int
    """Old versions of the table that no one had named."""


def verify(store: LanceStore, workers: int | None = None) -> Iterator[Finding]:
    """Every version, row, file and frame, one finding each; whole ones too, so that progress can be shown."""
    for version, whole in store.index.manifests():
        yield Finding(f"version {version}", "" if whole else "its manifest is cut short")
    for path in store.index.set_aside():
        yield Finding(
            f"file {path}", "was found cut short and set aside; `soar data sweep` mends it"
        )
    for number, error in store.index.damaged_pieces():
        yield Finding("rows", f"piece {number} of episodes.lance can't be read: {error}")
    rows = store.index.rows(_COLUMNS, "").to_pylist()
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            yield Finding("rows", f"episode {row['id']} has two rows")
        seen.add(row["id"])
    for path in _unmarked(store, seen):
        yield Finding(f"file {path}", "no row", unmarked=True)
    threads = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        problems = pool.map(lambda row: _episode_problem(store, row), rows)
        for row, problem in zip(rows, problems, strict=True):
            yield Finding(f"episode {row['id']}", problem)


def sweep(
    store: LanceStore,
    *,
    older_than_s: float = 3600.0,
    damaged: bool = False,
    keep_versions_s: float = 14 * 86400.0,
) -> SweepResult:
    """Remove what unfinished appends left, mend damaged rows, merge the table, forget old versions.

    Args:
        store: opened for writing.
        older_than_s: younger files are left alone: their writer may still be at work.
        damaged: also take out the episodes that `verify` finds damaged.
        keep_versions_s: versions of that age are forgotten, unless `LanceStore.keep` named them.

    Raises:
        StoreError: the store is read-only or can't be read.
    """
    store.need_write()
    mend = store.index.repair()
    taken = _take_out_damaged(store) if damaged else ()
    removed, restored = [], []
    marked = set(store.index.rows(("id",), "")["id"].to_pylist())
    for path in _unmarked(store, marked):
        if time.time() - path.stat().st_mtime < older_than_s:
            continue
        if mend and (row := _copy_of_row(path)):
            store.adopt(row, path)
            restored.append(path.stem)
        else:
            path.unlink()
            removed.append(path)
    for path in store.index.set_aside():
        path.unlink()
    forgotten = store.index.clean(keep_versions_s)
    return SweepResult(tuple(removed), tuple(restored), taken, forgotten)


def _episode_problem(store: LanceStore, row: Row) -> str:
    """What is wrong with an episode's steps, in one line; "" when they are whole."""
    path = store.steps_path(row["id"])
    try:
        problems = [] if checksum(path) == row["crc32"] else ["bytes differ from those written"]
        table = read_table(path)
        copy = read_row(path)
    except FileNotFoundError:
        return f"steps file '{path}' is missing"
    except StoreError as error:
        return str(error)
    if table.num_rows != row["length"] + 1:
        problems.append(f"{table.num_rows} observations for {row['length']} steps")
    if (copy["id"], copy["instruction"]) != (row["id"], row["instruction"]):
        problems.append(f"the file is of episode {copy['id']}, '{copy['instruction']}'")
    problems += _undecodable("image", table) + _undecodable("subgoal", table)
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


def _take_out_damaged(store: LanceStore) -> tuple[str, ...]:
    rows = store.index.rows(_COLUMNS, "").to_pylist()
    bad = [row["id"] for row in rows if _episode_problem(store, row)]
    for id in bad:
        store.index.delete(id)
        path = store.steps_path(id)
        if path.exists():
            path.rename(path.with_suffix(".damaged"))
    return tuple(bad)


def _unmarked(store: LanceStore, marked: set[Any]) -> list[Path]:
    files = (store.path / "steps").glob("*/*.lance")
    return sorted(path for path in files if path.stem not in marked)


def _copy_of_row(path: Path) -> Row | None:
    try:
        read_table(path)
        return read_row(path)
    except StoreError:
        return None
