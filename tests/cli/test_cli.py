"""What a user types, and what comes back."""

from __future__ import annotations

import importlib

import pytest

from soar.cli import COMMANDS, main


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(words)
    return int(exit.value.code or 0)


def test_an_unknown_command_is_one_line_that_names_the_valid_ones(capsys):
    assert run("simm") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no command 'simm'" in error
    assert "sim" in error


def test_a_word_after_a_group_must_be_one_of_its_commands(capsys):
    assert run("sim", "dance") == 2
    assert "sim sheet" in capsys.readouterr().err


def test_no_words_list_every_command(capsys):
    main(())
    shown = capsys.readouterr().out
    assert all(f"soar {command}" in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_its_help_begins_with_what_it_does(command, capsys):
    target, _ = COMMANDS[command]
    module, function = target.split(":")
    doc = getattr(importlib.import_module(module), function).__doc__
    assert doc
    assert run(*command.split(), "--help") == 0
    assert " ".join(doc.split()[:3]) in " ".join(capsys.readouterr().out.split())


def test_a_users_mistake_ends_in_one_line_and_exit_code_2(capsys):
    assert run("sim", "video", "--scene", "eleven") == 2
    error = capsys.readouterr().err
    assert error.startswith("soar: ")
    assert error.count("\n") == 1
