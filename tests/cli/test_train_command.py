"""`soar train`, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint
from soar.cli import main
from soar.data.store.lance import open_store
from soar.types import Episode, Provenance, Verdict


def fill(folder: Path, episodes: int = 4, steps: int = 6) -> Path:
    rng = np.random.default_rng(0)
    store = open_store(folder, create=True)
    for i in range(episodes):
        store.append(
            Episode(
                instruction="put the spoon in the pot",
                actions=rng.normal(size=(steps, 7)).astype(np.float32),
                commanded=np.zeros((steps, 7), np.float32),
                images=rng.integers(0, 256, (steps + 1, 64, 64, 3), dtype=np.uint8),
                states=np.zeros((steps + 1, 7), np.float32),
                times_s=np.arange(steps + 1) * 0.2,
                subgoals=(),
                verdict=Verdict("success" if i % 2 else "failure"),
                provenance=Provenance("station", "bridge", "a", seed=i, started_s=float(i)),
            )
        )
    return folder


def run(*args: object) -> None:
    main([str(a) for a in args])


def test_debug_trains_from_a_store_to_a_checkpoint_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, out = fill(tmp_path / "store"), tmp_path / "run"
    command = ("train", "gcbc", "--preset", "debug", "--store", store, "--out", out)
    run(*command)
    first = capsys.readouterr().out
    assert f"checkpoint {checkpoint.load(out, 'gcbc').id} in {out}: step 6" in first
    assert list((out / "tensorboard").glob("events*"))
    opened, made = open_store(store), checkpoint.load(out)
    version = made.provenance["mixture"]["pretraining"]["store_version"]
    assert opened.index.open().tags.list()[made.id]["version"] == version
    run(*command)
    assert "step 6" in capsys.readouterr().out
    assert len((out / "log.jsonl").read_text().splitlines()) == 6


def test_a_runs_folder_holds_the_configuration_that_repeats_it(tmp_path: Path) -> None:
    store, out, again = fill(tmp_path / "store"), tmp_path / "run", tmp_path / "again"
    run("train", "gcbc", "--preset", "debug", "--store", store, "--out", out, "--fit.seed", 3)
    run("train", "--config", out / "config.yaml", "--out", again)
    assert (again / "config.yaml").read_text() == (out / "config.yaml").read_text()
    first, second = (
        [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (out, again)
    )
    assert first == second
    assert checkpoint.load(again).config == checkpoint.load(out).config


def test_the_robots_own_episodes_are_mixed_in_as_the_paper_does(tmp_path: Path) -> None:
    store, own = fill(tmp_path / "store"), fill(tmp_path / "own", episodes=2)
    run("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "first")
    run(
        *("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "second"),
        *("--own.store", own, "--own.upsample", 2, "--start", tmp_path / "first"),
    )
    provenance = checkpoint.load(tmp_path / "second").provenance
    autonomous = provenance["mixture"]["autonomous"]
    assert autonomous["share"] == pytest.approx(0.5)
    assert autonomous["episodes"] == 1, "failures aren't cloned"
    assert autonomous["sum_steps"] == 2
    assert autonomous["goals"] == {"name": "uniform", "low": 0, "high": 12}
    assert provenance["started_from"] == checkpoint.load(tmp_path / "first").id
    logged = json.loads((tmp_path / "second" / "log.jsonl").read_text().splitlines()[0])
    assert logged["share/autonomous"] + logged["share/pretraining"] == pytest.approx(1)


def test_a_user_s_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = fill(tmp_path / "store", episodes=1)
    common = ("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "run")
    for wrong, message in [
        (("--scenes", "nowhere"), "no episode of"),
        (("--start", tmp_path), "no checkpoint in"),
        (("--fit.save-every", 3, "--fit.log-every", 2), "multiple of log_every"),
    ]:
        with pytest.raises(SystemExit) as stop:
            run(*common, *wrong)
        assert stop.value.code == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert len(error.splitlines()) == 1


def test_corrections_of_episodes_in_which_nothing_is_known_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, own = fill(tmp_path / "store"), fill(tmp_path / "own", episodes=2)
    command = ("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "out")
    for more, why in (
        ((), "14 images of the arm; valid: at least 200"),
        (("--own.query.rounds", 7), "holds no such episodes"),
    ):
        with pytest.raises(SystemExit):
            run(*command, "--own.store", own, "--own.corrections", "compact", *more)
        assert why in capsys.readouterr().err
