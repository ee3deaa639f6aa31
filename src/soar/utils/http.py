"""One HTTP exchange with one deadline, however slowly the server sends, and a limit of the reply's size.

Certificates are always verified, and redirects are not followed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import httpx

LARGEST_REPLY = 8_000_000
"""Most bytes of a reply, also after decompression."""


class ExchangeError(Exception):
    """There is no reply; the message is one short line without a word of the server's."""

    def __init__(self, reason: str, *, passes: bool) -> None:
        """`passes`: whether another attempt may help."""
        super().__init__(reason)
        self.passes = passes


class Reply(NamedTuple):
    """A server's reply."""

    status: int
    retry_after: str
    """The header Retry-After; "" without one."""
    body: bytes


def exchange(url: str, data: bytes | None, headers: Mapping[str, str], limit_s: float) -> Reply:
    """Post data, or get a page for None, in a thread without an event loop. Raises ExchangeError."""
    plain = {"Accept-Encoding": "identity", **headers}
    try:
        return asyncio.run(asyncio.wait_for(_exchange(url, data, plain), max(0.01, limit_s)))
    except ExchangeError:
        raise
    except TimeoutError:
        raise ExchangeError("no reply in time", passes=True) from None
    except Exception as error:  # noqa: BLE001 (libraries raise many types at hostile bytes)
        kind = type(error).__name__
        raise ExchangeError(f"connection failed ({kind})", passes=True) from None


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def _exchange(url: str, data: bytes | None, headers: Mapping[str, str]) -> Reply:
    """Send one request, and read the reply up to a limit of its size."""
    method = "GET" if data is None else "POST"
    async with (
        httpx.AsyncClient(verify=_certificates(), timeout=None) as client,
        client.stream(method, url, content=data, headers=headers) as reply,
    ):
        body = bytearray()
        async for part in reply.aiter_raw():
            body += part
            if len(body) > LARGEST_REPLY:
                raise _too_large()
        encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
        after = reply.headers.get("Retry-After", "")
        return Reply(reply.status_code, after, _plain(bytes(body), encoding))


def _plain(body: bytes, encoding: str) -> bytes:
    """A body without compression, which some proxies add unasked; limited in size."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise ExchangeError("the reply is compressed, which wasn't requested", passes=False)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    plain = decoder.decompress(body, LARGEST_REPLY)
    if decoder.unconsumed_tail:
        raise _too_large()
    return plain


def shown(body: bytes, key: str, most: int = 200) -> str:
    """The beginning of a reply in one line for a message, without the key however it is escaped."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    text = text.encode("utf-8", "replace").decode()
    return " ".join((text.replace(key, "***") if key else text).split())[:most]


def _too_large() -> ExchangeError:
    return ExchangeError(f"the reply is larger than {LARGEST_REPLY} bytes", passes=False)
