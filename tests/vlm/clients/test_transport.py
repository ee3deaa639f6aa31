"""Claims of the transport: it verifies, ends in time, survives any bytes, and shows no secret."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar.errors import ConfigError
from soar.utils import http
from soar.vlm.clients import transport
from soar.vlm.clients.endpoint import EndpointConfig
from soar.vlm.clients.transport import RequestError, Transport

sys.path.insert(0, str(Path(__file__).parent))
import misbehaving as bad

KEY = 'sk-very"secret-123'


def post(url: str, limit_s: float = 20.0, key: str = "", retries: int = 0) -> object:
    client = Transport(url, lambda: key, retries, 0.01)
    return client.post("/x", {}, limit_s, time.monotonic() + limit_s, lambda: None)


def decoded(body: bytes, status: int = 200, retry_after: str = "") -> object:
    return transport._decoded(http.Reply(status, retry_after, body), KEY)


def replied(raw: bytes) -> object:
    with bad.raw_server(lambda connection, _: connection.sendall(raw)) as url:
        return post(url)


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
def test_certificates_are_verified_however_the_scheme_is_written(scheme, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", tmp_path / "key", "-out", tmp_path / "certificate", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    received = []

    def send(connection, _closing):
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                received.append(secure.recv(1000))
                secure.sendall(bad.response(b"{}"))
        except ssl.SSLError:
            pass

    with (
        bad.raw_server(send, greet=False) as url,
        pytest.raises(RequestError, match="connection failed"),
    ):
        post(url.replace("http", scheme).replace("127.0.0.1", "localhost"), key="secret")
    assert not received


HOSTILE = {
    "nested": b"[" * 100_000,
    "nested and closed": b"[" * 900 + b"]" * 900,
    "nested objects": b'{"a":' * 5000,
    "not UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "cut": b'{"a": "b',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_bytes_that_are_no_plain_json_are_a_request_error(body):
    with pytest.raises(RequestError) as error:
        decoded(body)
    assert "\n" not in str(error.value)


def test_huge_numbers_become_floats_and_lone_surrogates_are_replaced():
    assert decoded(b'{"a": %s, "b": -%s}' % (b"9" * 400, b"9" * 5000)) == {
        "a": float("inf"),
        "b": float("-inf"),
    }
    assert decoded(b'{"a\\ud800": "\\udfff!"}') == {"a?": "?!"}


@pytest.mark.parametrize("value", ["²", "９", "-1", "1e9", "nan", "9" * 5000, "", "Wed, 21 Oct"])
def test_any_retry_after_is_a_transient_error(value):
    with pytest.raises(transport._TransientError) as error:
        decoded(b"{}", 429, value)
    assert 0 <= error.value.after_s <= 60


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["error", "choices", "answers", "code", "a"]), inner, max_size=3), max_leaves=6,
).map(lambda v: json.dumps(v).encode()), st.sampled_from([200, 204, 400, 429, 500]), st.text(max_size=4))  # fmt: skip
def test_any_reply_is_a_value_or_a_request_error(body, status, retry_after):
    try:
        value = decoded(body, status, retry_after)
    except RequestError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        json.dumps(value, ensure_ascii=False).encode()


RAW = {
    "no HTTP": b"yes\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad redirect": bad.response(b"{}", "302 Found", b"Location: http://[::1/\xff"),
    "redirect to a host with a port of letters": bad.response(b"{}", "307 X", b"Location: http://a:b/"),
    "bad gzip": bad.response(b"no gzip", "200 OK", b"Content-Encoding: gzip"),
    "unknown encoding": bad.response(b"{}", "200 OK", b"Content-Encoding: br, gzip"),
    "gzip bomb": bad.response(gzip.compress(bytes(30_000_000)), "200 OK", b"Content-Encoding: gzip"),
    "long headers": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000,
    "status 999": bad.response(b"{}", "999 What"),
    "superscript": bad.response(b"{}", "429 X", b"Retry-After: \xb2"),
}  # fmt: skip


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_any_bytes_of_a_server_are_a_request_error(raw):
    with pytest.raises(RequestError) as error:
        replied(raw)
    assert "\n" not in str(error.value)


def test_compression_that_nobody_requested_is_read():
    for name, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        raw = bad.response(pack(b'{"a": 1}'), "200 OK", f"Content-Encoding: {name}".encode())
        assert replied(raw) == {"a": 1}


ENDLESS = {
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\nA: ", b"a"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
    "gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99999\r\n\r\n\x1f\x8b", b"\x08"),
}  # fmt: skip


@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_one_deadline_ends_an_exchange_however_slowly_a_server_sends(start, piece):
    with bad.raw_server(bad.forever(start, piece)) as url:
        began = time.monotonic()
        with pytest.raises(RequestError, match="in time"):
            post(url, limit_s=0.3)
        assert time.monotonic() - began < 15  # a busy machine; the server sends for ever


def test_a_process_ends_while_a_request_is_open():
    program = """
import sys, threading
import numpy as np
from soar.types import Question
from soar.vlm.clients.endpoint import EndpointConfig, in_background
from soar.vlm.clients.systemone import SystemOneVLM
vlm = SystemOneVLM(EndpointConfig(sys.argv[1], "m", timeout_s=3000, limit_s=3000))
in_background(vlm.answer, [np.zeros((8, 8, 3), np.uint8)], [[Question("Is it?")]])
while "vlm" not in {t.name for t in threading.enumerate()}: pass
"""
    with bad.raw_server(bad.forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n")) as url:
        ended = subprocess.run([sys.executable, "-c", program, url], timeout=60, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_key_that_is_echoed_with_escapes_is_redacted(status):
    escaped = "".join(f"\\u{ord(c):04x}" for c in KEY)
    body = f'{{"{escaped}": ["{escaped}"], "plain": {json.dumps(KEY)}}}'.encode()
    if status == 200:
        assert decoded(body) == {"***": ["***"], "plain": "***"}
    else:
        with pytest.raises(RequestError) as error:
            decoded(body, status)
        assert "secret" not in str(error.value)
        assert "u0073" not in str(error.value)


@pytest.mark.parametrize("url", [
    "https://user:PASSWORD@example.com/v1", "ftp://user:PASSWORD@example.com", "https://e.com/v1?key=PASSWORD",
    "https://e.com/v1#PASSWORD", "user:PASSWORD@example.com", "http://[::1/PASSWORD", "http://a:PASSWORD/v1",
])  # fmt: skip
def test_an_address_with_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError) as error:
        EndpointConfig(url, "m")
    assert "PASSWORD" not in str(error.value)


@pytest.mark.parametrize(
    "pasted", ["sk-abc123", "hf_abcDEF", "a=b", "AKIAIOSFODNN7EXAMPLE", "a\0b"]
)
def test_a_key_pasted_for_the_name_of_its_variable_is_not_shown(pasted):
    config = EndpointConfig("http://localhost/v1", "m", key_variable=pasted)
    with pytest.raises(ConfigError) as error:
        config.key()
    assert pasted not in str(error.value) + repr(config)


@pytest.mark.parametrize("key", ["schlüssel", "a b", "a\nb", "“quoted”", "\x1b[0m", "\udcff"])
def test_a_key_that_no_header_can_carry_is_one_clear_line(key, monkeypatch):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY") as error:
        EndpointConfig("http://localhost/v1", "m", key_variable="MY_KEY").key()
    assert key not in str(error.value)
