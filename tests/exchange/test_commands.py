"""`soar data import` and `soar data export` as a person uses them, and exports that are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from exchange_parts import make_episode
from slow_export import export

from soar.cli import main
from soar.data.store.lance import open_store
from soar.errors import FileError
from soar.exchange.export import export_episodes
from soar.exchange.lerobot.reader import LeRobotReader
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.types import Query


def run(capsys, *words) -> str:
    main(["data", *map(str, words)])
    return " ".join(capsys.readouterr().out.split())


def refusal(capsys, *words) -> str:
    """The one line of a refused command."""
    with pytest.raises(SystemExit) as exit:
        main(["data", *map(str, words)])
    assert exit.value.code == 2
    text: str = capsys.readouterr().err
    assert len(text.strip().splitlines()) == 1
    return text


def test_there_and_back_on_the_command_line(new_store, tmp_path, capsys):
    outcomes = ("success", "failure", "unknown")
    store = new_store("s", *(make_episode(i, outcome=o) for i, o in enumerate(outcomes)))
    out, back = tmp_path / "out", tmp_path / "back"
    words = ("export", out, "--store", store.path, "--to", "lerobot", "--progress")
    assert "3 episodes, 21 steps" in run(capsys, *words, "--dry-run")
    assert not out.exists()
    assert run(capsys, *words) == f"3 episodes written to {out}"
    assert (out / "sarm_progress.parquet").exists()
    assert run(capsys, *words) == f"0 episodes written to {out} 3 were there"
    said = run(capsys, "import", out, "--store", back, "--dry-run")
    assert "out: lerobot, 3 episodes 3 episodes, 18 steps can be stored" in said
    assert not back.exists()
    run(capsys, "import", out, "--store", back)
    assert [s.id for s in open_store(back).query()] == [s.id for s in store.query()]
    assert "3 were there" in run(capsys, "import", out, "--store", back)
    rlds = run(capsys, "export", tmp_path / "r", "--store", store.path, "--to", "rlds")
    assert "2 episodes written" in rlds
    assert "1 left out: their outcome is unknown" in rlds


def test_wrong_invocations_are_one_line(new_store, tmp_path, capsys):
    path = new_store("s", make_episode()).path
    out = tmp_path / "out"
    wrong = {
        ("export", out, "--store", path, "--to", "rlds", "--video", "av1"): "--video doesn't apply",
        ("export", path, "--store", path, "--to", "lerobot"): "is no export of soar",
        ("export", out, "--store", path, "--to", "lerobot", "--scenes", "9"): "no episode matches",
        ("export", out, "--store", tmp_path, "--to", "lerobot"): "is no episode store",
        ("import", path, "--store", out): "is a store already",
        ("import", tmp_path / "none", "--store", out): "is no folder",
        ("import", tmp_path / "s", "--store", out, "--from", "lerobot"): "info.json is missing",
    }
    for words, message in wrong.items():
        assert message in refusal(capsys, *words)
    assert not out.exists()


def test_damaged_files_of_a_data_set_are_named(new_store, tmp_path, capsys):
    export_episodes(new_store("s", make_episode()), Query(), tmp_path / "d", LeRobotOptions())
    files = [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
    ]
    for name in files:
        path = tmp_path / "d" / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert name in refusal(capsys, "import", tmp_path / "d", "--store", tmp_path / "t")
        path.write_bytes(content)


def test_an_export_survives_kill_9_again_and_again(new_store, tmp_path):
    """Each child dies after an episode or two; in the end the data set is that of an export that wasn't killed."""
    store = new_store("s", *(make_episode(i, steps=9) for i in range(6)))
    out = tmp_path / "out"
    script = Path(__file__).with_name("slow_export.py")
    for _ in range(2):
        words = [sys.executable, script, store.path, out]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.stdout.readline()
            child.kill()
    export(store, out)
    assert [r.id for r in LeRobotReader(out).read()] == [s.id for s in store.query()]
    assert pq.read_table(out / "data")["index"].to_pylist() == list(range(54))
    assert not list(tmp_path.glob("out.*"))


def test_an_export_needs_space_for_new_episodes_alone(new_store, tmp_path, monkeypatch):
    store, out = new_store("s", make_episode(0)), tmp_path / "out"

    def export_all() -> int:
        return export_episodes(store, Query(), out, LeRobotOptions()).exported

    assert export_all() == 1
    monkeypatch.setattr(
        "soar.exchange.staging.shutil.disk_usage", lambda _: SimpleNamespace(free=9)
    )
    assert export_all() == 0
    store.append(make_episode(1))
    with pytest.raises(FileError, match="MB are needed, 0 MB are free"):
        export_all()
