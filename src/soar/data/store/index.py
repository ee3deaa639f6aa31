"""The index: a Lance table with one row for each episode, one commit for each row.

Every 64th version merges the small fragments that appends leave, so that a commit costs the same at the first and at
the ten-thousandth episode. This module knows nothing of frames.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from soar.data.store.disk import (
    LANCE_ERRORS,
    check_regular,
    first_line,
    flush,
    is_whole_manifest,
    no_panic,
)
from soar.data.store.rows import Row, from_row
from soar.errors import StoreError
from soar.types import Query
from soar.utils.objects import AnyPath, ObjectPath, lance_options, sorted_glob

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

T = TypeVar("T")

MERGE_EVERY = 64
"""Versions between two merges of small fragments."""
FRAGMENT_ROWS = 1024
"""Rows from which on a fragment isn't merged any more."""
ATTEMPTS = 8
"""Attempts at a change while other processes change the table at the same time."""

_log = logging.getLogger(__name__)
_LAST_NAME = 2**64 - 1


class Index:
    """Rows in a Lance table. It holds nothing but a path: every call sees the newest version."""

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self._options = lance_options(path)
        self._regular = False

    def create(self) -> None:
        """Create an empty table, unless another process was faster."""
        import lance

        try:
            lance.write_dataset(
                _schema().empty_table(),
                str(self.path),
                mode="create",
                storage_options=self._options,
            )
        except LANCE_ERRORS:
            if not self.path.exists():
                raise
            self.open()

    def open(self, version: int | None = None) -> lance.LanceDataset:
        """Open the newest version of the table, or an older one. Damaged newest versions are skipped.

        Raises:
            StoreError: there is no such version any more, or the table can't be read.
        """
        try:
            return self._dataset(version)
        except LANCE_ERRORS as error:
            intact = None
            with contextlib.suppress(OSError):  # the storage is away
                intact = next(self._opened(), None)
            if intact is None:
                raise StoreError(f"'{self.path}' can't be read: {first_line(error)}") from error
            newest = int(intact.version)
            if version is not None:
                text = (
                    f"version {version} of '{self.path.parent}' is not kept; its newest is {newest}"
                )
                raise StoreError(text) from error
            _log.warning("the newest version of '%s' is damaged: reading %d", self.path, newest)
            return intact

    def _dataset(self, version: int | None) -> lance.LanceDataset:
        import lance

        if not self._regular:
            check_regular(self.path)
            self._regular = True
        with no_panic():
            return lance.dataset(str(self.path), version=version, storage_options=self._options)

    def _opened(self) -> Iterator[lance.LanceDataset]:
        """Yield the versions that can be opened, newest first."""
        for version, whole in self.manifests():
            if whole:
                with contextlib.suppress(*LANCE_ERRORS):
                    yield self._dataset(version)

    def unreadable(self) -> list[int]:
        """Return versions that can't be read although their manifest is complete, if any other can."""
        versions = [version for version, whole in self.manifests() if whole]
        opened = {int(dataset.version) for dataset in self._opened()}
        return [version for version in versions if version not in opened] if opened else []

    def manifests(self) -> Iterator[tuple[int, bool]]:
        """Yield the versions on disk, newest first, and whether each one's manifest was written to its end."""
        for path in sorted_glob(self._versions, "[0-9]*.manifest"):
            try:
                whole = isinstance(path, ObjectPath) or is_whole_manifest(path)
            except FileNotFoundError:
                continue  # a sweep deleted it meanwhile
            yield _LAST_NAME - int(path.stem), whole

    def upgrade(self) -> None:
        """Add the columns of this version's schema that a table of an earlier one lacks; they are null."""
        try:
            self._retry(self._add_columns)
        except LANCE_ERRORS:
            if _missing(self.open()):  # else another process was faster
                raise

    def append(self, *rows: Row, fresh: bool = False) -> set[str]:
        """Commit rows at once, which makes their episodes visible; those whose id is there are left out.

        Args:
            rows: the rows.
            fresh: no one else has their ids, so that other writers need no waiting for, and only attempts after the
                first look for them.

        Returns:
            The ids that were there.
        """
        look = itertools.chain((not fresh,), itertools.repeat(True))
        version, there = self._retry(lambda: self._append(rows, fresh, next(look)))
        if version % MERGE_EVERY == 0:
            self.merge()
        return there

    def update(self, id: str, columns: Mapping[str, str]) -> None:
        """Replace an episode's text columns. Raises StoreError: there is no such episode."""
        updates = {name: quoted(value) for name, value in columns.items()}
        done = self._retry(lambda: self.open().update(updates, where=f"id = {quoted(id)}"))
        if not done["num_rows_updated"]:
            raise StoreError(f"no episode '{id}' in '{self.path.parent}'")

    def ids(self) -> set[str]:
        """Return the ids of all episodes."""
        return set(self.rows(("id",), "")["id"].to_pylist())

    def rows(self, columns: Sequence[str], where: str, version: int | None = None) -> pa.Table:
        """Return matching rows in no particular order; those in a damaged fragment are left out with a warning.

        Columns that a version of an earlier schema doesn't have are left out.
        """
        return self._rows(self.open(version), columns, where)

    def _rows(self, dataset: lance.LanceDataset, columns: Sequence[str], where: str) -> pa.Table:
        columns = [name for name in columns if name in dataset.schema.names]
        try:
            with no_panic():
                return dataset.to_table(columns=list(columns), filter=where or None)
        except LANCE_ERRORS as error:
            parts = self._readable(dataset, columns, where)
            if not parts:
                raise StoreError(f"'{self.path}' can't be read: {first_line(error)}") from error
            import pyarrow as pa

            return pa.concat_tables(parts)

    def delete(self, id: str) -> None:
        """Delete an episode's row."""
        self._retry(lambda: self.open().delete(f"id = {quoted(id)}"))

    def tag(self, name: str, version: int | None = None) -> None:
        """Tag a version (None is the newest), so that `clean` keeps it. A tag can be moved."""
        dataset = self.open(version)
        change = dataset.tags.update if name in dataset.tags.list() else dataset.tags.create
        change(name, dataset.version)

    def expired(self, older_than_s: float) -> tuple[int, ...]:
        """Return the untagged versions that are at least that old, except the newest one."""
        dataset = self.open()
        kept = {dataset.version, *(tag["version"] for tag in dataset.tags.list().values())}
        until = time.time() - older_than_s
        versions = [v for v in dataset.versions() if v["timestamp"].timestamp() <= until]
        return tuple(sorted({int(v["version"]) for v in versions} - kept))

    def clean(self, older_than_s: float) -> tuple[int, ...]:
        """Merge fragments, then delete untagged versions that are at least that old; return those."""
        self.merge()
        found = self.expired(older_than_s)
        age = timedelta(seconds=older_than_s)
        self.open().cleanup_old_versions(age, error_if_tagged_old_versions=False)
        return found

    def damaged_fragments(self) -> list[tuple[int, str]]:
        """Return number and error of each fragment of the newest version that can't be read."""
        found = []
        for fragment in self.open().get_fragments():
            try:
                with no_panic():
                    rows = fragment.to_table().to_pylist()
                list(map(from_row, rows))
            except (*LANCE_ERRORS, StoreError) as error:
                found.append((fragment.fragment_id, first_line(error)))
        return found

    def repair(self) -> bool:
        """Set damaged versions aside and drop damaged fragments; return whether rows may have been lost.

        A table without a readable version is set aside whole, and a new one created.
        """
        versions = list(self.manifests())
        if not any(whole for _, whole in versions):
            if isinstance(self.path, Path):
                self.path.rename(self.path.with_name(f"{self.path.name}.damaged.{time.time_ns()}"))
            self.create()
            return True
        self._set_aside([v for v, whole in versions if not whole] + self.unreadable())
        if fragments := [number for number, _ in self.damaged_fragments()]:
            self._retry(lambda: self._drop(fragments))
        return bool(fragments or self.set_aside())

    def set_aside(self) -> list[AnyPath]:
        """Return the manifests that were found damaged and renamed."""
        return sorted_glob(self._versions, "*.damaged")

    def merge(self) -> None:
        """Merge small fragments; one that another process or the storage disturbs is left to the next."""
        try:
            dataset = self.open()
            dataset.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS, num_threads=1)
            self._flush(dataset, dataset.get_fragments()[-1:])
        except (*LANCE_ERRORS, StoreError) as error:
            _log.info("fragments of '%s' not merged: %s", self.path, first_line(error))

    def _add_columns(self) -> None:
        import pyarrow as pa

        dataset = self.open()
        if missing := _missing(dataset):
            dataset.add_columns(pa.schema(missing))
            self._flush(dataset)

    def _append(self, rows: Sequence[Row], fresh: bool, look: bool) -> tuple[int, set[str]]:
        """Commit the rows whose ids aren't there, if one is to look; return the version, and the ids that are."""
        import lance
        import pyarrow as pa
        from lance.fragment import write_fragments

        dataset = self.open()
        there: set[str] = set()
        if look:
            found = self._rows(dataset, ("id",), id_in(row["id"] for row in rows))
            there = set(found["id"].to_pylist())
        new = [row for row in rows if row["id"] not in there]
        if not new:
            return int(dataset.version), there
        fragments = write_fragments(
            pa.Table.from_pylist(new, _schema()), dataset, storage_options=self._options
        )
        flush(*(self.path / "data" / f.path for fragment in fragments for f in fragment.files))
        if fresh:
            change = lance.LanceOperation.Append(fragments)
        else:  # unlike an append, it conflicts with every change since the ids were looked for
            whole = [f.metadata for f in dataset.get_fragments()] + fragments
            change = lance.LanceOperation.Merge(whole, dataset.lance_schema)
        dataset = lance.LanceDataset.commit(dataset, change, read_version=dataset.version)
        self._flush(dataset)
        return int(dataset.version), there

    def _drop(self, fragments: Sequence[int]) -> None:
        import lance

        dataset = self.open()
        change = lance.LanceOperation.Delete([], list(fragments), "damaged")
        self._flush(lance.LanceDataset.commit(dataset, change, read_version=dataset.version))

    def _flush(self, dataset: lance.LanceDataset, fragments: Sequence[Any] = ()) -> None:
        files = [
            self.path / "data" / f.path for fragment in fragments for f in fragment.data_files()
        ]
        flush(*files, self._manifest(dataset.version), self._versions)

    def _set_aside(self, versions: Sequence[int]) -> None:
        for version in versions:
            path = self._manifest(version)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                path.rename(path.with_suffix(".damaged"))  # type: ignore[arg-type]

    def _manifest(self, version: int) -> AnyPath:
        return self._versions / f"{_LAST_NAME - version}.manifest"

    @property
    def _versions(self) -> AnyPath:
        return self.path / "_versions"

    def _retry(self, change: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return change()
            except LANCE_ERRORS as error:
                if attempt == ATTEMPTS - 1 or not self._can_retry(error):
                    raise
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    def _can_retry(self, error: Exception) -> bool:
        """Whether a change may succeed at another attempt; sets damaged versions aside first."""
        if "conflict" in str(error).lower():
            return True
        versions = itertools.islice(self.manifests(), 2)
        damaged = [v for v, whole in versions if not whole]
        self._set_aside(damaged)
        return bool(damaged)

    def _readable(
        self, dataset: lance.LanceDataset, columns: Sequence[str], where: str
    ) -> list[pa.Table]:
        parts = []
        for fragment in dataset.get_fragments():
            try:
                with no_panic():
                    parts.append(fragment.to_table(columns=list(columns), filter=where or None))
            except LANCE_ERRORS as error:
                _log.warning("a damaged fragment of '%s': %s", self.path, first_line(error))
        return parts


def where(query: Query) -> str:
    """Return the query as an SQL condition on the table's columns; "" for every row."""
    chosen = {
        "instruction": query.instructions,
        "station": query.stations,
        "scene": query.scenes,
        "regime": query.regimes,
        "outcome": query.outcomes,
        "checkpoint": query.checkpoints,
    }
    terms = [f"{name} IN ({', '.join(map(quoted, v))})" for name, v in chosen.items() if v]
    if query.rounds:
        terms.append(f"round IN ({', '.join(map(str, query.rounds))})")
    if query.since_s is not None:
        terms.append(f"started_s >= {query.since_s!r}")
    if query.until_s is not None:
        terms.append(f"started_s < {query.until_s!r}")
    return " AND ".join(terms)


def id_in(ids: Iterable[str]) -> str:
    """Return the condition that an episode's id is one of some."""
    return f"id IN ({', '.join(map(quoted, ids))})"


def quoted(text: str) -> str:
    """Return text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _missing(dataset: lance.LanceDataset) -> list[pa.Field]:
    """Return the fields of this version's schema that a table lacks."""
    return [field for field in _schema() if field.name not in dataset.schema.names]


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = "id instruction station regime scene seed checkpoint outcome verdict provenance"
    later = "contract end"  # since schema 2
    return pa.schema(
        [
            *((name, pa.string()) for name in text.split()),
            ("length", pa.int32()),
            ("round", pa.int32()),
            ("started_s", pa.float64()),
            ("truth", pa.bool_()),
            ("bytes", pa.int64()),
            ("crc32", pa.int64()),
            *((name, pa.string()) for name in later.split()),
            ("interventions", pa.int32()),
        ]
    )
