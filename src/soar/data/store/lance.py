"""The episode store, which collection writes and training reads.

    store.json                     format, schema version, identity
    steps/<day>/<id>.lance         an episode's frames and actions, written first
    episodes.lance/                the index: one row for each episode, committed last

An episode is visible once its row is committed, complete or not at all. A store of schema 1 is read as it is, and gets
the columns of schema 2 at the first change that this version makes. See docs/data-format.md.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soar.data.store.content import check_episode, check_id, check_verdict
from soar.data.store.disk import LANCE_ERRORS, first_line, flush
from soar.data.store.images import Codec
from soar.data.store.index import Index, id_in, quoted, where
from soar.data.store.rows import Row, from_row, summary_of, to_json, to_row, verdict_columns
from soar.data.store.steps import Steps, checksum, read_images, read_steps, to_table, write_steps
from soar.errors import ConfigError, StoreError
from soar.types import Episode, EpisodeSummary, History, Images, Query, TaskCount, Verdict
from soar.utils.config import content_hash
from soar.utils.files import Json, local_path, read_json, write_bytes
from soar.utils.hub import hub_origin
from soar.utils.objects import AnyPath, ObjectPath, is_object_url, object_of
from soar.utils.yaml_files import dump

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

FORMAT = "soar-episodes"
SCHEMA = 2
_READABLE = (1, SCHEMA)
_SUMMARY = (
    "id", "instruction", "length", "started_s", "verdict", "provenance", "contract", "interventions", "end",
)  # fmt: skip


def open_store(
    path: str | Path, *, create: bool = False, read_only: bool = False, codec: Codec = "jpeg"
) -> LanceStore:
    """Open an episode store.

    Args:
        path: the store's folder, or its URL in object storage (s3://, gs://, az://).
        create: create an empty store if there is none.
        read_only: refuse to write, and need no permission to write.
        codec: encoding of the frames that are written: "jpeg" (q95, 4:4:4) or "png" (lossless). Readers recognize
            either.

    Raises:
        StoreError: there is no store, or one of a newer version of this package, or it isn't writable.
    """
    folder = Path(local_path(str(path)) if is_object_url(str(path)) else path)
    root = object_of(folder) or folder
    if not read_only and (name := hub_origin(folder)):
        raise StoreError(
            f"{name} is only read; copy it to a store of yours: soar data merge {name} --out S"
        )
    try:
        if create and not read_only and not (root / "store.json").exists():
            _create(root)
        about = _read_about(root)
        if isinstance(root, ObjectPath):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "store.json").write_text(
                to_json(about)
            )  # for those who look whether there is a store
    except OSError as error:
        raise StoreError(str(error)) from error
    if not read_only and isinstance(root, Path) and not os.access(root, os.W_OK):
        raise StoreError(f"'{folder}' is not writable; open it with read_only=True to read it")
    return LanceStore(folder, about.get("id", ""), read_only, codec, about["schema"])


def tag_version(path: str | Path, name: str, version: int | None = None) -> None:
    """Tag a store's version with a checkpoint's id, where it can be written; a refusal is only logged."""
    try:
        open_store(path).tag(name, version)
    except StoreError as error:
        _log.warning("the version that %s was trained on isn't kept: %s", name, error)


class LanceStore:
    """Episodes in Lance files. It can be used from several threads and processes at once, and pickled."""

    def __init__(
        self, path: Path, identity: str, read_only: bool, codec: Codec, schema: int = SCHEMA
    ) -> None:
        self.path = path
        self.identity = identity
        """Random name given at the store's creation; keys of frame caches contain it."""
        self.read_only = read_only
        self.codec: Codec = codec
        self._schema = schema
        self.root: AnyPath = object_of(path) or path
        """Where the episodes are: `path`, or in object storage; then `path` is the folder for what stays local."""
        self.index = Index(self.root / "episodes.lance")

    @property
    def version(self) -> int:
        """Number of the newest version; every committed change increases it."""
        return int(self.index.open().version)

    def append(self, episode: Episode) -> str:
        """Store an episode and return its id.

        Raises:
            ContentError: the store can't hold the episode.
            StoreError: it isn't stored, and nothing of it is visible, unless the storage went away right after the
                commit; another attempt may help.
        """
        self.require_write()
        check_episode(episode)
        provenance = episode.provenance
        id = _new_id(provenance.started_s)
        row, table = to_row(summary_of(id, episode)), to_table(episode, self.codec)
        self.append_table(row, table, fresh=True)
        return id

    def append_table(self, row: Row, table: pa.Table, *, fresh: bool = False) -> bool:
        """Store an episode under the id of its row, with the content of its steps file.

        Args:
            row: its row.
            table: its steps.
            fresh: no one else has its id; then nobody looks for it.

        Returns:
            Whether it was stored; otherwise its id was there already.

        Raises:
            StoreError: as for `append`.
        """
        self.require_write()
        if isinstance(self.root, Path) and not (self.root / "store.json").exists():
            raise StoreError(f"'{self.root}' is away, such as a drive that isn't mounted")
        path = self.steps_path(row["id"])
        try:
            if not fresh and self._has(row["id"]):
                return False  # its steps stay as they are: another import may give it other content
            write_steps(path, table, row)
            return not self.commit((row, path), fresh=fresh)
        except (*LANCE_ERRORS, StoreError) as error:
            if not self._stored_after_all(row["id"], path):
                raise StoreError(
                    f"episode not stored in '{self.root}': {first_line(error)}"
                ) from error
            _log.warning("after episode '%s' was stored: %s", row["id"], first_line(error))
            return True

    def commit(self, *episodes: tuple[Row, AnyPath], fresh: bool = False) -> set[str]:
        """Commit the rows of episodes whose steps files are on disk, in one commit; arguments as for `Index.append`.

        Returns:
            The ids that were there already, whose rows stay as they are.
        """
        self._upgrade()
        rows = [
            row | {"bytes": path.stat().st_size, "crc32": checksum(path)} for row, path in episodes
        ]
        return self.index.append(*rows, fresh=fresh)

    def load(self, id: str) -> Episode:
        """Read an episode with its frames. Raises StoreError."""
        summary, steps = self.summary(id), self.steps(id)
        if len(steps.actions) != summary.length:
            raise StoreError(f"episode '{id}' has {len(steps.actions)} steps of {summary.length}")
        return Episode(
            instruction=summary.instruction,
            actions=steps.actions,
            commanded=steps.commanded,
            images=steps.images,
            states=steps.states,
            times_s=steps.times_s,
            subgoals=steps.subgoals,
            verdict=summary.verdict,
            provenance=summary.provenance,
            contract=summary.contract,
            other_images=steps.other_images,
            actors=steps.actors,
            end=summary.end,
        )

    def summary(self, id: str) -> EpisodeSummary:
        """Read an episode's row. Raises StoreError: there is no such episode."""
        rows = self.index.rows(_SUMMARY, f"id = {quoted(id)}").to_pylist()
        if not rows:
            raise StoreError(f"no episode '{id}' in '{self.root}'")
        return from_row(rows[0])

    def steps(self, id: str) -> Steps:
        """Read an episode's frames and actions, without its row. Raises StoreError."""
        return read_steps(self.steps_path(id))

    def images(self, id: str, indices: list[int], camera: str | None = None) -> Images:
        """Decode some frames of an episode from its file; None is the primary camera. Raises StoreError."""
        return read_images(self.steps_path(id), indices, camera)

    def query(self, query: Query | None = None) -> Iterator[EpisodeSummary]:
        """Yield summaries of the episodes that match, oldest first; a damaged row is left out with a warning."""
        for batch in self.rows(_SUMMARY, query).to_batches(max_chunksize=256):
            yield from self._readable(batch.to_pylist())

    def rows(self, columns: Sequence[str], query: Query | None = None) -> pa.Table:
        """Return columns of the rows of the episodes that match, oldest first, start and id among them."""
        query = query or Query()
        columns = tuple(dict.fromkeys((*columns, "started_s", "id")))
        rows = self.index.rows(columns, where(query), query.version)
        rows = rows.sort_by([("started_s", "ascending"), ("id", "ascending")])
        return rows.slice(0, query.limit)

    def newest(self, query: Query, count: int | None) -> tuple[int, list[EpisodeSummary]]:
        """Return the number of episodes that match, and the newest `count` of them (None is all), the newest last."""
        rows = self.rows(("id",), query)
        if count is None or count >= rows.num_rows:
            return rows.num_rows, list(self.query(query))
        ids = rows["id"][-count:].to_pylist()
        chosen = self.index.rows(_SUMMARY, id_in(ids), query.version).to_pylist()
        found = {summary.id: summary for summary in self._readable(chosen)}
        return rows.num_rows, [found[id] for id in ids if id in found]

    def history(self, query: Query | None = None) -> History:
        """Count attempts and successes per instruction among the episodes that match."""
        rows = self.rows(("instruction", "outcome"), query)
        instructions = rows["instruction"].to_pylist()
        attempts = Counter(instructions)
        pairs = zip(instructions, rows["outcome"].to_pylist(), strict=True)
        successes = Counter(i for i, outcome in pairs if outcome == "success")
        return {i: TaskCount(n, successes[i]) for i, n in attempts.items()}

    def set_verdict(self, id: str, verdict: Verdict) -> None:
        """Replace an episode's verdict. Raises StoreError, ContentError."""
        self.require_write()
        check_verdict(verdict)
        try:
            self._upgrade()
            self.index.update(id, verdict_columns(verdict))
        except LANCE_ERRORS as error:
            raise StoreError(f"verdict of '{id}' not stored: {first_line(error)}") from error

    def steps_path(self, id: str) -> AnyPath:
        """Return the path of an episode's frames and actions. Raises StoreError: that is no id."""
        return self.root / "steps" / check_id(id)[:8] / f"{id}.lance"

    def tag(self, name: str, version: int | None = None) -> int:
        """Tag a version (None is the newest), so that it is kept, and return its number.

        With a checkpoint's id as the tag, the data that it was trained on can always be read. A tag has letters,
        digits, dots, dashes and underscores; anything else becomes a dash.
        """
        self.require_write()
        version = self.version if version is None else version
        try:
            self.index.tag(re.sub(r"[^\w.-]", "-", name, flags=re.ASCII), version)
        except LANCE_ERRORS as error:
            raise StoreError(
                f"version {version} not tagged as '{name}': {first_line(error)}"
            ) from error
        return version

    def save_config(self, config: Json) -> str:
        """Keep a run's configuration as `configs/HASH.yaml`, and return the hash. Raises FileError."""
        name = content_hash(config)
        path, data = self.root / "configs" / f"{name}.yaml", dump(config).encode()
        if isinstance(path, Path):
            write_bytes(path, data)
        else:
            path.write_bytes(data)
        return name

    def require_write(self) -> None:
        """Raise StoreError if the store was opened read-only."""
        if self.read_only:
            raise StoreError(f"'{self.root}' was opened read-only")

    def _upgrade(self) -> None:
        """Turn a store of schema 1 into schema 2: first new columns, then `store.json`, which older versions read."""
        if self._schema == SCHEMA:
            return
        self.index.upgrade()
        about = {"format": FORMAT, "schema": SCHEMA}
        if self.identity:
            about["id"] = self.identity
        data = (to_json(about) + "\n").encode()
        if isinstance(self.root, Path):
            write_bytes(self.root / "store.json", data)
        else:
            (self.root / "store.json").write_bytes(data)
        _log.warning(
            "'%s' is of schema %d from now on; older versions can't read it", self.path, SCHEMA
        )
        self._schema = SCHEMA

    def _readable(self, rows: Sequence[Row]) -> Iterator[EpisodeSummary]:
        """Yield the summaries of rows; a damaged one is left out with a warning."""
        for row in rows:
            try:
                yield from_row(row)
            except StoreError as error:
                _log.warning("an episode of '%s' is left out: %s", self.path, error)

    def _has(self, id: str) -> bool:
        return bool(self.index.rows(("id",), f"id = {quoted(id)}").num_rows)

    def _stored_after_all(self, id: str, path: AnyPath) -> bool:
        """Whether the row of a failed append was committed nevertheless; otherwise its steps are removed."""
        try:
            if self._has(id):
                return True
            path.unlink(missing_ok=True)
        except (*LANCE_ERRORS, StoreError):
            pass  # `soar data sweep` removes the file
        return False


def _create(root: AnyPath) -> None:
    """Create an empty store; `store.json` comes last, so that an interrupted creation leaves no store."""
    about = {"format": FORMAT, "schema": SCHEMA, "id": secrets.token_hex(8)}
    text = to_json(about) + "\n"
    try:
        names = _first_parts(root)
        if any(n not in ("episodes.lance", "steps") and n[:10] != "store.json" for n in names):
            raise StoreError(f"'{root}' is not empty and no episode store; name a new folder")
        Index(root / "episodes.lance").create()
        if isinstance(root, Path):
            _link_new(root, about["id"], text)
        else:
            with contextlib.suppress(FileExistsError):  # another process was faster
                (root / "store.json").write_new(text.encode())
    except LANCE_ERRORS as error:
        raise StoreError(f"can't create a store in '{root}': {first_line(error)}") from error


def _first_parts(root: AnyPath) -> set[str]:
    """Return the names in a folder, which is created."""
    if isinstance(root, ObjectPath):
        return {str(p).removeprefix(f"{root}/").split("/")[0] for p in root.glob("*")}
    root.mkdir(parents=True, exist_ok=True)
    return {path.name for path in root.iterdir()}


def _link_new(folder: Path, id: object, text: str) -> None:
    """Write `store.json`, unless another process is faster."""
    draft = folder / f"store.json.{id}"
    draft.write_text(text)
    flush(draft)
    try:
        os.link(draft, folder / "store.json")
    except FileExistsError:
        pass  # another process was faster
    finally:
        draft.unlink()
    flush(folder)


def _read_about(folder: AnyPath) -> dict[str, Any]:
    try:
        about: dict[str, Any] = _read_any_json(folder / "store.json")
        found, schema, id = about["format"], about["schema"], about.get("id", "")
        if not isinstance(id, str):
            raise TypeError("id")
    except (FileNotFoundError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"'{folder}' is no episode store (no readable store.json)") from error
    if found != FORMAT or schema not in _READABLE:
        raise StoreError(
            f"'{folder}' is '{found}' of schema {schema}; this package reads '{FORMAT}' of schema "
            f"{' and '.join(map(str, _READABLE))}"
        )
    return about


def _read_any_json(path: AnyPath) -> Any:
    """Read a JSON file. Raises ValueError, FileNotFoundError; ConfigError: the client of object storage isn't there."""
    if isinstance(path, ObjectPath):
        return json.loads(path.read_bytes())
    try:
        return read_json(path)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _new_id(started_s: float) -> str:
    """Make a unique id that sorts by time, such as "20260131-142501-8f3a90c2d1"."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started_s))
    return f"{stamp}-{secrets.token_hex(5)}"
