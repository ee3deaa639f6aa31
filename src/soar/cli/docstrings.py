"""Docstrings of options as running text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import docstring_parser


def description(docstring: str) -> str:
    """Return a command's docstring up to its arguments, each paragraph as one line; examples stay as they are."""
    parts = docstring.split("\n\nArgs:")[0].split("\n\n")
    return "\n\n".join(p if "\n  " in p else " ".join(p.split()) for p in parts)


@contextlib.contextmanager
def running_text() -> Iterator[None]:
    """Let tyro join the lines of an option's docstring in the help.

    It would break before each line that begins with no letter, such as the indented ones of a field's docstring.
    """
    parse = docstring_parser.parse_from_object

    def joined(*given: Any) -> docstring_parser.Docstring:
        found = parse(*given)
        for option in found.params:
            option.description = option.description and " ".join(option.description.split())
        return found

    docstring_parser.parse_from_object = joined  # type: ignore[assignment]
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse
