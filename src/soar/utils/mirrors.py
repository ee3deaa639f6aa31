"""Folders that are published in object storage: runs, evaluations and trainings at a URL.

Programs write them on this machine, in the URL's local folder, and `publish` uploads what has changed since: records
last (`RECORDS`), each only if nobody else has written it meanwhile. So whoever reads a record finds all that it names,
and a publication that is killed leaves the old record until the next one goes on. Caches and unfinished training stay
on this machine; a run's store is in object storage itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from soar.errors import ConfigError, FileError
from soar.utils.files import cache_folder, read_json, write_bytes, write_json
from soar.utils.objects import (
    PUBLISHED,
    Changed,
    ObjectPath,
    local_part,
    object_of,
    published_folder,
    same_content,
)

_log = logging.getLogger(__name__)

RECORDS = ("checkpoint.json", "evaluation.json", "run.json")
"""Files that name others. The one of a folder is written after those of the folders in it."""
STAYS = ("store", "frames", "state", "exported")
"""Folders that aren't published."""
_ATTEMPTS = 3
"""Attempts to read a checkpoint that someone replaces meanwhile."""
_WEIGHTS = re.compile(r"weights-[0-9a-f]{12}\.safetensors")
Known: TypeAlias = dict[str, dict[str, Any]]
"""What is published, by relative name: size and time of the file here, and its tag there."""


def local_folder(url: str, *, quick: bool = False) -> Path:
    """Return the folder on this machine that stands for a URL, to read.

    It is a checkpoint's copy in the cache, an up-to-date copy of a run or evaluation, or what stays local of a store. A
    store that is known here isn't asked for again: its stations can be held even while the storage is away. `quick`: as
    that of `ObjectPath`.

    Raises:
        ConfigError: the URL isn't valid, or the checkpoint is damaged.
        FileError: the storage can't be reached or refuses, or a run has been continued both there and here.
    """
    place, part = ObjectPath(url.rstrip("/"), quick), local_part(url)
    if (part / "store.json").exists():
        return part
    names = place.names()
    if "store.json" in names:
        part.mkdir(parents=True, exist_ok=True)
        (part / "store.json").write_bytes((place / "store.json").read_bytes())
        return part
    if RECORDS[0] in names:
        for _ in range(_ATTEMPTS):
            if copy := _checkpoint_copy(place):
                return copy
        raise ConfigError(f"{url} is damaged: its weights are missing")
    return out_folder(url)


def out_folder(url: str) -> Path:
    """Return the folder on this machine in which a command writes what belongs to a URL, with what is there so far."""
    place, folder = ObjectPath(url.rstrip("/")), local_part(url)
    names = place.names()
    if "store.json" not in names and not names.isdisjoint(RECORDS):
        with _locked(folder):
            _refresh(place, folder)
    return folder


def begin(folder: Path) -> None:
    """Let `publish` publish the local folder of a URL from now on; any other folder stays as it is.

    Raises:
        ConfigError: there is a store.
    """
    place = object_of(folder)
    if place is None or published_folder(folder):
        return
    if (place / "store.json").is_file():
        raise ConfigError(f"{place} is a store; name a new URL for what is to be written")
    write_json(folder / PUBLISHED, {})


def publish(path: Path) -> None:
    """Upload what has changed in the local folder of a URL that a path lies in; do nothing for any other path.

    Raises:
        Changed: someone else has written or removed a record there since; nothing of theirs is changed.
        FileError: the storage can't be reached or refuses; the next publication goes on.
    """
    folder = published_folder(path)
    place = object_of(folder) if folder else None
    if folder is None or place is None:
        return
    with _locked(folder):
        known = _known(folder)
        names = _files(folder)
        changed = [n for n in names if _stamp(folder / n) != known.get(n, {}).get("stamp")]
        if not changed and known.keys() <= {*names}:
            return
        for record in [n for n in RECORDS if n in known]:
            _check_ours(place / record, folder / record, known[record]["tag"])
        for name in sorted(changed, key=_last):
            stamp = _stamp(folder / name)
            known[name] = {"stamp": stamp, "tag": _upload(place / name, folder / name, known, name)}
            if name.endswith(RECORDS):
                write_json(folder / PUBLISHED, known)
        for name in sorted(known.keys() - {*names}):
            del known[name]
            if _WEIGHTS.fullmatch(PurePosixPath(name).name):
                (place / name).unlink()
        write_json(folder / PUBLISHED, known)


def publish_if_reachable(path: Path) -> None:
    """Do what `publish` does, or leave it to the next time if the storage can't be reached. Raises Changed."""
    try:
        publish(path)
    except Changed:
        raise
    except FileError as error:
        _log.warning("not published yet: %s", error)


def _upload(target: ObjectPath, path: Path, known: Known, name: str) -> Any:
    """Write an object, a record only in place of the one that we know, and return its tag."""
    if path.name not in RECORDS:
        return target.write_bytes(path)
    try:
        return target.write_if(path.read_bytes(), known.get(name, {}).get("tag", {}))
    except (FileExistsError, Changed):
        return _check_ours(target, path, {})


def _check_ours(target: ObjectPath, path: Path, tag: Any) -> Any:
    """Return the tag of an object, which must be the one that we know, or one that we wrote before we were killed."""
    try:
        data, now = target.read_tagged()
    except FileNotFoundError:
        raise Changed(
            f"{target} was removed by someone else meanwhile; what isn't there yet is in {path.parent}"
        ) from None
    if not same_content(now, tag) and data != path.read_bytes():
        raise Changed(
            f"{target} was written by someone else meanwhile; what isn't there yet is in {path.parent}"
        )
    return now


def _refresh(place: ObjectPath, folder: Path) -> None:
    """Download what differs there, records last."""
    begin(folder)
    known, there = _known(folder), place.tags(STAYS)
    for name in sorted(there, key=_last):
        path, old = folder / name, known.get(name, {})
        if same_content(there[name], old.get("tag", "")) and path.exists():
            continue
        if ".." in (parts := PurePosixPath(name).parts) or any(p.startswith(".") for p in parts):
            continue
        data, tag = (place / name).read_tagged()
        mine = path.exists() and _stamp(path) != old.get("stamp")
        if mine and path.read_bytes() != data:
            raise Changed(
                f"{place} was written elsewhere since, and {folder} holds other work on it; move that folder "
                "away to go on "
                "with what is there"
            )
        write_bytes(path, data)
        known[name] = {"stamp": _stamp(path), "tag": tag}
        write_json(folder / PUBLISHED, known)  # a download that breaks off goes on here


def _checkpoint_copy(place: ObjectPath) -> Path | None:
    """Download a checkpoint unless it is in the cache; None if it was replaced meanwhile. Raises ConfigError."""
    manifest_name = RECORDS[0]
    data = (place / manifest_name).read_bytes()
    try:
        manifest = json.loads(data)
        id, weights = str(manifest["id"]), str(manifest["weights"])
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{place} is damaged: its {manifest_name} can't be read") from error
    if not re.fullmatch(r"[0-9a-f]{12}", id) or not re.fullmatch(r"\w[\w.-]*", weights):
        raise ConfigError(f"{place} is damaged: its {manifest_name} names no weights")
    folder = cache_folder() / "checkpoints" / id
    if not (folder / manifest_name).exists():
        try:
            write_bytes(folder / weights, (place / weights).read_bytes())
        except FileNotFoundError:
            return None
        write_bytes(folder / manifest_name, data)
    return folder


def _files(folder: Path) -> list[str]:
    """Return the relative names of the files that are published."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return [
        n.as_posix()
        for n in names
        if not any(part in STAYS for part in n.parts[:-1])
        and not any(part.startswith(".") for part in n.parts)
    ]


def _last(name: str) -> tuple[bool, int, str]:
    """Sort records after other files, and those of inner folders before those of outer ones."""
    parts = PurePosixPath(name).parts
    return parts[-1] in RECORDS, -len(parts), name


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _known(folder: Path) -> Known:
    path = folder / PUBLISHED
    known: Known = read_json(path) if path.exists() else {}
    return known


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time publish or refresh a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
