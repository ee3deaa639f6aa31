"""Messages to webhooks, against real servers that misbehave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from soar.errors import ConfigError
from soar.utils import webhook
from soar.utils.webhook import Post, check_webhook


@contextmanager
def server(reply: bytes, drip_s: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each request with some bytes, one after another if `drip_s` is above 0."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))
                try:
                    parts = [reply[i : i + 1] for i in range(len(reply))] if drip_s else [reply]
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(drip_s)
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/secret-token", received
    finally:
        listener.close()


def test_a_message_arrives_as_json():
    with server(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, received):
        assert Post(url, {"message": "é"}).wait() == ""
    body = b"".join(received).split(b"\r\n\r\n", 1)
    assert body[0].startswith(b"POST /secret-token")
    assert not body[1] or json.loads(body[1]) == {"message": "é"}


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Again", "404 Not Found", "500 No"]
)
def test_a_redirect_isnt_followed_and_only_2xx_is_a_success(status):
    with (
        server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (other, followed),
        server(f"HTTP/1.1 {status}\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n".encode()) as (
            url,
            _,
        ),
    ):
        problem = Post(url, {}).wait()
    assert problem == f"status {status[:3]}"
    assert not followed


def test_a_reply_that_drips_is_given_up_at_the_deadline(monkeypatch):
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.3)
    with server(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, drip_s=0.02) as (url, _):
        start = time.monotonic()
        assert Post(url, {}).wait() == "no reply within 0.3 s"
        assert time.monotonic() - start < 5


def test_a_problem_never_shows_the_url(monkeypatch):
    problem = Post("http://127.0.0.1:9/secret-token", {}).wait()
    assert problem.startswith("connection failed")
    assert "secret" not in problem


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "data:text/plain,x", "ftp://host/secret", "secret", "http://", "http://[::1/secret",
     "https://host/secret\n", "http://host:99999/secret", "http://é/secret"],
)  # fmt: skip
def test_what_is_no_url_of_a_webhook_is_refused_without_a_word_of_it(url):
    with pytest.raises(ConfigError, match="valid: a URL such as") as raised:
        check_webhook(url)
    assert "secret" not in str(raised.value)
