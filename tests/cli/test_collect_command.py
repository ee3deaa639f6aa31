"""`soar collect`, `judge`, `status`, `pause`, `resume` and `stop` with the toy robot and toy models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soar.cli import main
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.types import Query, Verdict

MODELS = """
vlm: python:soar.robots.toy_models:ToyVLM
subgoals: python:soar.robots.toy_models:ToySubgoals
policy: python:soar.robots.toy_models:ToyPolicy
"""


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "arm1.yaml").write_text("robot: toy\n")
    (tmp_path / "models.yaml").write_text(MODELS)
    return tmp_path


def words(lab: Path, *more: str) -> list[str]:
    station, models = str(lab / "arm1.yaml"), str(lab / "models.yaml")
    store = str(lab / "store")
    return ["collect", "--store", store, "--station", station, "--models", models, *more]


def stored(lab: Path) -> int:
    if not (lab / "store" / "store.json").exists():
        return 0
    return sum(c.attempts for c in open_store(lab / "store").history(Query()).values())


def test_collected_episodes_are_counted_and_shown(lab, capsys):
    main(words(lab, "--episodes", "2"))
    assert "2 episodes stored" in capsys.readouterr().out
    main(["status", "--store", str(lab / "store")])
    shown = capsys.readouterr().out
    assert "arm1" in shown
    assert "move the green block to the left side" in shown


def test_each_episode_names_the_configuration_that_repeats_it(lab):
    main(words(lab, "--episodes", "1", "--noise", "0.25"))
    [summary] = open_store(lab / "store").query()
    config = lab / "store" / "configs" / f"{summary.provenance.config_hash}.yaml"
    (lab / "models.yaml").unlink()
    (lab / "arm1.yaml").unlink()
    main(["collect", "--store", str(lab / "again"), "--config", str(config)])
    [again] = open_store(lab / "again").query()
    assert again.provenance.config_hash == summary.provenance.config_hash
    assert again.instruction == summary.instruction


def test_unknown_verdicts_are_judged(lab, capsys):
    main(words(lab, "--episodes", "2"))
    store = open_store(lab / "store")
    for summary in store.query():
        store.set_verdict(summary.id, Verdict("unknown"))
    main(["judge", "--store", str(lab / "store"), "--models", str(lab / "models.yaml")])
    assert "2 episodes judged: 2 success" in capsys.readouterr().out
    assert {s.verdict.outcome for s in store.query()} == {"success"}


def test_commands_go_to_the_named_stations_or_to_all(lab, capsys):
    main(words(lab, "--episodes", "1"))
    store = str(lab / "store")
    status_folder = StatusFolder(store, "arm1")
    main(["pause", "--store", store])
    assert status_folder.command() == "pause"
    main(["resume", "--store", store, "--station", "arm1"])
    assert status_folder.command() == "run"
    with pytest.raises(SystemExit):
        main(["stop", "--store", store, "--station", "arm9"])
    assert "no station 'arm9'" in capsys.readouterr().err


def test_a_collection_without_an_end_is_refused(lab, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words(lab))
    assert exit.value.code == 2
    assert "--episodes N or --hours H" in capsys.readouterr().err


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_after_the_episode_and_twice_at_once(lab, times):
    command = [sys.executable, "-m", "soar", *words(lab, "--hours", "1")]
    process = subprocess.Popen(command, env={**os.environ, "COLUMNS": "200"})
    deadline = time.monotonic() + 120
    while stored(lab) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    code = process.wait(timeout=60)
    assert code in ({0} if times == 1 else {0, 130})
    store = open_store(lab / "store")
    summaries = list(store.query())
    assert summaries
    assert all(len(store.load(s.id)) == 100 for s in summaries)
    assert StatusFolder(lab / "store", "arm1").status().activity == "stopped"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--scene", "dev13"), "no scene 'dev13'"),
        (("--policy", "gcb"), "packaged models: compact, gcbc, lcbc"),
        (("--subgoals", "compct"), "no checkpoint in compct"),
        (("--vlm", "compct"), "no checkpoint in compct"),
    ],
)
def test_a_mistyped_name_is_refused_before_a_store_is_made(option, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["collect", "--store", str(tmp_path / "s"), "--episodes", "1", *option])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
