"""Commands and options of earlier versions, and their names now."""

from __future__ import annotations

from collections.abc import Sequence

from soar.errors import ConfigError

COMMANDS = {"subgoals practise": "subgoals finetune"}
"""Renamed commands."""
OPTIONS: dict[str, dict[str, str]] = {
    "tasks questions": {"--book": "--questions", "--model": "--language-model"},
}
"""Renamed options of each command: the new one, or a sentence."""


def check_renamed(command: str, args: Sequence[str]) -> None:
    """Raise ConfigError with the new name of an old one.

    Args:
        command: the command; empty to look for renamed commands.
        args: words of the command line after it.
    """
    if not command:
        if new := COMMANDS.get(" ".join(args[:2])):
            raise ConfigError(f"'soar {' '.join(args[:2])}' is now 'soar {new}'")
        return
    renamed = OPTIONS.get(command, {})
    for arg in args:
        option = arg.split("=", 1)[0].replace("_", "-")
        for old, new in renamed.items():
            if option == old or (old.endswith(".") and option.startswith(old)):
                rest = option.removeprefix(old) if old.endswith(".") else ""
                raise ConfigError(
                    f"'{arg.split('=', 1)[0]}' of 'soar {command}' is now {new}{rest}"
                )
