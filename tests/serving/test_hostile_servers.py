"""Servers of policies and judges that drip, bloat, nest or repeat the key: one line, in time."""

import gzip
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from soar.errors import BadOutput, ConfigError, ModelUnavailable
from soar.policies.remote.openpi import connect_openpi
from soar.policies.remote.openvla import connect_openvla
from soar.tasks.grammar import task_from_instruction
from soar.types import Observation
from soar.vlm.judges.robometer import Robometer

sys.path.insert(0, str(Path(__file__).parents[1] / "vlm" / "clients"))
import misbehaving as bad

KEY = 'sk-"very secret"'.replace(" ", "-")
FRAME = np.zeros((8, 8, 3), np.uint8)
LIMIT_S = 1.0


def act(url: str) -> None:
    """One request to a server of OpenVLA's kind."""
    policy = connect_openvla(f"{url}#HOSTILE_KEY", timeout_s=LIMIT_S, first_timeout_s=LIMIT_S)
    seen = Observation(FRAME, np.zeros(7, np.float32), 0.0)
    policy.act([seen], ["put the lemon on the plate"], np.random.default_rng(0))


def judge(url: str) -> None:
    """One request to a server of Robometer's kind."""
    task = task_from_instruction("put the lemon on the plate")
    Robometer(url, timeout_s=LIMIT_S).judge_episode(np.stack([FRAME, FRAME]), task)


def connect(url: str) -> None:
    """A connection to a server of openpi's kind."""
    connect_openpi(f"{url.replace('http', 'ws')}#HOSTILE_KEY", first_timeout_s=LIMIT_S)


def message(ask: Callable[[str], None], url: str) -> str:
    """What an error of ours says; "" where the reply was read, as unknown."""
    try:
        ask(url)
    except (ModelUnavailable, BadOutput, ConfigError) as error:
        return str(error)
    return ""


def whole(body: bytes, headers: str = "", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


ESCAPED = "".join(f"\\u{ord(c):04x}" for c in KEY)
REPLIES = {
    "nested": whole(b"[" * 100_000),
    "a bomb": whole(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip\r\n"),
    "no JSON": whole(b"\xff\xfe\x00"),
    "the key": whole(f'"{ESCAPED}"'.encode(), status="401 No"),
    "ragged": whole(b"[[1, 2], [3]]"),
    "digits": whole(b"9" * 5000),
    "nothing": b"",
    "noise": bytes(range(256)) * 10,
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE_KEY", KEY)


@pytest.mark.parametrize("ask", [act, judge, connect])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_any_reply_is_one_line_without_the_key(ask: Callable[[str], None], reply: bytes) -> None:
    def send(connection, _closing):
        connection.sendall(reply)

    with bad.raw_server(send) as url:
        said = message(ask, url)
    assert KEY not in said or ask is judge  # which sends none
    assert "\n" not in said
    assert len(said) < 500


@pytest.mark.parametrize("ask", [act, judge, connect])
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_server_that_drips_is_left_in_time(ask: Callable[[str], None], start: bytes) -> None:
    def drip(connection, closing):
        connection.sendall(start)
        while not closing.wait(0.05):
            connection.sendall(b" ")

    began = time.monotonic()
    with bad.raw_server(drip) as url, pytest.raises((ModelUnavailable, ConfigError)):
        ask(url)
    assert time.monotonic() - began < 12.0


@pytest.mark.parametrize("key", ["schlüssel", "two words", "a\x07b"])
def test_what_is_no_key_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE_KEY", key)
    for make in (
        partial(connect_openpi, "ws://127.0.0.1:1#HOSTILE_KEY"),
        partial(connect_openvla, "http://127.0.0.1:1#HOSTILE_KEY"),
    ):
        with pytest.raises(ConfigError, match="HOSTILE_KEY holds no key"):
            make()
