"""Folders and files in object storage, by URL: s3://, gs:// and az://.

Credentials and endpoints come from the environment alone, as each provider's tools read them (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and so on). An object is written whole or
not at all, and is durable once it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from soar.errors import ConfigError, FileError

PUBLISHED = ".published.json"
"""File in the local folder of a URL: what `soar.utils.mirrors` has published of it."""
_URL = re.compile(r"(s3|gs|az)://[^/\s]+(/.*)?", re.DOTALL)
_LOCAL = re.compile(r"(.*/stores/((?:s3|gs|az)%3A%2F%2F[^/]+))(/.*)?", re.DOTALL)

_QUICK_S = 5.0
"""Time after which a `quick` request without an answer ends; it is tried twice [s]."""

Tag: TypeAlias = Mapping[str, str]
"""Tag of an object's content: "e_tag", and "version" where the provider numbers them (Google)."""


class Changed(FileError):
    """An object isn't what it was when it was read: someone else has written it."""


class ObjectStat(NamedTuple):
    """Size and time of an object."""

    st_size: int
    """In bytes."""
    st_mtime: float
    """Unix time of its last change."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object or a folder of objects, with those methods of `pathlib.Path` that have a meaning there.

    Raises:
        FileNotFoundError: an object that is read is missing.
        FileError: the storage can't be reached or refuses.
    """

    url: str
    """Without a slash at its end."""
    quick: bool = field(default=False, compare=False, repr=False)
    """Whether to give up after seconds without an answer: for small objects that somebody waits for."""

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> ObjectPath:
        return replace(self, url=f"{self.url}/{name}")

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in."""
        return replace(self, url=self.url.rpartition("/")[0])

    @property
    def _bucket(self) -> Any:
        """The client of its bucket."""
        scheme, _, rest = self.url.partition("://")
        return _opened(f"{scheme}://{rest.partition('/')[0]}", self.quick)

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Name without its ending."""
        return PurePosixPath(self.name).stem

    def with_suffix(self, suffix: str) -> ObjectPath:
        """Return the object with another ending."""
        return self.parent / f"{self.stem}{suffix}"

    def exists(self) -> bool:
        """Whether there is such an object, or one in such a folder."""
        return self.is_file() or any(True for _ in self.glob("*", most=1))

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def stat(self) -> ObjectStat:
        """Return size and time of change of an object."""
        with _errors(self):
            found = _obstore().head(self._bucket, _key(self.url))
        return ObjectStat(found["size"], found["last_modified"].timestamp())

    def glob(self, pattern: str, most: int | None = None) -> Iterator[ObjectPath]:
        """Yield the objects below a folder whose relative names match; "*" stays within one part.

        Args:
            pattern: parts with "*" and "[...]", or "*" alone for all objects at any depth.
            most: number of objects that are asked for at once.
        """
        parts, prefix = pattern.split("/"), _key(self.url)
        with _errors(self):
            batches = _obstore().list(self._bucket, prefix, chunk_size=most or 1000)
            for batch in batches:
                for found in batch:
                    name = found["path"].removeprefix(prefix).lstrip("/")
                    if pattern == "*" or _matches(name.split("/"), parts):
                        yield self / name

    def names(self) -> set[str]:
        """Return the names of the objects and folders in a folder, not of those below."""
        folders, objects = self._children()
        return {*folders, *objects}

    def tags(self, without: Sequence[str] = ()) -> dict[str, str]:
        """Return the tag of each object at any depth, by its relative name, for `same_content`.

        Args:
            without: names of folders that are left out where they are directly in this one.
        """
        folders, tags = self._children()
        prefix = _key(self.url)
        for name in sorted(folders - {*without}):
            with _errors(self):
                for batch in _obstore().list(self._bucket, _key((self / name).url)):
                    tags |= {o["path"].removeprefix(f"{prefix}/"): plain_tag(o) for o in batch}
        return tags

    def _children(self) -> tuple[set[str], dict[str, str]]:
        """Return the names of folders, and names and tags of objects, directly in this one."""
        with _errors(self):
            found = _obstore().list_with_delimiter(self._bucket, _key(self.url))
        folders = {path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]}
        return folders, {o["path"].rpartition("/")[2]: plain_tag(o) for o in found["objects"]}

    def read_bytes(self) -> bytes:
        """Read an object."""
        return self.read_tagged()[0]

    def read_tagged(self) -> tuple[bytes, Tag]:
        """Read an object, and the tag of its content for `write_if`."""
        with _errors(self):
            found = _obstore().get(self._bucket, _key(self.url))
            return bytes(found.bytes()), _tag(found.meta)

    def write_bytes(self, data: bytes | Path) -> Tag:
        """Write or replace an object, from memory or from a file, and return its content's tag."""
        with _errors(self):
            return _tag(_obstore().put(self._bucket, _key(self.url), data))

    def write_new(self, data: bytes) -> None:
        """Write an object where there is none. Raises FileExistsError."""
        self.write_if(data, {})

    def write_if(self, data: bytes, tag: Tag) -> Tag:
        """Replace an object that still has a tag, and return the new one; {} writes one where there is none.

        Raises:
            FileExistsError: there is one.
            Changed: it was replaced since, or is gone.
        """
        put, mode = _obstore().put, dict(tag) or "create"
        with _errors(self):
            done = put(self._bucket, _key(self.url), data, mode=mode, use_multipart=False)
        return _tag(done)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object; it may be missing in any case, as storages don't tell."""
        with _errors(self):
            _obstore().delete(self._bucket, _key(self.url))

    def rename(self, target: ObjectPath) -> None:
        """Copy an object and delete the original."""
        with _errors(self):
            _obstore().rename(self._bucket, _key(self.url), _key(target.url))


AnyPath: TypeAlias = Path | ObjectPath
"""A file or folder on this machine or in object storage."""


def sorted_glob(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """Return the files in a folder whose relative names match, by name."""
    found: list[AnyPath] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def is_object_url(text: str) -> bool:
    """Whether a text is a URL of object storage."""
    return bool(_URL.fullmatch(text))


def lance_options(path: AnyPath) -> dict[str, str] | None:
    """Return the `storage_options` of Lance for a path; Lance reads the environment itself."""
    if isinstance(path, Path):
        return None
    return {"allow_http": "true"}  # where the endpoint is one, as on loopback


def local_part(url: str) -> Path:
    """Return the folder on this machine for what stays local of a store in object storage, such as stations' files."""
    from soar.utils.files import cache_folder

    name = quote(url.rstrip("/"), safe="")
    if len(name) > 200:
        raise ConfigError(f"'{url:.60}...' is too long; valid: a URL of up to 200 characters")
    return cache_folder() / "stores" / name


def object_of(path: str | Path) -> ObjectPath | None:
    """Return the counterpart in object storage of a path in the local folder of a URL; None for any other path.

    The store itself has one, and so has each file and folder that is published (`soar.utils.mirrors`).
    """
    match = _LOCAL.fullmatch(str(path)) if "/stores/" in str(path) else None
    if not match or (match[3] and not Path(match[1], PUBLISHED).exists()):
        return None
    return ObjectPath(unquote(match[2]) + (match[3] or ""))


def published_folder(path: str | Path) -> Path | None:
    """Return the local folder that a path is or is in, if it is one that `soar.utils.mirrors` publishes."""
    match = _LOCAL.fullmatch(str(path)) if "/stores/" in str(path) else None
    folder = Path(match[1]) if match else None
    return folder if folder and (folder / PUBLISHED).exists() else None


def check_no_part(path: Path) -> None:
    """Raise ConfigError for a file that would be written where an object was meant: only stations' files stay local."""
    if path.name == PUBLISHED or published_folder(path):
        return
    for folder in (path, path.parent):
        if url := object_of(folder):
            raise ConfigError(
                f"{url} can't be written: stores, runs, evaluations and trainings are kept there; write to a "
                "folder, and "
                "publish a checkpoint with `soar hub push FOLDER URL`"
            )


def same_content(a: Tag | str, b: Tag | str) -> bool:
    """Whether two tags are of the same content."""
    return plain_tag(a) == plain_tag(b)


def plain_tag(tag: Mapping[str, Any] | str) -> str:
    """Return a tag as `ObjectPath.tags` does: text without the quotes that some answers have around it."""
    return ((tag if isinstance(tag, str) else tag.get("e_tag")) or "").strip('"')


def _tag(meta: Mapping[str, Any]) -> Tag:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}


def _matches(names: list[str], patterns: list[str]) -> bool:
    return len(names) == len(patterns) and all(map(fnmatch, names, patterns))


def _obstore() -> Any:
    try:
        import obstore
    except ImportError:
        raise ConfigError(
            "object storage needs a package; install it: pip install 'soar-robot[cloud]'"
        ) from None
    return obstore


@lru_cache(maxsize=16)
def _opened(bucket: str, quick: bool = False) -> Any:
    from obstore.store import from_url

    client: Any = {"allow_http": True}
    if quick:
        client["read_timeout"] = timedelta(seconds=_QUICK_S)
    retries = 1 if quick else 5
    return from_url(bucket, client_options=client, retry_config={"max_retries": retries})


def _key(url: str) -> str:
    return url.partition("://")[2].partition("/")[2]


@contextmanager
def _errors(path: ObjectPath) -> Iterator[None]:
    """Turn the storage's errors into OSErrors of one line."""
    exceptions = _obstore().exceptions
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise FileError(f"{path} can't be used: there is no such bucket") from None
        raise FileNotFoundError(f"{path} is missing") from None
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(f"{path} exists") from error
    except (exceptions.PreconditionError, exceptions.NotModifiedError) as error:
        raise Changed(
            f"{path} was written by someone else meanwhile; look, and try again"
        ) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise FileError(
            f"{path} isn't permitted: check the credentials in the environment, such as AWS_ACCESS_KEY_ID"
        ) from error
    except exceptions.BaseError as error:
        cause = _cause(error)
        if "NoSuchBucket" in cause:
            cause = "there is no such bucket"
        raise FileError(f"{path} can't be used: {cause}") from error


def _cause(error: BaseException) -> str:
    """Return the storage's own code, or else the client's words, in one line."""
    text = " ".join(str(error).split("Debug source:")[0].split())
    if code := re.search(r"<Code>(\w+)</Code>", text):
        return f"the storage answers {code[1]}"
    return text.rpartition(" - ")[2][:200]
