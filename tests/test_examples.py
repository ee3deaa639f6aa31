"""The examples run, each in seconds, and do what they say."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from soar import checkpoint as checkpoints
from soar.cli import main as soar
from soar.sim.scenes.catalog import load_scene
from soar.tasks.questions import parse_question

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)


@pytest.fixture(autouse=True)
def in_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the examples say: `cd examples`."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(EXAMPLES)


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda p: p.name)
def test_every_example_fits_on_a_page_and_says_what_it_shows(path: Path) -> None:
    if path.suffix in (".py", ".yaml"):
        text = path.read_text()
        assert len(text.splitlines()) <= 100
        assert text.startswith('"""' if path.suffix == ".py" else "# ")


def test_a_robot_of_your_own_moves_its_block_to_and_fro() -> None:
    results = load("own_robot")["main"](episodes=3)
    assert [e.verdict.outcome for e in results] == ["success"] * 3
    assert len({e.proposal.task.instruction for e in results}) == 2


def test_a_robot_of_your_own_passes_the_doctor(tmp_path: Path, capsys: Any) -> None:
    files = ["--station", "own_robot.yaml", "--models", "toy_models.yaml"]
    soar(["doctor", "--store", str(tmp_path / "s"), *files, "--vlm", "python:own_vlm:make"])
    shown = capsys.readouterr().out
    assert "colour eyes" in shown
    assert "checks: 0 failed" in shown
    warned = [line for line in shown.splitlines() if line.startswith("warning")]
    assert all(": rate" in line or ": latency" in line for line in warned)  # of a busy machine


def test_eyes_of_your_own_judge_rightly() -> None:
    assert load("own_vlm")["main"](scenes=20) == 1.0


def test_eyes_of_your_own_run_as_a_script() -> None:
    shown = subprocess.check_output([sys.executable, EXAMPLES / "own_vlm.py"], text=True)
    assert "40 of 40 verdicts are right" in shown


def test_eyes_of_your_own_say_what_they_cannot_tell() -> None:
    import numpy as np

    image = np.zeros((8, 8, 3), np.uint8)
    questions = [
        parse_question("Is the drawer open?"),
        parse_question("Is the red cup on the left side?"),
        parse_question("Is there a cup present?"),
    ]
    [answers] = load("own_vlm")["make"]().answer([image], [questions])
    assert [a.p_yes for a in answers] == [None] * 3


def test_subgoals_come_from_a_folder_in_diffusers_format(tmp_path: Path) -> None:
    imagined = load("own_subgoals")["main"](str(tmp_path / "subgoal.png"))
    assert imagined.shape == (1, 256, 256, 3)
    assert (tmp_path / "subgoal.png").exists()


def test_data_is_read_and_trained_on(tmp_path: Path, capsys: Any) -> None:
    policy = load("own_data")["main"](None, tmp_path)
    assert checkpoints.load(policy).kind == "gcbc"
    shown = capsys.readouterr().out
    assert "with Lance: 4 rows" in shown
    assert "trained: step 6" in shown


def test_a_scene_of_your_own_loads() -> None:
    assert len(load_scene(str(EXAMPLES / "kitchen.yaml")).tasks) == 4
