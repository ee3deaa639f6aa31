"""The table of commands, their help, and exit codes."""

from __future__ import annotations

import importlib

import pytest

from soar.cli import COMMANDS, main


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(words)
    return int(exit.value.code or 0)


def test_an_unknown_command_is_one_line_with_the_valid_ones(capsys):
    assert run("simm") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no command 'simm'" in error
    assert "sim" in error


def test_an_unknown_command_of_a_group_is_one_line_with_the_valid_ones(capsys):
    assert run("sim", "dance") == 2
    assert "sim sheet" in capsys.readouterr().err


def test_without_arguments_every_command_is_listed(capsys):
    main(())
    shown = capsys.readouterr().out
    assert all(f"soar {command}" in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_summary_and_an_example(command, help_of):
    module, function = COMMANDS[command].target.split(":")
    doc = getattr(importlib.import_module(f"soar.cli.{module}"), function).__doc__
    assert doc
    shown = " ".join(help_of(command).split())
    assert " ".join(doc.split()[:3]) in shown
    assert "Example" in shown


def test_a_users_mistake_is_one_line_and_exit_code_2(capsys):
    assert run("sim", "video", "--scene", "eleven") == 2
    error = capsys.readouterr().err
    assert error.startswith("soar: ")
    assert error.count("\n") == 1
