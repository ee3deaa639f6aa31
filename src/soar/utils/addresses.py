"""Addresses of servers."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_socket_url(url: str) -> bool:
    """Whether a text is the address of a websocket: ws:// or wss://, a host, and a port where one is named."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not parts.fragment
