"""`soar doctor`: a table, a count, and an exit code for scripts."""

from pathlib import Path

import pytest

from soar.cli import main

MODELS = """
vlm: python:soar.robots.toy_models:ToyVLM
subgoals: python:soar.robots.toy_models:ToySubgoals
policy: python:soar.robots.toy_models:ToyPolicy
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "arm1.yaml").write_text("robot: toy\n")
    (tmp_path / "models.yaml").write_text(MODELS)
    store, station, models = (str(tmp_path / n) for n in ("store", "arm1.yaml", "models.yaml"))
    return ["doctor", "--store", store, "--station", station, "--models", models]


def test_a_healthy_lab_passes_and_nothing_is_stored(words, tmp_path, capsys):
    main([*words, "--episodes", "100"])
    shown = capsys.readouterr().out
    assert "17 checks: 0 failed" in shown
    warned = [line for line in shown.splitlines() if line.startswith("warning")]
    assert all(": rate" in line for line in warned)  # of a busy machine
    assert "100 episodes need" in shown
    assert not (tmp_path / "store").exists()


def test_what_fails_is_said_with_advice_and_exit_code_1(words, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*words, "--policy", "nowhere", "--no-move"])
    assert exit.value.code == 1
    shown = capsys.readouterr().out
    assert "no checkpoint in nowhere" in shown
    assert "--subgoals none" in shown
    assert "1 failed, 1 warnings" in shown


def test_a_wrong_file_is_one_line(words, tmp_path, capsys):
    (tmp_path / "arm1.yaml").write_text("robot: r2d2\n")
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    assert "no robot 'r2d2'" in capsys.readouterr().err
