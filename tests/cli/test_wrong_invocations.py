"""Wrong invocations of every command: one line that says what is valid, and exit code 2."""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soar.cli import COMMANDS, main
from soar.cli.improve import _refuse_without_effect
from soar.cli.options import FLAT
from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.rollout.station_config import StationConfig

STORE = Path(__file__).parents[1] / "formats" / "made_by_975160d" / "store"
WRONG = (
    "folder", "file", "/dev/null/x", "x" * 300, "http://[::1/", "list.yaml", "types.yaml", "dots.yaml",
    "..", "chat:m@http://[::1/", "python:os:sep", "-1", "9" * 30, "1e400", "nan", "\udcff", "",
)  # fmt: skip
"""Values that are wrong for most options."""
QUICK = (
    "status", "pause", "resume", "stop", "release", "compare", "report", "data ls", "data show", "data stats",
    "data verify", "data sweep", "data video", "vlm label",
)  # fmt: skip
"""Commands that do nothing that takes long where a value happens to be valid."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STORE, tmp_path / "store")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "types.yaml").write_text("name: 5\nrobot: [1]\n")
    (tmp_path / "dots.yaml").write_text("name: ..\nrobot: toy\n")
    return tmp_path


def invocation(command: str, chosen: str, value: str) -> list[str]:
    """Words of a command whose option `chosen` is `value`, and whose other required options are harmless."""
    module, name = COMMANDS[command].target.split(":")
    words = command.split()
    for option in inspect.signature(
        getattr(importlib.import_module(f"soar.cli.{module}"), name), eval_str=True
    ).parameters.values():
        required = option.default is inspect.Parameter.empty and FLAT not in get_args(
            option.annotation
        )
        if option.name == chosen or (required and option.name != "which"):
            word = value if option.name == chosen else "store" if option.name == "store" else "none"
            positional = "Positional" in str(option.annotation)
            words.append(word if positional else f"--{option.name.replace('_', '-')}={word}")
    return words


def options(command: str) -> list[str]:
    module, name = COMMANDS[command].target.split(":")
    function = getattr(importlib.import_module(f"soar.cli.{module}"), name)
    return [p for p in inspect.signature(function).parameters if p not in ("which", "watch")]


def outcome(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        main(words)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("command", QUICK)
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_wrong_value_of_any_option_ends_in_one_line_and_never_in_a_traceback(
    command, data, folder, capsys, monkeypatch
):
    monkeypatch.setattr("builtins.input", lambda _: "q")
    chosen = data.draw(st.sampled_from(options(command)))
    words = invocation(command, chosen, data.draw(st.sampled_from(WRONG)))
    code, error = outcome(words, capsys)
    assert code in (0, 1, 2)
    assert (code == 2) == error.startswith("soar: ")
    assert code != 2 or error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        ("data ls --store store --limit -1", "at least 0"),
        ("data ls --store store --version 99999999999999999999999999", "64 bits"),
        ("data ls --store store --last -1", "at least 0"),
        ("data sweep --store store --versions-days 1e30", "to 36500"),
        ("status --store store --every-s -1", "from 0.1"),
        ("vlm label --store store --labels l.csv --size -1", "from 2"),
        ("vlm ask file q --vlm chat:m@http://[::1/", "http://HOST/v1"),
        ("report file", "run.json"),
        ("collect --store s --episodes 1 --station dots.yaml", "name"),
        ("collect --store s --episodes 1 --station types.yaml", "text"),
        ("data stats --store " + "x" * 300, "store"),
    ],
)
def test_a_value_out_of_its_range_names_the_range(words, valid, folder, capsys):
    code, error = outcome(words.split(), capsys)
    assert (code, error.count("\n")) == (2, 1)
    assert valid in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate --judge compact", "--judge is for --station"),
        ("evaluate --station arm.yaml --scene 3", "--scenes is for simulated"),
        ("evaluate --station arm.yaml --first-seed 7", "--first-seed is for simulated"),
        ("collect --store s --episodes 1 --station arm.yaml --questions q.yaml", "--questions is for simulated"),
        ("collect --store s --episodes 1 --station arm.yaml --scene 3", "--scene is for simulated"),
        ("data import rlds --store s --from rlds --camera left", "--camera is for LeRobot"),
        ("data import rlds --store s --from rlds --least-confidence 0.5", "is for bridge-raw"),
        ("data import rlds --store s --from soar-logs --contract arm.yaml", "--contract is for LeRobot and RLDS"),
        ("data import rlds --store s --from bridge-raw --contract arm.yaml", "--contract is for LeRobot and RLDS"),
        ("improve --out o --station arm.yaml --collect.questions q.yaml", "--collect.questions is for simulated"),
        ("improve --out o --station arm.yaml --collect.stations 2", "--collect.stations is for simulated"),
        ("improve --out o --station arm.yaml --collect.seed 2", "--collect.seed is for simulated"),
        ("improve --out o --station arm.yaml --scenes 3", "--scenes is for simulated"),
        ("improve --out o --station-trials.starts kept", "--station-trials.starts is for --station"),
        ("train gcbc --store store --out o --own.share 0.2", "give --own.store"),
        ("train critic --store store --out o --own.share 0.2", "give --own.store"),
    ],
)  # fmt: skip
def test_an_option_that_would_not_count_is_refused(words, message, folder, capsys):
    (folder / "arm.yaml").write_text("name: arm1\nrobot: toy\ntasks: [fold the cloth]\n")
    code, error = outcome(words.split(), capsys)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error


def test_the_configuration_that_a_run_on_stations_keeps_is_none_of_those(folder):
    station = StationConfig("arm1", "toy", tasks=("fold the cloth",))
    _refuse_without_effect(RunConfig(stations=(station,), scenes=(station.scene_info.name,)))


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "a/b", "a\nb", "-x", "x" * 300, "\x1b[2J"])
def test_a_stations_name_is_never_another_folder(name):
    with pytest.raises(ConfigError, match="no station's name"):
        StationConfig(name, robot="toy")


@pytest.mark.parametrize("name", ["arm1", "Arm 2", "scene1-arm1", "münchen_3", "v1.2"])
def test_ordinary_names_of_stations_are_valid(name):
    assert StationConfig(name, robot="toy").name == name


def test_a_tilde_is_the_home_folder_and_a_url_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert outcome(["data", "stats", "--store=~/store"], capsys)[0] == 0
    for words in (
        "data stats --store ftp://bucket/x",
        "data stats --store=~nobody-here/x",
        "collect --episodes 1 --store s --station https://bucket/arm.yaml",
    ):
        code, error = outcome(words.split(), capsys)
        assert (code, error.count("\n")) == (2, 1)
    assert not [p for p in folder.iterdir() if p.name[0] in "s~" and p.name != "store"]


def test_a_paused_folder_in_which_no_station_has_collected_is_one_line(folder, capsys):
    for command in ("pause", "resume", "stop", "release"):
        code, error = outcome([command, "--store", "folder"], capsys)
        assert code == 2
        assert "no station has collected here yet" in error


def test_the_doctor_fails_a_file_in_place_of_a_store(folder, capsys):
    (folder / "arm.yaml").write_text("robot: toy\n")
    words = "doctor --store file --station arm.yaml --vlm python:soar.robots.toy_models:ToyVLM"
    words += " --subgoals python:soar.robots.toy_models:ToySubgoals --policy python:soar.robots.toy_models:ToyPolicy"
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 1
    assert "file is no folder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("methods --names hindsight --rounds 2", "--rounds"),
        ("table1 --method critic", "--method"),
        ("appendix-d --trials 3", "--trials"),
        ("appendix-g --fit.steps 3", "--fit"),
        ("proposals --demonstrations 3", "--demonstrations"),
        ("steering --steered-by x --episodes 3", "--episodes"),
    ],
)
def test_an_option_without_effect_in_a_study_is_refused_and_not_in_its_help(
    folder, capsys, words, flag
):
    code, error = outcome(["reproduce", *words.split()], capsys)
    assert code == 2
    assert error.startswith(f"soar: Unrecognized options: {flag}")
    assert error.count("\n") == 1
    assert not (folder / "results").exists()
    with pytest.raises(SystemExit):
        main(["reproduce", words.split()[0], "--help"])
    assert f" {flag} " not in capsys.readouterr().out


def test_a_file_s_option_without_effect_in_a_study_is_refused(folder, capsys):
    (folder / "study.yaml").write_text("trials: 3\n")
    code, error = outcome(["reproduce", "appendix-d", "--config", "study.yaml"], capsys)
    assert (code, error) == (
        2,
        "soar: --trials has no effect here; valid: --collect, --episodes, --scenes, --steps-per-subgoal\n",
    )
