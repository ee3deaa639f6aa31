"""An export in progress: a folder beside the final one, which takes its name when everything is written.

    OUT.partial/soar/about.json          what is exported, and how; fixed at the start
                soar/<file>.jsonl        one line for each episode of a finished data file; written after that file

A killed export leaves the folder; the next one keeps its finished data files and goes on with the episodes that are in
none. An export into a finished OUT begins with its files (hard links where the disk has them) and appends others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from soar.errors import ConfigError, FileError
from soar.utils.files import Json, read_json, read_lines, write_bytes, write_json, writing

FOLDER = "soar"
"""Folder of an exported data set with what its own format has no place for."""


class Staging:
    """A folder of data files in which the finished ones are known.

    Raises:
        ConfigError: `out` is the root of all folders, beside which there is no place.
    """

    def __init__(self, out: Path) -> None:
        self.out = out = out.absolute()
        if not out.name:
            raise ConfigError(f"{out} can't be an export; name a new folder")
        self.path = out.with_name(out.name + ".partial")
        self.about: dict[str, Json] = {}

    def done(self) -> dict[str, str]:
        """Return the outcome of each episode in the finished data files, by id."""
        return {row["id"]: row["outcome"] for row in self.rows()}

    def rows(self) -> Iterator[dict[str, Json]]:
        """Yield the lines of all finished data files, in the order of their names."""
        for name in self.files():
            yield from self.file_rows(name)

    def files(self) -> list[str]:
        """Return the names of the finished data files, sorted."""
        return sorted(path.stem for path in (self.path / FOLDER).glob("*.jsonl"))

    def file_rows(self, name: str) -> list[dict[str, Json]]:
        """Return the lines of one finished data file, in the order of its episodes."""
        return read_lines(self.path / FOLDER / f"{name}.jsonl")

    def close(self, name: str, rows: Sequence[Mapping[str, Json]], *files: Path) -> None:
        """Note that a data file is finished, once its bytes are on the disk. Raises FileError."""
        from soar.data.store.disk import flush
        from soar.data.store.rows import to_json

        with writing(self.path):
            flush(*files)
        lines = "".join(to_json(row) + "\n" for row in rows)
        write_bytes(self.path / FOLDER / f"{name}.jsonl", lines.encode())


def exported_ids(out: Path) -> set[str]:
    """Return the ids of the episodes that an export has already, whether it is finished or not."""
    begun = Staging(out)
    if not begun.path.exists():
        begun.path = out
    return set(begun.done())


@contextlib.contextmanager
def staged(out: Path, about: Mapping[str, Json]) -> Iterator[Staging]:
    """Open the folder of an export, and rename it to `out` at the end.

    After an error or a signal the folder stays, for the next export to go on.

    Args:
        out: folder of the data set. It may be a data set that was exported in the same way before.
        about: what is exported, and how; it must be that of an export that goes on.

    Raises:
        ConfigError: `out` holds something else, or another export writes to it.
        FileError: the folder can't be written.
    """
    staging = Staging(out)
    _recover(staging)
    if out.exists() and not (out / FOLDER / "about.json").is_file():
        raise ConfigError(f"{out} exists and is no export of soar; name a new folder")
    with writing(staging.path), _locked(staging.path):
        _begin(staging, json.loads(json.dumps(about)))
        yield staging
        _finish(staging)


def _begin(staging: Staging, about: dict[str, Json]) -> None:
    path = staging.path / FOLDER / "about.json"
    if not path.exists() and staging.out.exists():
        _link_all(staging.out, staging.path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, about)
    staging.about = read_json(path)
    if staging.about != about and not staging.out.exists() and not staging.files():
        _clear(staging.path)  # nothing of it can be gone on with
        write_json(path, about)
        staging.about = about
    before, now = _flat(staging.about), _flat(about)
    for key in sorted({*before, *now} - {"finished"}):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"{staging.out} was exported with {key} {before.get(key)!r:.60}, not {now.get(key)!r:.60}; "
                "export with the same, or to a new folder"
            )


def _clear(folder: Path) -> None:
    """Remove everything but the lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _finish(staging: Staging) -> None:
    """Put the folder in the place of the older data set; a kill between the two renames is mended by `_recover`."""
    write_json(staging.path / FOLDER / "about.json", staging.about | {"finished": True})
    previous = _previous(staging)
    if staging.out.exists():
        staging.out.rename(previous)
    (staging.path / ".lock").unlink()
    staging.path.rename(staging.out)
    shutil.rmtree(previous, ignore_errors=True)


def _recover(staging: Staging) -> None:
    """Complete the renames of an export that was killed between them."""
    previous = _previous(staging)
    if not staging.out.exists() and previous.exists():
        previous.rename(staging.out)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(staging: Staging) -> Path:
    return staging.out.with_name(staging.out.name + ".previous")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone. Raises ConfigError: another one holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another export writes to {folder}; wait until it ends") from None
        yield


def _link_all(source: Path, target: Path) -> None:
    """Make the files of a folder appear in another one, without copying where the disk allows it."""
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        if path.name == "about.json" and path.parent.name == FOLDER:
            continue  # last, as the mark that everything is there
        _link(path, to)
    _link(source / FOLDER / "about.json", target / FOLDER / "about.json")


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:
        with contextlib.suppress(shutil.SameFileError):
            shutil.copy2(path, to)


def _flat(about: Mapping[str, Json]) -> dict[str, Json]:
    """Return what is exported and how, with the options by their own names."""
    return {**about, **about.get("options", {}), "options": None}


def check_space(path: Path, needed: int) -> None:
    """Raise FileError if a disk has less than `needed` free bytes, before hours of work are lost on it."""
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileError(
            f"{path} can't be written: about {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
        )
