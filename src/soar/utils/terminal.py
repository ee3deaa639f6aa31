"""Log messages on the terminal."""

from __future__ import annotations

import logging


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
