"""The command line of every command: a wrong word ends in one line and exit code 2, and nothing runs."""

from __future__ import annotations

import importlib
from argparse import Action
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tyro

from soar.cli import COMMANDS, main, options

NUMBERS = ("INT", "FLOAT")
WRONG = (
    "text",
    "-1",
    "9" * 5000,
    "1e999",
    "nan",
    "\x00",
    "\udcff",
    "",
    "x" * 300,
    "[1, 2]",
    "/dev/null/x",
    "\x1b[2J",
)
"""Values that are wrong for most options: of another type, out of range, huge, not text, empty, no file."""
MANY = 20
"""Number of options from which a command, whose parser then takes long, is tried with one value instead of two."""


@cache
def actions(command: str) -> tuple[Action, ...]:
    """Options of a command as its parser declares them, `--config` among them, help not."""
    module, name = COMMANDS[command].target.split(":")
    function = getattr(importlib.import_module(f"soar.cli.{module}"), name)
    parser = tyro.extras.get_parser(
        options._described(function, COMMANDS[command].runs, {}),
        config=(tyro.conf.AvoidSubcommands,),
        registry=options._registry(),
    )
    return tuple(a for a in parser._actions if a.dest != "help")


def metavar(action: Action) -> str:
    return str(action.metavar or "")


def with_value(command: str, action: Action, value: str) -> list[str]:
    """Words of a command with a value for one option; other required ones have harmless values."""
    words = command.split()
    for other in actions(command):
        if other is action or other.required:
            word = value if other is action else metavar(other).strip("{}[]").split(",")[0]
            flag = other.option_strings[:1]
            words += [f"{flag[0]}={word}"] if flag else [word]
    return words


@pytest.fixture
def tried(monkeypatch, tmp_path, capsys):
    """A function that parses words, never runs the command, and returns the exit code and standard error."""
    parse = options.parse

    def parse_only(*args: Any, **kwargs: Any) -> None:
        parse(*args, **kwargs)

    monkeypatch.setattr(options, "parse", parse_only)
    monkeypatch.chdir(tmp_path)

    def attempt(words: list[str]) -> tuple[int, str]:
        try:
            main(words)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return attempt


def check_refused(found: tuple[int, str], words: list[str]) -> None:
    code, error = found
    shown = [w[:60] for w in words]
    assert code == 2, shown
    assert error.startswith("soar: "), (shown, error)
    assert error.count("\n") == 1, (shown, error)
    assert all(c.isprintable() for c in error[:-1]), (shown, error)
    assert len(error) < 2000, shown


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_of_any_command_is_one_line(command, tried):
    words = [*command.split(), "--no-such-option=1"]
    check_refused(tried(words), words)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "plugins"])
def test_a_wrong_value_of_any_command_is_one_line_or_is_taken(command, tried):
    """The options and the values take turns, so that all commands together try each value several times."""
    given = [a for a in actions(command) if a.nargs != 0]
    tries = 1 if len(given) >= MANY else 2
    for turn in range(tries):
        at = list(COMMANDS).index(command) + turn * 5
        action, value = given[at % len(given)], WRONG[at % len(WRONG)]
        words = with_value(command, action, value)
        found = tried(words)
        certain = value == "text" and metavar(action).startswith((*NUMBERS, "{True"))
        if found[0] or certain:
            check_refused(found, words)


@pytest.mark.parametrize("command", ["data ls", "status", "robot host", "vlm ask", "sim video"])
def test_an_option_without_its_value_is_one_line(command, tried):
    last = [a for a in actions(command) if a.option_strings and a.nargs == 1][-1]
    words = [*command.split(), last.option_strings[0]]
    check_refused(tried(words), words)


def test_nothing_is_written_while_words_are_parsed(tried):
    for command in ("collect", "train", "data merge"):
        tried(with_value(command, actions(command)[0], "folder"))
    assert not list(Path.cwd().iterdir())
