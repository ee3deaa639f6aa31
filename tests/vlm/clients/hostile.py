"""Servers that send bytes as they are: endless headers, broken compression, hostile JSON."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def response(body: bytes, status: str = "200 OK", *headers: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}".encode(), *headers, f"Content-Length: {len(body)}".encode()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def raw_server(
    send: Callable[[socket.socket, threading.Event], None], greet: bool = True
) -> Iterator[str]:
    """Serve `send(connection, closing)` to every connection, after its request unless not `greet`."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if greet:
                connection.recv(1_000_000)
            send(connection, closing)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        closing.set()
        listener.close()


def forever(start: bytes, piece: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Send a beginning, and one piece after another without an end."""

    def send(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(start)
        while not closing.wait(0.02):
            connection.sendall(piece)

    return send
