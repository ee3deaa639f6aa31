"""Publication of a folder on the Hub: a checkpoint, a store, or an exported data set, in one commit.

A reader of the Hub sees the old content or the new one. What the new content doesn't have is removed in the same
commit; earlier commits keep it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from soar import checkpoint as checkpoints
from soar.contract.contract import Contract
from soar.errors import ConfigError
from soar.exchange.hub.cards import Result, checkpoint_card, data_set_card
from soar.exchange.rlds.reader import find_data_set
from soar.types import Query
from soar.utils.config import from_plain, to_plain
from soar.utils.files import Json, read_json
from soar.utils.hub import CODE_FILES, DATA_FILES, RepoKind, hub_errors, parse_hub_name
from soar.utils.objects import Changed, ObjectPath, object_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
WEIGHTS = "model.safetensors"
"""Name of a checkpoint's weights on the Hub, by which other tools find them."""
_STORE_PARTS = ("episodes.lance", "steps")


@dataclass(frozen=True)
class Upload:
    """What is published."""

    kind: RepoKind
    what: str
    """What it is, for people."""
    files: Mapping[str, Path | bytes]
    """Content by the path on the Hub, the card among it."""
    tag: str = ""
    """Tag that readers of the format look for."""

    @property
    def size(self) -> int:
        """Size of all files [bytes]."""
        return sum(
            len(f) if isinstance(f, bytes) else f.stat().st_size for f in self.files.values()
        )


def plan_upload(
    folder: Path, repo: str, license: str = "", results: Sequence[Result] = ()
) -> Upload:
    """Return what `push` publishes of a folder; a README.md in it is the card, otherwise one is written.

    Args:
        folder: a checkpoint, a store, or a data set as LeRobot v3.0 or RLDS.
        repo: "org/name".
        license: as the Hub abbreviates it.
        results: measured success rates, for a checkpoint's card.

    Raises:
        ConfigError: it is no such folder, or results are given for data.
        CheckpointError: the checkpoint is damaged.
        StoreError: the store can't be read.
    """
    if parse_hub_name(f"hub:{repo}").revision or repo.startswith(("models/", "datasets/")):
        raise ConfigError(f"'{repo}' is no place on the Hub; valid: org/name")
    if url := object_of(folder):
        raise ConfigError(f"{url} is in object storage; copy it to a folder with `soar data merge`")
    if checkpoints.exists(folder):
        upload = _checkpoint(folder, repo, license, results)
    elif results:
        raise ConfigError(f"{folder} holds no checkpoint; only one of these has results")
    elif (folder / "store.json").exists():
        upload = _store(folder, repo, license)
    elif (folder / "meta" / "info.json").exists():
        upload = _lerobot(folder, repo, license)
    elif root := find_data_set(folder):
        upload = _rlds(folder, root, repo, license)
    else:
        raise ConfigError(
            f"{folder} can't be published; valid: a checkpoint's folder (checkpoint.json), a store "
            "(store.json), a data "
            "set as LeRobot v3.0 (meta/info.json) or RLDS (features.json)"
        )
    own = folder / CARD
    return upload if not own.is_file() else _with_card(upload, own)


def push(upload: Upload, repo: str, private: bool = False, message: str = "") -> tuple[str, int]:
    """Publish in one commit; return its id, and the number of older files that it removed.

    Args:
        upload: what `plan_upload` returned.
        repo: "org/name"; it is created if there is none.
        private: create it private; one that exists stays as it is.
        message: the commit's message.

    Raises:
        ConfigError: the Hub can't be reached or refuses, or someone else published meanwhile.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(library_name="soar-robot")
    with hub_errors(f"hub:{repo}"):
        api.create_repo(repo, repo_type=upload.kind, private=private or None, exist_ok=True)
        before = api.repo_info(repo, repo_type=upload.kind).sha
        there = api.list_repo_files(repo, repo_type=upload.kind, revision=before)
        old = sorted({*there} - {*upload.files, ".gitattributes"})
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(path, content) for path, content in upload.files.items()),
            *(CommitOperationDelete(path) for path in old),
        ]
        done = api.create_commit(
            repo,
            operations,
            commit_message=message or upload.what,
            repo_type=upload.kind,
            parent_commit=before,
        )
        if upload.tag:
            _move_tag(api, repo, upload)
    return done.oid, len(old)


def push_to_objects(folder: Path, url: str) -> str:
    """Publish a checkpoint at a URL of object storage, in place of the one there, and return its id.

    Weights come first and the manifest last, so that a reader sees the old checkpoint or the new one.

    Raises:
        CheckpointError: the folder holds none, or it is damaged.
        FileError: the storage can't be reached or refuses, or someone else published meanwhile.
    """
    id, place = checkpoints.load(folder).id, ObjectPath(url.rstrip("/"))
    manifest = read_json(folder / checkpoints.MANIFEST)
    weights = f"weights-{id}.safetensors"
    try:
        before, tag = (place / checkpoints.MANIFEST).read_tagged()
    except FileNotFoundError:
        before, tag = b"", {}
    (place / weights).write_bytes(folder / manifest["weights"])
    data = _json({**manifest, "weights": weights})
    try:
        (place / checkpoints.MANIFEST).write_if(data, tag)
    except FileExistsError:
        raise Changed(f"{url} was written by someone else meanwhile; look, and try again") from None
    if not (place / weights).is_file():  # someone who replaced the same checkpoint has removed them
        (place / weights).write_bytes(folder / manifest["weights"])
    old = re.search(rb'"(weights-[0-9a-f]{12}\.safetensors)"', before)
    if old and old[1].decode() != weights:
        (place / old[1].decode()).unlink()
    return id


def _move_tag(api: HfApi, repo: str, upload: Upload) -> None:
    from huggingface_hub.errors import RevisionNotFoundError

    with contextlib.suppress(RevisionNotFoundError):  # at the first publication
        api.delete_tag(repo, tag=upload.tag, repo_type=upload.kind)
    api.create_tag(repo, tag=upload.tag, repo_type=upload.kind)


def _checkpoint(folder: Path, repo: str, license: str, results: Sequence[Result]) -> Upload:
    checkpoint = checkpoints.load(folder)  # which checks it
    manifest = read_json(folder / checkpoints.MANIFEST)
    weights = folder / manifest["weights"]
    about = {
        "library": "soar-robot",
        "kind": checkpoint.kind,
        "config": dict(checkpoint.config),
        "contract": to_plain(checkpoint.contract),
    }
    return Upload(
        "model",
        f"{checkpoint.kind} checkpoint {checkpoint.id}",
        {
            WEIGHTS: weights,
            checkpoints.MANIFEST: _json({**manifest, "weights": WEIGHTS}),
            "config.json": _json(about),
            CARD: checkpoint_card(checkpoint, repo, license, results).encode(),
        },
    )


def _store(folder: Path, repo: str, license: str) -> Upload:
    from soar.data.curation.card import card
    from soar.data.store.lance import open_store

    store = open_store(folder, read_only=True)
    episodes = store.index.open().count_rows()
    versions = folder / "episodes.lance" / "_versions"
    # Versions first: files that they name were there before them.
    paths = sorted(versions.glob("*.manifest"))
    paths += [p for name in _STORE_PARTS for p in _files(folder / name) if p.parent != versions]
    files: dict[str, Path | bytes] = {str(p.relative_to(folder)): p for p in paths}
    text = card(store, Query(), repo, license)
    use = f"\n```\nsoar train gcbc --store hub:datasets/{repo} --out D\nsoar hub pull datasets/{repo} --out S\n```\n"
    return Upload(
        "dataset",
        f"store of {episodes} episodes",
        {**files, "store.json": folder / "store.json", CARD: (text + use).encode()},
    )


def _lerobot(folder: Path, repo: str, license: str) -> Upload:
    info: dict[str, Json] = read_json(folder / "meta" / "info.json")
    names = (
        "robot_type",
        "fps",
        "total_episodes",
        "total_frames",
        "total_tasks",
        "codebase_version",
    )
    facts = {name: info.get(name) for name in names}
    text = data_set_card(repo, license, "lerobot", _contract(folder), facts)
    files = {p: f for p, f in _data_files(folder) if not p.startswith("images/")}
    what = f"LeRobot data set of {info.get('total_episodes')} episodes"
    return Upload(
        "dataset", what, {**files, CARD: text.encode()}, str(info.get("codebase_version"))
    )


def _rlds(folder: Path, root: Path, repo: str, license: str) -> Upload:
    info: dict[str, Json] = read_json(root / "dataset_info.json")
    splits = info.get("splits", ())
    episodes = {s["name"]: sum(int(n) for n in s.get("shardLengths", ())) for s in splits}
    facts = {"name": info.get("name"), "version": info.get("version"), "episodes": episodes}
    text = data_set_card(repo, license, "rlds", _contract(folder), facts)
    what = f"RLDS data set of {sum(episodes.values())} episodes"
    return Upload("dataset", what, {**dict(_data_files(folder)), CARD: text.encode()})


def _contract(folder: Path) -> Contract | None:
    about = folder / "soar" / "about.json"
    plain = read_json(about).get("contract") if about.is_file() else None
    return from_plain(Contract, plain, about) if plain else None


def _data_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that `soar.utils.hub` would download, by their relative paths."""
    for path in _files(folder):
        name = str(path.relative_to(folder))
        wanted = any(fnmatch(name, p) for p in DATA_FILES)
        if wanted and not any(fnmatch(name, p) for p in CODE_FILES):
            yield name, path


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder that aren't hidden, such as temporary ones."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def _with_card(upload: Upload, card: Path) -> Upload:
    return Upload(upload.kind, upload.what, {**upload.files, CARD: card}, upload.tag)


def _json(plain: Json) -> bytes:
    return (json.dumps(plain, indent=2) + "\n").encode()
