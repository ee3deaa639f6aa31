"""Notices by webhook, Slack and e-mail, against local servers."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from soar.errors import ConfigError
from soar.rollout.station_config import StationConfig
from soar.utils.config import from_plain, to_plain
from soar.utils.notices import MOST_AN_HOUR, Email, Notices, Slack, Webhook
from soar.utils.webhook import Sending

EVENT = {"time_s": 1.0, "station": "arm1", "kind": "broken", "message": "motor 3 <hot> & stuck"}


@pytest.fixture
def http() -> Iterator[tuple[str, list[Any]]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/T0/secret", received
    server.shutdown()
    server.server_close()


class MailServer(socketserver.ThreadingTCPServer):
    """As much of RFC 5321 as one mail needs; AUTH PLAIN (RFC 4954) takes any password but "wrong"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.lines: list[str] = []


class _MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 fake")
        in_data = False
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            self.server.lines.append(line)
            if in_data:
                in_data = line != "."
                if not in_data:
                    self._say("250 queued")
                continue
            word = line.split(" ")[0].upper()
            if word == "EHLO":
                self._say("250-fake\r\n250 AUTH PLAIN")
            elif word == "AUTH":
                self._say("535 no" if line.endswith("AHVzZXIAd3Jvbmc=") else "235 yes")
            elif word == "DATA":
                in_data = True
                self._say("354 go on")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def email(server: MailServer, **more: Any) -> Email:
    port = server.server_address[1]
    return Email(
        f"127.0.0.1:{port}", "soar@lab.org", ("a@lab.org", "b@lab.org"), encryption="none", **more
    )


def test_a_webhook_gets_the_event_and_slack_its_text(http):
    url, received = http
    notices = Notices([Webhook(url), Slack(url)])
    notices.send(EVENT)
    assert notices.settle() == []
    assert sorted(received, key=len) == [
        {"text": "arm1: broken: motor 3 &lt;hot&gt; &amp; stuck"},
        EVENT,
    ]


def test_a_mail_has_sender_subject_and_text(mail):
    assert email(mail).send(EVENT | {"kind": "broken\nBcc: x@y"}).wait() == ""
    assert "Subject: soar: arm1: broken Bcc: x@y" in mail.lines
    assert "From: soar@lab.org" in mail.lines
    assert [x for x in mail.lines if x.lower().startswith("rcpt")] == [
        "rcpt TO:<a@lab.org>",
        "rcpt TO:<b@lab.org>",
    ]
    assert "Bcc: x@y: motor 3 <hot> & stuck" in mail.lines


def test_the_password_comes_from_the_environment_and_is_shown_nowhere(mail, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "wrong")
    channel = email(mail, user="user", password="$MAIL_PASSWORD")
    problem = channel.send(EVENT).wait()
    assert problem == "connection failed (SMTPAuthenticationError)"
    monkeypatch.setenv("MAIL_PASSWORD", "right")
    assert channel.send(EVENT).wait() == ""
    monkeypatch.delenv("MAIL_PASSWORD")
    notices = Notices([channel])
    notices.send(EVENT)
    assert notices.settle() == ["the environment variable MAIL_PASSWORD of a notice isn't set"]


def test_a_server_without_encryption_is_refused_by_default(mail):
    channel = Email(f"127.0.0.1:{mail.server_address[1]}", "s@x.org", ("a@x.org",))
    assert "SMTPNotSupportedError" in channel.send(EVENT).wait()
    assert not any("DATA" in line for line in mail.lines)


class Kept:
    """A channel that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def send(self, event: Any) -> Sending:
        self.events.append(event)
        return Sending(lambda: "", 1.0)


def test_too_many_notices_are_counted_instead_of_sent():
    now, kept = 0.0, Kept()
    notices = Notices([kept], lambda: now)
    for i in range(MOST_AN_HOUR + 5):
        notices.send(EVENT | {"message": str(i)})
    assert len(kept.events) == MOST_AN_HOUR
    now = 3601.0
    notices.send(EVENT)
    assert kept.events[-1]["left_out"] == 5


def test_the_same_notice_isnt_sent_again_at_once_and_the_end_says_so():
    kept = Kept()
    notices = Notices([kept], lambda: 0.0)
    for _ in range(3):
        notices.send(EVENT)
    assert len(kept.events) == 1
    assert notices.settle() == []
    assert kept.events[-1]["message"].startswith("2 more notices were left out")


def test_channels_stand_in_a_station_file():
    data = {
        "name": "a",
        "robot": "toy",
        "webhook": "https://x.org/1",
        "notices": [
            {"name": "slack", "url": "$SLACK"},
            {"name": "email", "server": "smtp.x.org:587", "sender": "s@x.org", "to": ["a@x.org"]},
        ],
    }
    station = from_plain(StationConfig, data, "file")
    assert [type(c) for c in station.channels] == [Webhook, Slack, Email]
    assert to_plain(station)["notices"][0] == {"name": "slack", "url": "$SLACK"}
    assert "x.org/1" not in repr(station.channels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": "smtp.x.org"}, "valid: HOST:PORT"),
        ({"to": []}, "at least one mail address"),
        ({"to": ["nobody"]}, "valid: NAME@HOST"),
        ({"user": "u", "password": "hunter2"}, r"valid: with a user, \$VARIABLE"),
        ({"encryption": "rot13"}, "'starttls', 'tls' or 'none'"),
    ],
)
def test_a_wrong_mail_is_refused_without_its_password(change, message):
    data = {"name": "email", "server": "h:25", "sender": "s@x.org", "to": ["a@x.org"], **change}
    with pytest.raises(ConfigError, match=message) as raised:
        from_plain(StationConfig, {"name": "a", "robot": "toy", "notices": [data]}, "file")
    assert "hunter2" not in str(raised.value)
