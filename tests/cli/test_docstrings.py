"""Docstrings of options as running text."""

from __future__ import annotations

from dataclasses import dataclass

import docstring_parser

from soar.cli.docstrings import description, running_text


@dataclass
class Limits:
    """Limits."""

    duration: float = 0.0
    """Duration, where the episodes would take longer
    [min]; 0 for no limit,
    which is the default."""


def test_an_option_is_described_in_one_paragraph():
    with running_text():
        [option] = docstring_parser.parse_from_object(Limits).params
    text = "Duration, where the episodes would take longer [min]; 0 for no limit, which is the default."
    assert option.description == text


def test_paragraphs_of_a_command_are_joined_and_its_examples_are_not():
    examples = "Examples:\n    soar a\n    soar b"
    text = f"Collect\n`soon`.\n\n{examples}\n\nArgs:\n    a: what"
    assert description(text) == f"Collect `soon`.\n\n{examples}"
