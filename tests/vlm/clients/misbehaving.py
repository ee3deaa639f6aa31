"""A small HTTP server on loopback that answers well or badly, as configured."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """`behave(handler, body, n)` answers request number n; what came in is kept in `seen`."""

    daemon_threads = True

    def __init__(self, behave: Callable[[Handler, Any, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.seen: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append(body)
            server.headers.append(dict(self.headers))
            number = len(server.seen) - 1
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            server.behave(self, body, number)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.at_once -= 1

    def reply(self, value: Any, status: int = 200, kind: str = "application/json", **headers: str):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(behave: Callable[[Handler, Any, int], None]) -> Iterator[Server]:
    server = Server(behave)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


# How to answer well, for each sort of endpoint, P(yes) = 0.75 -------------------------------------------


def good(handler: Handler, body: Any, n: int = 0) -> None:
    handler.reply(good_reply(handler.path, body))


def good_reply(path: str, body: Any) -> Any:
    usage = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}
    if path.endswith("/systemone"):
        return {"answers": {k: {"type": "noul", "noul": 0.75} for k in body["questions"]}, "usage": usage}  # fmt: skip
    if path.endswith("/decisions"):
        answers = [
            {"type": "predicate", "name": q["name"], "probability": 0.75} for q in body["questions"]
        ]
        return {"answers": answers, "usage": usage, "model": body["model"]}
    return {"choices": [{"message": {"role": "assistant", "content": said(body)}}], "usage": usage}


def said(body: Any) -> str:
    """Yes to everything in a chat."""
    schema = body.get("response_format")
    if schema is None:
        return "Yes"
    return json.dumps(dict.fromkeys(schema["json_schema"]["schema"]["required"], "yes"))


# And badly ----------------------------------------------------------------------------------------------


def hang(handler: Handler, body: Any, n: int) -> None:
    handler.server.closing.wait(60)


def drip(handler: Handler, body: Any, n: int) -> None:
    """One byte at a time, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def cut(handler: Handler, body: Any, n: int) -> None:
    """Promise much, say little, hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"answers": ')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def drop(handler: Handler, body: Any, n: int) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def html(handler: Handler, body: Any, n: int) -> None:
    handler.reply(b"<html><body>yes, please log in</body></html>", kind="text/html")


def garbage(handler: Handler, body: Any, n: int) -> None:
    handler.reply(b"\xff\xfe{yes yes", kind="application/json")


def status(code: int) -> Callable[[Handler, Any, int], None]:
    def behave(handler: Handler, body: Any, n: int) -> None:
        handler.reply({"error": {"message": "yes, that failed"}}, code)

    return behave


def wrong_shape(handler: Handler, body: Any, n: int) -> None:
    handler.reply({"answer": "yes", "yes": True})


def too_few(handler: Handler, body: Any, n: int) -> None:
    """All the answers but the last; nameless, so that nobody can tell which one is missing."""
    reply = good_reply(handler.path, body)
    if "choices" in reply:
        reply["choices"][0]["message"]["content"] = "yes, yes"
    elif isinstance(reply["answers"], dict):
        reply["answers"].popitem()
    else:
        reply["answers"] = [{**a, "name": None} for a in reply["answers"][:-1]]
    handler.reply(reply)


def refuse(handler: Handler, body: Any, n: int) -> None:
    reply = good_reply(handler.path, body)
    if "choices" in reply:
        reply["choices"][0]["message"] = {"content": None, "refusal": "I can't say yes or no."}
    elif isinstance(reply["answers"], dict):
        reply["answers"] = {k: {"type": "refusal"} for k in reply["answers"]}
    else:
        reply["answers"] = [{"type": "refusal", "name": a["name"]} for a in reply["answers"]]
    handler.reply(reply)


# And in bytes: endless headers, broken compression, hostile JSON -----------------------------------------


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
