"""Options of commands: `--config`, `--print-config`, presets, and names of earlier versions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
import yaml
from annotated_types import Ge

from soar.cli import COMMANDS, main
from soar.cli.options import FLAT, OUT, PRESET, default_of, parse, saved_config
from soar.cli.renamed import COMMANDS as OLD_COMMANDS
from soar.cli.renamed import OPTIONS as OLD_OPTIONS
from soar.errors import ConfigError

REQUIRED = {
    "collect": ["--store", "s"],
    "judge": ["--store", "s"],
    "improve": ["--out", "o"],
    "train": ["gcbc", "--store", "s", "--out", "o"],
    "train critic": ["--store", "s", "--out", "o"],
    "reproduce steering": ["--steered-by", "c"],
    "vlm label": ["--store", "s", "--labels", "l.csv"],
    "vlm calibrate": ["--store", "s"],
    "subgoals finetune": ["--store", "s", "--out", "o"],
    "sim demos": ["--store", "s"],
}
RUNS = [c for c, entry in COMMANDS.items() if entry.runs and c != "subgoals train"]


@dataclass(frozen=True)
class Fit:
    steps: int = 5
    rate: float = 0.1


@dataclass(frozen=True)
class Training:
    size: Literal["small", "large"] = "small"
    fit: Fit = field(default_factory=Fit)


def preset(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"config": Training(fit=Fit(100))} if given["preset"] == "long" else {}


@default_of(preset)
def train(
    kind: Annotated[Literal["a", "b"], tyro.conf.Positional],
    out: Annotated[Path, OUT],
    config: Annotated[Training, FLAT],
    preset: Annotated[str, PRESET] = "short",
    trials: Annotated[int, Ge(1)] = 3,
) -> None:
    """Train.

    Example: `soar train a --out o`.

    Args:
        kind: its kind.
        out: folder.
        config: model and optimization.
        preset: "short" or "long".
        trials: trials.
    """


def parsed(*args: object) -> dict[str, Any]:
    values = parse(train, "soar train", [str(a) for a in args], configurable=True)
    assert values is not None
    return values


def lines(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_options_have_the_names_of_fields():
    values = parsed("b", "--out", "o", "--fit.steps", 7, "--size", "large")
    assert (values["kind"], values["out"]) == ("b", Path("o"))
    assert values["config"] == Training("large", Fit(7))


def test_a_file_provides_defaults_that_options_override(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("kind: b\nout: there\nsize: large\nfit: {steps: 8}\n")
    assert parsed("--config", file)["config"] == Training("large", Fit(8))
    values = parsed("a", "--config", file, "--fit.rate", 0.5)
    assert (values["kind"], values["out"]) == ("a", Path("there"))
    assert values["config"] == Training("large", Fit(8, 0.5))


def test_a_preset_chooses_defaults_below_the_file_and_the_options(tmp_path):
    file = tmp_path / "c.yaml"
    assert parsed("a", "--out", "o", "--preset", "long")["config"] == Training(fit=Fit(100))
    file.write_text("preset: long\nfit: {rate: 0.2}\n")
    assert parsed("a", "--out", "o", "--config", file)["config"].fit == Fit(100, 0.2)
    chosen = parsed("a", "--out", "o", "--config", file, "--fit.steps", 2)
    assert chosen["config"].fit == Fit(2, 0.2)


def test_a_printed_configuration_has_no_preset_and_loads_as_the_same(tmp_path, capsys):
    command = ("a", "--out", "o", "--preset", "long", "--trials", "4", "--print-config")
    assert parse(train, "soar train", command, configurable=True) is None
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == {
        "kind": "a", "out": "o", "size": "small", "fit": {"steps": 100, "rate": 0.1}, "trials": 4,
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(text)
    again = parsed("--config", tmp_path / "c.yaml")
    assert again["config"] == Training(fit=Fit(100))
    assert again["trials"] == 4


def test_a_saved_configuration_does_not_name_the_folder_it_is_in(tmp_path):
    parsed("a", "--out", tmp_path, "--trials", 9)
    with saved_config(train, tmp_path):
        assert "trials: 9" in (tmp_path / "config.yaml").read_text()
    assert parsed("--config", tmp_path / "config.yaml", "--out", "other")["trials"] == 9


def test_a_saved_configuration_is_replaced_only_by_a_command_that_succeeds(tmp_path):
    parsed("a", "--out", tmp_path, "--trials", 9)
    with saved_config(train, tmp_path):
        pass
    parsed("a", "--out", tmp_path, "--trials", 8)
    with pytest.raises(ConfigError), saved_config(train, tmp_path):
        raise ConfigError("the folder holds a run with other settings")
    assert "trials: 9" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("a",), "--out PATH"),
        (("a", "--out"), "--out"),
        (("c", "--out", "o"), "invalid choice 'c'"),
        (("a", "--out", "o", "--fit.step", "3"), "Perhaps you meant: --fit.steps"),
        (("a", "--out", "o", "--fit.steps", "many"), "--fit.steps"),
        (("a", "--out", "o", "--trials", "0"), "valid: a whole number of at least 1"),
        (("a", "--out", "o", "--fit.rate", "nan"), "rate is not valid; valid: a finite number"),
    ],
)
def test_a_wrong_option_is_one_line(args, message):
    with pytest.raises(ConfigError) as error:
        parsed(*args)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert ".;" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: {step: 3}", "c.yaml: fit: unknown key 'step', did you mean 'steps'"),
        ("sise: large", "c.yaml: unknown key 'sise', did you mean 'size'"),
        ("trials: '3'", "c.yaml: trials: '3' is not valid; valid: a whole number of at least 1"),
        ("[1, 2]", "c.yaml: [1, 2] is not valid"),
        ("fit: [", "c.yaml: while parsing"),
    ],
)
def test_a_wrong_file_is_one_line(text, message, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        parsed("a", "--out", "o", "--config", tmp_path / "c.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_help_shows_the_defaults_of_the_preset_and_the_example(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(train, "soar train", ["a", "--preset", "long", "--help"], configurable=True)
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 100)" in shown
    assert "Example: `soar train a --out o`." in shown
    assert "--print-config" in shown


@pytest.mark.parametrize("command", RUNS)
def test_every_command_prints_a_configuration_that_repeats_it(command, tmp_path, capsys):
    main([*command.split(), *REQUIRED.get(command, []), "--print-config"])
    first = capsys.readouterr().out
    (tmp_path / "config.yaml").write_text(first)
    main([*command.split(), "--config", str(tmp_path / "config.yaml"), "--print-config"])
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("command", RUNS)
def test_every_command_refuses_an_unknown_key_in_one_line(command, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("no_such_option: 1\n")
    error = lines(capsys, *command.split(), "--config", str(tmp_path / "config.yaml"))
    assert "unknown key 'no_such_option'" in error


@pytest.mark.parametrize("command", OLD_COMMANDS)
def test_an_old_command_is_one_line_that_names_the_new_one(command, capsys):
    assert f"is now 'soar {OLD_COMMANDS[command]}'" in lines(capsys, *command.split())


@pytest.mark.parametrize(("command", "old"), [(c, o) for c in OLD_OPTIONS for o in OLD_OPTIONS[c]])
def test_an_old_option_is_one_line_that_names_the_new_one(command, old, capsys):
    new, given = OLD_OPTIONS[command][old], f"{old}steps" if old.endswith(".") else old
    error = lines(capsys, *command.split(), given.replace("-", "_").replace("__", "--", 1), "1")
    assert f"is now {new}" in error


@pytest.mark.parametrize("command", OLD_OPTIONS)
def test_new_names_of_old_options_exist(command, help_of):
    assert all(new in help_of(command) for new in OLD_OPTIONS[command].values())


def test_every_option_of_975160d_exists_or_names_its_successor(help_of):
    file = Path(__file__).parent / "options_of_975160d.json"
    for command, options in json.loads(file.read_text()).items():
        now, renamed = OLD_COMMANDS.get(command, command), OLD_OPTIONS.get(command, {})
        exist = set(re.findall(r"--[a-z][\w.-]*", help_of(now)))
        prefixes = tuple(old for old in renamed if old.endswith("."))
        for option in options:
            gone = option in renamed or (prefixes and option.startswith(prefixes))
            assert gone or option in exist, (command, option)


def test_old_options_of_subcommands_end_with_their_last_part(capsys):
    error = lines(capsys, "improve", "--teach.own-share=0.5")
    assert error.strip().endswith("is now --finetune.own-share")
