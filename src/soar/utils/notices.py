"""Notices to people: one small interface for a webhook, Slack and e-mail, sent in the background.

A secret may stand in an environment variable, "$VARIABLE". No message shows one.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

from soar.errors import ConfigError
from soar.utils.config import OneOf
from soar.utils.files import Json
from soar.utils.webhook import Post, Sending, check_webhook

Event: TypeAlias = Mapping[str, Json]
"""Texts "station", "kind" and "message", and more."""

MOST_AN_HOUR = 10
"""Notices of one station in any hour; the others are left out, and counted in the next one."""
REPEAT_S = 600.0
"""Time in seconds for which the same notice isn't sent again."""
_MAIL_S = 15.0
"""Time limit of a connection to a mail server in seconds."""


@runtime_checkable
class NoticeChannel(Protocol):
    """A way to a person."""

    def send(self, event: Event) -> Sending:
        """Begin to send. Raises ConfigError: an environment variable isn't set, or not a valid one."""


@dataclass(frozen=True)
class Webhook:
    """A JSON POST of the whole event."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_url(self.url)

    def send(self, event: Event) -> Sending:
        """Begin to send. Raises ConfigError."""
        return Post(_secret(self.url), event)


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack, or of what understands the same: Mattermost, Rocket.Chat, Discord's `/slack`."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_url(self.url)

    def send(self, event: Event) -> Sending:
        """Begin to send. Raises ConfigError."""
        text = _text(event).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return Post(_secret(self.url), {"text": text})


@dataclass(frozen=True)
class Email:
    """A mail through an SMTP server."""

    server: str
    """HOST:PORT."""
    sender: str
    to: tuple[str, ...]
    user: str = ""
    """Name at the server; empty to send without."""
    password: str = field(default="", repr=False)
    """"$VARIABLE": the environment variable with the password."""
    encryption: Literal["starttls", "tls", "none"] = "starttls"

    def __post_init__(self) -> None:
        host, _, port = self.server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"server is {self.server!r:.80}; valid: HOST:PORT")
        for address in (self.sender, *self.to):
            if address.count("@") != 1 or not address.isprintable() or " " in address:
                raise ConfigError(f"{address!r:.80} is no mail address; valid: NAME@HOST")
        if not self.to:
            raise ConfigError("to is empty; valid: at least one mail address")
        if bool(self.user) != bool(self.password) or (self.password and self.password[0] != "$"):
            raise ConfigError(
                "password is not valid; valid: with a user, $VARIABLE with the password"
            )

    def send(self, event: Event) -> Sending:
        """Begin to send. Raises ConfigError."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Subject"] = " ".join(f"soar: {event['station']}: {event['kind']}".split())
        mail.set_content(_text(event))
        password = _secret(self.password)
        return Sending(lambda: self._deliver(mail, password), _MAIL_S)

    def _deliver(self, mail: EmailMessage, password: str) -> None:
        host, _, port = self.server.rpartition(":")
        if self.encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, int(port), timeout=_MAIL_S, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, int(port), timeout=_MAIL_S)
        with server:
            if self.encryption == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self.user:
                server.login(self.user, password)
            server.send_message(mail)


CHANNELS: dict[str, type] = {"webhook": Webhook, "slack": Slack, "email": Email}
Channel: TypeAlias = Annotated[Webhook | Slack | Email, OneOf(CHANNELS)]


class Notices:
    """Notices of one station, through all of its channels, and not too many of them."""

    def __init__(
        self, channels: Sequence[NoticeChannel], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._channels, self._now = tuple(channels), now
        self._sent: deque[tuple[float, str]] = deque()
        """Time and text of the notices of the last hour."""
        self._left_out = 0
        self._sending: list[Sending] = []
        self._problems: list[str] = []
        self._last: Event = {}

    def send(self, event: Event) -> None:
        """Begin to send an event, unless there were too many, or the same one just now."""
        now, text = self._now(), f"{event['kind']}: {event['message']}"
        while self._sent and self._sent[0][0] <= now - 3600:
            self._sent.popleft()
        again = any(text == old and at > now - REPEAT_S for at, old in self._sent)
        if again or len(self._sent) >= MOST_AN_HOUR:
            self._left_out += 1
            return
        self._sent.append((now, text))
        more, self._left_out = self._left_out, 0
        self._send(event if not more else {**event, "left_out": more})

    def settle(self) -> list[str]:
        """Say how many notices were left out, wait for all, and return what went wrong, without secrets."""
        if self._left_out and self._sent:
            text = f"{self._left_out} more notices were left out; `soar status` shows the latest"
            self._left_out = 0
            self._send({**self._last, "kind": "left out", "message": text})
        self._problems += [problem for s in self._sending if (problem := s.wait())]
        problems, self._sending, self._problems = self._problems, [], []
        return problems

    def _send(self, event: Event) -> None:
        self._last = event
        for channel in self._channels:
            try:
                self._sending.append(channel.send(event))
            except ConfigError as error:
                self._problems.append(str(error))


def _text(event: Event) -> str:
    more = f" (and {event['left_out']} notices before it)" if event.get("left_out") else ""
    return f"{event['station']}: {event['kind']}: {event['message']}{more}"


def _check_url(url: str) -> None:
    if not url.startswith("$"):
        check_webhook(url)


def _secret(text: str) -> str:
    """Return the value of "$VARIABLE", any other text as it is. Raises ConfigError: it isn't set."""
    if not text.startswith("$"):
        return text
    value = os.environ.get(text[1:], "")
    if not value:
        raise ConfigError(f"the environment variable {text[1:]:.80} of a notice isn't set")
    return value
