"""Folders of the Hugging Face Hub by name: "hub:org/name" or "hub:org/name@revision", as folders on this machine.

A name is a model or, where there is none, a data set; "hub:datasets/org/name" is the data set in any case. Files that
could run are never downloaded, and nothing that is downloaded is executed. HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN and
HF_HOME mean what they mean to every client of the Hub.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from soar.errors import ConfigError

RepoKind: TypeAlias = Literal["model", "dataset"]

HUB = "hub:"
"""Beginning of the names of folders on the Hub."""
DATA_FILES = (
    "*.json", "*.jsonl", "*.md", "*.txt", "LICENSE*", "*.safetensors", "*.parquet", "*.mp4", "*.jpg", "*.jpeg", "*.png",
    "*.tfrecord*", "episodes.lance/*", "steps/*.lance",
)  # fmt: skip
"""Patterns of the files that are downloaded by default."""
CODE_FILES = (
    "*.py", "*.pyc", "*.so", "*.sh", "*.ipynb", "*.pkl", "*.pickle", "*.pt", "*.pth", "*.ckpt", "*.joblib", "*.npy",
    "*.npz", "*.h5", "*.yaml", "*.yml", "*pytorch_*.bin", "*model*.bin",
)  # fmt: skip
"""Patterns of the files that are never downloaded: programs, pickles, and what names either."""
_NAME = re.compile(r"hub:(?:(models|datasets)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_SNAPSHOT = re.compile(
    r".*/(models|datasets)--([\w.-]+?)--([\w.-]+)/snapshots/([0-9a-f]{40})(?:/.*)?",
    re.ASCII | re.DOTALL,
)


class HubName(NamedTuple):
    """A parsed name."""

    id: str
    """The repository, "org/name"."""
    kind: RepoKind | None
    """None: a model or else a data set."""
    revision: str | None
    """Branch, tag or commit; None is the newest commit of the main branch."""


def parse_hub_name(name: str) -> HubName:
    """Parse a name. Raises ConfigError."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ConfigError(
            f"'{name}' names nothing on the Hub; valid: hub:org/name, hub:org/name@revision, hub:datasets/org/name"
        )
    kinds: dict[str | None, RepoKind] = {"models": "model", "datasets": "dataset"}
    return HubName(match[2], kinds.get(match[1]), match[3])


@cache
def hub_folder(name: str, patterns: tuple[str, ...] = DATA_FILES) -> Path:
    """Return the local copy of a folder on the Hub, downloaded if the cache hasn't all of it.

    Args:
        name: "hub:org/name[@revision]".
        patterns: only files that match one of them are downloaded; of `CODE_FILES` none ever is.

    Raises:
        ConfigError: the name isn't valid, there is no such repository or revision, it isn't permitted, or it isn't in
            the cache and can't be downloaded.
    """
    repo = parse_hub_name(name)
    with hub_errors(name):
        if repo.kind is None:
            return _model_or_data_set(repo, patterns)
        return _snapshot(repo, repo.kind, patterns)


def _model_or_data_set(repo: HubName, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return _snapshot(repo, "model", patterns)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return _snapshot(repo, "dataset", patterns)
    except LocalEntryNotFoundError:  # offline, the cache may have a data set
        with contextlib.suppress(RepositoryNotFoundError, LocalEntryNotFoundError):
            return _snapshot(repo, "dataset", patterns)
        raise


def _snapshot(repo: HubName, kind: RepoKind, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    folder = snapshot_download(
        repo.id,
        repo_type=kind,
        revision=repo.revision,
        allow_patterns=list(patterns),
        ignore_patterns=list(CODE_FILES),
    )
    return Path(folder)


def hub_origin(path: str | Path) -> str:
    """Return the name, with its commit, of the folder on the Hub that a path is a copy of or in; "" for others."""
    match = _SNAPSHOT.fullmatch(str(path)) if "/snapshots/" in str(path) else None
    if not match:
        return ""
    kind, org, name, commit = match.groups()
    return f"{HUB}{'datasets/' if kind == 'datasets' else ''}{org}/{name}@{commit}"


def pinned_name(path: str | Path) -> str:
    """Return "hub:org/name@COMMIT" for a folder that `hub_folder` returned, and any other path as it is."""
    origin = hub_origin(path)
    return origin if origin and Path(path).parent.name == "snapshots" else str(path)


def folder_name(path: Path) -> str:
    """Return the name of a folder; for a copy of one on the Hub that of its repository."""
    match = _SNAPSHOT.fullmatch(str(path))
    return match[3] if match and pinned_name(path) != str(path) else path.resolve().name


def check_own(path: Path) -> None:
    """Raise ConfigError for what is on the Hub, or is a copy of it, which is only read."""
    if name := hub_origin(path) or (str(path) if str(path).startswith(HUB) else ""):
        raise ConfigError(
            f"{name} is on the Hub and is only read; name a folder of yours, and publish it with `soar hub push`"
        )


@contextlib.contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turn the errors of the Hub's client into a ConfigError of one line, which shows no token."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name} {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """Return the cause of an error of the Hub's client, and what helps."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    offline = constants.is_offline_mode()
    cause = error.__cause__
    if isinstance(cause, hub.HfHubHTTPError) or (
        isinstance(error, RuntimeError) and isinstance(cause, Exception)
    ):
        return _problem(cause)
    if isinstance(error, hub.GatedRepoError):
        return "is gated: accept its conditions on its page, and set HF_TOKEN"
    if isinstance(error, hub.RevisionNotFoundError):
        return "has no such revision on the Hub"
    if isinstance(error, hub.RepositoryNotFoundError):
        return "isn't on the Hub, or is private: check the name, and set HF_TOKEN if it is private"
    if isinstance(error, hub.LocalEntryNotFoundError):
        found = "is only partly in" if hasattr(error, "snapshot_path") else "isn't in"
        why = "HF_HUB_OFFLINE is set" if offline else f"{constants.ENDPOINT} can't be reached"
        return f"{found} the cache, and {why}"
    if isinstance(error, hub.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                "isn't permitted with this token: set HF_TOKEN to one that may read or write there"
            )
        return f"can't be used: the Hub answers {status} ({_one_line(error.server_message or '')})"
    if isinstance(error, hub.OfflineModeIsEnabled):
        return "needs the Hub, and HF_HUB_OFFLINE is set"
    if isinstance(error, HTTPError) or "Consistency check failed" in str(error):
        return f"was interrupted ({_one_line(error)}); the same command continues"
    if isinstance(error, OSError):
        from soar.utils.files import os_problem

        return f"can't be used: {os_problem(error)}"
    return f"can't be used: {_one_line(error)}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
