"""Addresses of servers."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_socket_url(url: str) -> bool:
    """Whether a text is the address of a websocket: ws:// or wss://, a host, and a port where one is named."""
    return _is_url(url, ("ws", "wss"))


def is_web_url(url: str) -> bool:
    """Whether a text is the address of a web server: http:// or https://, a host, and a port where one is named."""
    return _is_url(url, ("http", "https"))


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not parts.fragment
