"""A server that sends the bytes that it is given, whatever they are."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class RawServer:
    """A listening socket on this machine whose connections all get the same bytes."""

    def __init__(self) -> None:
        self.reply: tuple[bytes, ...] = ()
        """Parts of the reply, each sent at once."""
        self.pause_s = 0.0
        """Pause after each part in seconds."""
        self.requests = 0
        """Number of connections so far."""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.requests += 1
            parts = (self.reply, self.pause_s)
            threading.Thread(target=self._send, args=(connection, *parts), daemon=True).start()

    @staticmethod
    def _send(connection: socket.socket, parts: tuple[bytes, ...], pause_s: float) -> None:
        """Read the request's beginning, send the parts, and wait for the client to leave."""
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2.0)
            connection.recv(65536)
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            if not parts:
                time.sleep(pause_s)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
