"""Log messages on the terminal, and the passwords of addresses, which no message shows."""

from __future__ import annotations

import logging
import re

from soar.errors import ConfigError

_USER = re.compile(
    r"(?<=://)(?!\d*/)(?:[^\s/?'\",:]{0,200}:(?!\d+/)[^\s?'\",]{0,200}|[^\s/?'\",]{0,200})@"
)
"""User and password of an address; a password may hold "/", ":" or "@", and what follows a port is none."""


def hide_passwords(text: str) -> str:
    """Replace user and password of each address in a text by "***"."""
    return _USER.sub("***@", text)


def check_no_password(name: str) -> None:
    """Refuse a name with a password, which runs, reports and verdicts would show. Raises ConfigError."""
    if hide_passwords(name) != name:
        raise ConfigError(
            f"'{hide_passwords(name)}' carries a user or password; valid: '#VARIABLE' after the address, the name"
            " of the environment variable that holds the key"
        )


class _Formatter(logging.Formatter):
    """Format of messages that may quote text of others."""

    def format(self, record: logging.LogRecord) -> str:
        # Imported here, as rich takes a moment and most commands log nothing.
        from soar.utils.progress import printable

        return printable(super().format(record))


def log_to_terminal() -> None:
    """Show warnings and errors on standard error, without control characters of others."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
