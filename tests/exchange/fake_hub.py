"""A Hugging Face Hub on loopback: the endpoints that its client calls, with the Hub's headers, codes and error names.

Content is kept by commit; large files by their sha256, served from a second path as the Hub's CDN does. `faults` make
the next requests fail.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = 4096
"""Size from which a file is large, or else if its name says so [bytes]."""
PAGE = 20
"""Entries of one page of a tree."""


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, str]] = field(default_factory=dict)
    """Commit: path to sha256."""
    refs: dict[str, str] = field(default_factory=dict)


class FakeHub:
    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.tokens: dict[str, str] = {"hf_writes": "write", "hf_reads": "read"}
        self.requests: list[str] = []
        self.lengths: list[int] = []
        """Bytes served after which the next downloads break off."""
        self.on_commit: Callable[[], None] = lambda: None
        hub = self

        class Handler(_Handler):
            fake = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def repo(self, id: str, kind: str = "models") -> Repo:
        return self.repos[kind, id]

    def files(self, id: str, kind: str = "models", revision: str = "main") -> dict[str, bytes]:
        repo = self.repo(id, kind)
        tree = repo.commits[repo.refs.get(revision, revision)]
        return {path: self.blobs[sha] for path, sha in tree.items()}

    def put(self, id: str, files: dict[str, bytes], kind: str = "models") -> str:
        """Commit files from the other side."""
        repo = self.repos.setdefault((kind, id), Repo())
        tree = dict(repo.commits.get(repo.refs.get("main", ""), {}))
        for path, data in files.items():
            tree[path] = self.store(data)
        return self.commit(repo, tree)

    def store(self, data: bytes) -> str:
        sha = hashlib.sha256(data).hexdigest()
        self.blobs[sha] = data
        return sha

    def commit(self, repo: Repo, tree: dict[str, str]) -> str:
        seed = json.dumps([tree, len(repo.commits)]).encode()
        commit = hashlib.sha1(seed).hexdigest()
        repo.commits[commit] = tree
        repo.refs["main"] = commit
        return commit

    def is_large(self, path: str, size: int) -> bool:
        return size >= LARGE or path.endswith((".safetensors", ".parquet"))


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self.route()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def route(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        self.fake.requests.append(f"{self.command} {path}")
        for pattern, method, name in _ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                getattr(self, name)(**match.groupdict())
                return
        self.fail(404, "", "no such endpoint")

    # -- replies

    def reply(self, data: Any = None, status: int = 200, **headers: str) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str) -> None:
        self.reply({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def role(self) -> str | None:
        """Role of the request's token; None for a wrong one."""
        given = self.headers.get("Authorization", "")
        return self.fake.tokens.get(given.removeprefix("Bearer ")) if given else ""

    def open(self, kind: str, id: str, write: bool = False) -> Repo | None:
        """Return the repository if the request may have it; else answer as the Hub does."""
        role, repo = self.role(), self.fake.repos.get((kind, id))
        if role is None:
            self.fail(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not role):
            self.fail(401 if not role else 404, "RepoNotFound", "Repository not found")
        elif repo.gated and not role:
            self.fail(401, "GatedRepo", f"Access to model {id} is restricted.")
        elif write and role != "write":
            self.fail(403, "", "Forbidden: you don't have the rights to write to this repo")
        else:
            return repo
        return None

    def commit_of(self, repo: Repo, revision: str) -> str | None:
        commit = repo.refs.get(revision, revision)
        if commit in repo.commits:
            return commit
        self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    # -- endpoints

    def create(self) -> None:
        wanted = json.loads(self.body)
        id = f"{wanted['organization']}/{wanted['name']}"
        kind = f"{wanted.get('type', 'model')}s"
        if self.role() is None:
            self.fail(401, "", "Invalid credentials in Authorization header")
        elif self.role() != "write":
            self.fail(403, "", "You don't have the rights to create a repo under this namespace")
        elif (kind, id) in self.fake.repos:
            message = "You already created this model repo"
            self.reply(
                {"error": message, "url": f"{self.fake.url}/{id}"}, 409, X_Error_Message=message
            )
        else:
            repo = self.fake.repos[kind, id] = Repo(private=wanted.get("visibility") == "private")
            self.fake.commit(repo, {".gitattributes": self.fake.store(b"*.safetensors lfs\n")})
            self.reply({"url": f"{self.fake.url}/{id}"})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        front = yaml.safe_load(match[1]) if match else None
        if front is not None and not isinstance(front.get("license"), str):
            self.reply({"errors": [{"message": '"license" must be a string'}]}, 400)
        else:
            warnings = [] if front else [{"message": "empty or missing yaml metadata in repo card"}]
            self.reply({"errors": [], "warnings": warnings})

    def info(self, kind: str, id: str, revision: str = "main") -> None:
        repo = self.open(kind, id)
        if repo and (commit := self.commit_of(repo, revision)):
            siblings = [{"rfilename": path} for path in repo.commits[commit]]
            self.reply(
                {"id": id, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []}
            )

    def tree(self, kind: str, id: str, revision: str) -> None:
        repo = self.open(kind, id)
        if not repo or not (commit := self.commit_of(repo, revision)):
            return
        entries: list[dict[str, Any]] = []
        for path, sha in sorted(repo.commits[commit].items()):
            data = self.fake.blobs[sha]
            entry: dict[str, Any] = {
                "type": "file",
                "path": path,
                "size": len(data),
                "oid": git_oid(data),
            }
            if self.fake.is_large(path, len(data)):
                entry["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 130}
            entries.append(entry)
        start = int(self.query.get("cursor", ["0"])[0])
        more = (
            f"{self.fake.url}/api/{kind}/{id}/tree/{revision}?recursive=true&cursor={start + PAGE}"
        )
        links: dict[str, Any] = (
            {"Link": f'<{more}>; rel="next"'} if len(entries) > start + PAGE else {}
        )
        self.reply(entries[start : start + PAGE], **links)

    def resolve(self, id: str, revision: str, path: str, kind: str = "models/") -> None:
        repo = self.open(kind.strip("/"), id)
        if not repo or not (commit := self.commit_of(repo, revision)):
            return
        sha = repo.commits[commit].get(path)
        if sha is None:
            self.reply(
                {},
                404,
                X_Error_Code="EntryNotFound",
                X_Error_Message="Entry not found",
                X_Repo_Commit=commit,
            )
            return
        data = self.fake.blobs[sha]
        if self.fake.is_large(path, len(data)):
            self.reply(
                b"", 302, X_Repo_Commit=commit, X_Linked_Etag=f'"{sha}"', X_Linked_Size=str(len(data)),
                Location=f"{self.fake.url.replace('127.0.0.1', 'localhost')}/cdn/{sha}",
            )  # fmt: skip
        elif self.command == "HEAD":
            self.reply(data, X_Repo_Commit=commit, ETag=f'"{git_oid(data)}"')
        else:
            self.content(data, X_Repo_Commit=commit, ETag=f'"{git_oid(data)}"')

    def cdn(self, sha: str) -> None:
        self.content(self.fake.blobs[sha], ETag=f'"{sha}"')

    def content(self, data: bytes, **headers: str) -> None:
        """Serve bytes or a range of them, and break off where a test wants it."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        part, most = data[first:], self.fake.lengths.pop(0) if self.fake.lengths else None
        self.send_response(206 if match else 200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if match:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:most])
        if most is not None:
            self.wfile.flush()
            self.close_connection = True

    def preupload(self, kind: str, id: str, revision: str) -> None:
        repo = self.open(kind, id, write=True)
        if not repo or not (commit := self.commit_of(repo, revision)):
            return
        files = []
        for file in json.loads(self.body)["files"]:
            sha = repo.commits[commit].get(file["path"])
            mode = "lfs" if self.fake.is_large(file["path"], file["size"]) else "regular"
            known = (
                None if sha is None else (sha if mode == "lfs" else git_oid(self.fake.blobs[sha]))
            )
            files.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known}
            )
        self.reply({"files": files})

    def batch(self, id: str, kind: str = "models/") -> None:
        if not self.open(kind.strip("/"), id, write=True):
            return
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            if wanted["oid"] not in self.fake.blobs:
                href = {"href": f"{self.fake.url}/upload/{wanted['oid']}", "header": {}}
                wanted = {**wanted, "actions": {"upload": href}}
            objects.append(wanted)
        self.reply({"transfer": "basic", "objects": objects})

    def upload(self, sha: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha:
            self.fail(400, "", "checksum mismatch")
            return
        self.fake.blobs[sha] = self.body
        self.reply(b"", ETag=f'"{sha}"')

    def post_commit(self, kind: str, id: str, revision: str) -> None:
        repo = self.open(kind, id, write=True)
        if not repo or not self.commit_of(repo, revision):
            return
        self.fake.on_commit()
        tree, lines = dict(repo.commits[repo.refs[revision]]), self.body.splitlines()
        for line in map(json.loads, lines):
            value = line["value"]
            if line["key"] == "header":
                if value.get("parentCommit", repo.refs[revision]) != repo.refs[revision]:
                    self.fail(412, "", "A commit has happened since. Please refresh and try again.")
                    return
                assert value["summary"]
            elif line["key"] == "file":
                assert value["encoding"] == "base64"
                tree[value["path"]] = self.fake.store(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                assert value["oid"] in self.fake.blobs, "committed before it was uploaded"
                tree[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
            else:
                raise AssertionError(line["key"])
        oid = self.fake.commit(repo, tree)
        self.reply({"commitUrl": f"{self.fake.url}/{id}/commit/{oid}", "commitOid": oid})

    def tag(self, kind: str, id: str, name: str) -> None:
        repo = self.open(kind, id, write=True)
        if not repo:
            return
        if self.command == "POST":
            tag = json.loads(self.body)["tag"]
            repo.refs[tag] = repo.refs[name]
            self.reply({})
        elif name in repo.refs:
            del repo.refs[name]
            self.reply({})
        else:
            self.fail(404, "RevisionNotFound", "Invalid rev id")


_REPO = r"(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"
_PLAIN = r"/(?P<id>[^/]+/[^/]+)"
_ROUTES = [
    (r"/api/repos/create", "POST", "create"),
    (r"/api/validate-yaml", "POST", "validate"),
    (rf"/api/{_REPO}", "GET", "info"),
    (rf"/api/{_REPO}/revision/(?P<revision>.+)", "GET", "info"),
    (rf"/api/{_REPO}/tree/(?P<revision>[^/]+)", "GET", "tree"),
    (rf"/api/{_REPO}/preupload/(?P<revision>.+)", "POST", "preupload"),
    (rf"/api/{_REPO}/commit/(?P<revision>.+)", "POST", "post_commit"),
    (rf"/api/{_REPO}/tag/(?P<name>.+)", "POST", "tag"),
    (rf"/api/{_REPO}/tag/(?P<name>.+)", "DELETE", "tag"),
    (r"/cdn/(?P<sha>.+)", "HEAD", "cdn"),
    (r"/cdn/(?P<sha>.+)", "GET", "cdn"),
    (r"/upload/(?P<sha>.+)", "PUT", "upload"),
    *(
        route
        for kind in ("", "/(?P<kind>datasets)")
        for route in (
            (rf"{kind}{_PLAIN}.git/info/lfs/objects/batch", "POST", "batch"),
            (rf"{kind}{_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "HEAD", "resolve"),
            (rf"{kind}{_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "GET", "resolve"),
        )
    ),
]
