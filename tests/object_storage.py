"""Object storage on loopback: moto's S3, Google's interface in front of it, and Microsoft's emulator Azurite."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import logging
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal
from urllib.parse import quote

from soar.utils.files import cache_folder

AZURITE = cache_folder() / "envs" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob"
"""Where `make test-exchange` installs it."""
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's account and key, the same everywhere."""
_SIGNED = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, Signature=0"
_count = itertools.count()


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Yield the address of an empty S3."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_environment(address: str) -> dict[str, str]:
    """What the environment says of an S3."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_REGION": "us-east-1",
    }


def new_bucket(address: str) -> str:
    """Create a bucket and return its URL."""
    name = f"bucket-{next(_count)}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")).close()
    return f"s3://{name}"


class Gate:
    """A way to S3 on loopback that can be shut for a while, or let commits in and their answers not out."""

    def __init__(self, address: str) -> None:
        """Listen. `address`: the server's."""
        self._port = int(address.rpartition(":")[2])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._deaf: set[socket.socket] = set()
        self.state: Literal["open", "shut", "deaf"] = "open"
        self.swallowed = 0
        """Number of commits whose answers were lost."""
        Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def shut(self) -> None:
        """End all connections, and refuse new ones until `state` is "open" again."""
        self.state = "shut"
        for one in [*self._open]:
            _end(one)

    def close(self) -> None:
        self.shut()
        _end(self._listening)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.state == "shut":
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            self._open |= {client, server}
            for pair in ((client, server, False), (server, client, True)):
                Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if self.state == "deaf" and data[:4] == b"PUT " and b".manifest" in data[:1000]:
                    self._deaf.add(source)
                if is_answer and target in self._deaf:
                    self.swallowed += 1
                    break
                target.sendall(data)
        for one in (source, target):
            _end(one)
        self._open -= {source, target}


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class GoogleInterface:
    """moto's S3 with the headers of Google's XML interface: objects have generations, and conditions name these.

    It follows Google's documentation; it isn't Google's. Emulators that packages bring lack this interface.
    """

    def __init__(self, s3: Callable[..., Iterable[bytes]]) -> None:
        self._s3 = s3
        self._generations: dict[str, int] = {}
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request (WSGI)."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        with self._lock:
            wanted = environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
            if wanted is not None and int(wanted) != self._generations.get(path, 0):
                start("412 Precondition Failed", [("Content-Length", "0")])
                return [b""]
            if source := environ.pop("HTTP_X_GOOG_COPY_SOURCE", ""):
                environ["HTTP_X_AMZ_COPY_SOURCE"] = source
            environ["HTTP_AUTHORIZATION"] = _SIGNED  # Google's client sends none here
            query = environ["QUERY_STRING"]
            environ["RAW_URI"] = environ["REQUEST_URI"] = quote(path) + (query and f"?{query}")
            answer: list[Any] = []
            body = list(self._s3(environ, lambda *words: answer.extend(words)))
            done = str(answer[0]).startswith("2")
            if done and method == "PUT" and "partNumber" not in environ["QUERY_STRING"]:
                self._generations[path] = time.time_ns()
            if done and method == "DELETE":
                self._generations.pop(path, None)
            answer[1] = [*answer[1], ("x-goog-generation", str(self._generations.get(path, 0)))]
            if method == "PUT" and not any(name.lower() == "etag" for name, _ in answer[1]):
                answer[1].append(("ETag", f'"{self._generations.get(path, 0)}"'))
            start(*answer)
            return body


@contextlib.contextmanager
def google_storage(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the URL of an empty bucket behind `GoogleInterface`, and its environment; `folder` gets credentials."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = GoogleInterface(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    account = folder / "account.json"
    keys = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    account.write_text(json.dumps({"gcs_base_url": address, "disable_oauth": True, **keys}))
    yield new_bucket(address).replace("s3:", "gs:"), {"GOOGLE_SERVICE_ACCOUNT": str(account)}
    server.shutdown()


@contextlib.contextmanager
def azurite() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the URL of an empty container in Azurite, and its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--inMemoryPersistence", "--blobPort", str(port), "--skipApiVersionCheck", "--silent"]
    server = subprocess.Popen(
        ["node", str(AZURITE / "main.js"), *words, "--disableTelemetry"], stdout=subprocess.DEVNULL
    )
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    try:
        _wait_for_container(f"{endpoint}/container")
        yield (
            "az://container",
            {
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
                "AZURE_STORAGE_ENDPOINT": endpoint,
            },
        )
    finally:
        server.kill()
        server.wait()


def _wait_for_container(url: str, timeout_s: float = 60) -> None:
    """Create a container as soon as the server answers."""
    end = time.monotonic() + timeout_s
    while True:
        date = formatdate(usegmt=True)
        name = url.rpartition("/")[2]
        what = f"x-ms-date:{date}\nx-ms-version:2023-11-03\n/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + 12 * "\n" + what
        digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": date,
            "x-ms-version": "2023-11-03",
            "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}",
            "Content-Length": "0",
        }
        request = urllib.request.Request(f"{url}?restype=container", method="PUT", headers=headers)
        try:
            urllib.request.urlopen(request).close()
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
