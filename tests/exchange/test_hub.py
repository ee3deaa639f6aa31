"""Publication and use of folders on a Hub: the real client against the endpoints of `fake_hub`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from exchange_parts import make_episode
from fake_hub import FakeHub

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.cli import main
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.registry import policy_spec, subgoals_spec
from soar.types import Outcome
from soar.utils import hub as soar_hub
from soar.utils.config import from_plain, to_plain
from soar.utils.files import local_path

TOKEN = "hf_writes"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    fake = FakeHub()
    monkeypatch.setattr(constants, "ENDPOINT", fake.url)
    template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    online(monkeypatch)
    yield fake
    fake.close()
    soar_hub.hub_folder.cache_clear()
    huggingface_hub.close_session()


def online(monkeypatch, yes: bool = True) -> None:
    """Let the client reach the network or not; it notices when it opens a session."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", not yes)
    huggingface_hub.close_session()
    soar_hub.hub_folder.cache_clear()


def run(capsys, *words) -> str:
    main([*map(str, words)])
    return " ".join(capsys.readouterr().out.split())


def refusal(capsys, *words) -> str:
    """The one line of a refused command, without the token."""
    with pytest.raises(SystemExit) as exit:
        main([*map(str, words)])
    assert exit.value.code == 2
    text: str = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("soar:")]
    assert len(lines) == 1
    assert "hf_" not in text
    return lines[0]


def save(folder: Path, size: int = 3) -> str:
    weights = {"w": torch.arange(float(size))}
    about = {"data": "a store", "step": 7}
    return checkpoints.save(folder, Checkpoint("gcbc", weights, {"width": 1}, provenance=about))


def evaluated(folder: Path, checkpoint: str) -> Path:
    setting = EvalSetting(checkpoint, "gcbc", "none", (("1", "t"),), 4, 0, 1, 20)
    open_evaluation(folder, setting)
    outcomes: tuple[Outcome, ...] = ("success", "failure", "success", "success")
    add_trials(folder, [Trial("1", "t", i, o) for i, o in enumerate(outcomes)])
    return folder


def test_a_checkpoint_goes_out_with_its_card_and_comes_back_as_it_is(hub, tmp_path, capsys):
    id = save(tmp_path / "c")
    results = evaluated(tmp_path / "e", id)
    words = ("hub", "push", tmp_path / "c", "lab/gcbc", "--license", "mit", "--results", results)
    assert "would become hub:lab/gcbc: 4 files" in run(capsys, *words, "--dry-run")
    assert not hub.repos
    said = run(capsys, *words)
    commit = hub.repo("lab/gcbc").refs["main"]
    assert f"gcbc checkpoint {id} is hub:lab/gcbc@{commit}: 4 files" in said
    files = hub.files("lab/gcbc")
    assert files.keys() == {
        ".gitattributes", "README.md", "checkpoint.json", "config.json", "model.safetensors",
    }  # fmt: skip
    card = files["README.md"].decode()
    for words_of_card in (
        "license: mit",
        "pipeline_tag: robotics",
        "| 1 | 75% |",
        "value: 0.75",
        "step: 7",
        id,
    ):
        assert words_of_card in card
    assert f"gcbc checkpoint {id}: hub:lab/gcbc@{commit}" in run(capsys, "hub", "pull", "lab/gcbc")
    assert checkpoints.load(policy_spec("hub:lab/gcbc").folder).id == id
    out = tmp_path / "out"
    assert f"copied to {out}" in run(capsys, "hub", "pull", "hub:lab/gcbc@main", "--out", out)
    assert checkpoints.load(out).id == id
    assert not (out / "model.safetensors").is_symlink()
    assert "exists; name a new folder" in refusal(capsys, "hub", "pull", "lab/gcbc", "--out", out)


def test_the_same_content_is_no_new_commit_and_older_files_go(hub, tmp_path, capsys):
    save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--license", "mit")
    commit = hub.repo("lab/gcbc").refs["main"]
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--license", "mit")
    assert hub.repo("lab/gcbc").refs["main"] == commit
    hub.put("lab/gcbc", {"old.safetensors": b"1" * 9})
    said = run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--license", "mit")
    assert "1 older files removed" in said
    assert "old.safetensors" not in hub.files("lab/gcbc")
    hub.on_commit = lambda: hub.put("lab/gcbc", {"theirs.json": b"{}"})
    save(tmp_path / "c", 4)
    line = refusal(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--license", "mit")
    assert "412 (A commit has happened since" in line
    assert "theirs.json" in hub.files("lab/gcbc")


def test_a_revision_is_what_it_was(hub, tmp_path):
    first, second = (save(tmp_path / "c", size) for size in (3, 4))
    commits = []
    for size in (3, 4):
        save(tmp_path / "c", size)
        main(["hub", "push", str(tmp_path / "c"), "lab/gcbc"])
        commits.append(hub.repo("lab/gcbc").refs["main"])
    hub.repo("lab/gcbc").refs["v1"] = commits[0]
    for name, id in (("@v1", first), (f"@{commits[0]}", first), ("", second), ("@main", second)):
        assert checkpoints.load(local_path(f"hub:lab/gcbc{name}")).id == id
    path = local_path("hub:lab/gcbc@v1")
    pinned = f"hub:lab/gcbc@{commits[0]}"
    assert to_plain({"start": path}, dict[str, Path]) == {"start": pinned}
    assert from_plain(dict[str, Path], {"start": pinned}, "file") == {"start": path}


def test_names_of_generators_keep_their_horizon():
    for name, source, ahead in (
        ("hub:lab/s", "hub:lab/s", 10),
        ("hub:lab/s@16", "hub:lab/s", 16),
        ("hub:lab/s@v1.0", "hub:lab/s@v1.0", 10),
        ("hub:lab/s@v1@16", "hub:lab/s@v1", 16),
    ):
        spec = subgoals_spec(name)
        assert (spec.kind, spec.source, spec.steps_ahead) == ("folder", source, ahead)


def test_programs_and_pickles_stay_where_they_are(hub, capsys, tmp_path):
    bad = {
        "model.py": b"1",
        "pytorch_model.bin": b"1",
        "a/w.pt": b"1",
        "p.pkl": b"1",
        "x.yaml": b"1",
    }
    hub.put("them/m", {**bad, "config.json": b"{}", "a/b.json": b"{}"})
    for words in ((), ("--allow", "*")):
        run(capsys, "hub", "pull", "them/m", *words)
    folder = local_path("hub:them/m")
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"config.json", "b.json"}
    assert not [r for r in hub.requests if any(r.endswith(name) for name in bad)]
    hub.put("them/n", {"config.json": b"{}", "a/b.json": b"{}"})
    assert "1 files" in run(capsys, "hub", "pull", "them/n", "--allow", "a/*")


def test_a_store_goes_out_and_is_trained_on_from_there(hub, new_store, tmp_path, capsys):
    store = new_store("s", *(make_episode(i) for i in range(3)))
    store.tag("v7")
    (store.path / "stations").mkdir()
    (store.path / "stations" / "arm1.json").write_text("{}")
    words = ("hub", "push", store.path, "lab/kitchen", "--license", "cc-by-4.0", "--private")
    assert "store of 3 episodes is hub:lab/kitchen@" in run(capsys, *words)
    assert hub.repo("lab/kitchen", "datasets").private
    files = hub.files("lab/kitchen", "datasets")
    assert not [path for path in files if path.startswith("stations")]
    assert "license: cc-by-4.0" in files["README.md"].decode()
    assert "store of 3 episodes" in run(capsys, "hub", "pull", "datasets/lab/kitchen")
    assert "3" in run(capsys, "data", "verify", "--store", "hub:lab/kitchen")
    there = open_store(local_path("hub:lab/kitchen"), read_only=True)
    assert [s.id for s in there.query()] == [s.id for s in store.query()]
    copy = tmp_path / "copy"
    assert "3 episodes" in run(capsys, "data", "merge", "hub:lab/kitchen", "--out", copy)
    line = refusal(capsys, "data", "sweep", "--store", "hub:lab/kitchen")
    assert "is only read" in line
    assert "soar data merge hub:datasets/lab/kitchen@" in line
    store.append(make_episode(5))
    run(capsys, *words)
    soar_hub.hub_folder.cache_clear()
    assert "store of 4 episodes" in run(capsys, "hub", "pull", "lab/kitchen")


def test_a_lerobot_set_goes_out_with_its_tag_and_is_imported_from_there(
    hub, new_store, tmp_path, capsys
):
    store, out = new_store("s", make_episode(0), make_episode(1)), tmp_path / "out"
    run(capsys, "data", "export", out, "--store", store.path, "--to", "lerobot")
    for _ in range(2):
        run(capsys, "hub", "push", out, "lab/set")
    repo = hub.repo("lab/set", "datasets")
    assert repo.refs["v3.0"] == repo.refs["main"]
    card = hub.files("lab/set", "datasets")["README.md"].decode()
    assert "LeRobot" in card
    assert "data_files: data/*/*.parquet" in card
    said = run(capsys, "data", "import", "hub:lab/set", "--store", tmp_path / "back")
    assert said.startswith("set: lerobot, 2 episodes")
    assert [s.id for s in open_store(tmp_path / "back").query()] == [s.id for s in store.query()]
    run(capsys, "data", "export", tmp_path / "r", "--store", store.path, "--to", "rlds")
    said = run(capsys, "hub", "push", tmp_path / "r", "lab/rlds")
    assert "RLDS data set of 2 episodes" in said
    run(capsys, "data", "import", "hub:lab/rlds", "--store", tmp_path / "back2")


def test_a_foreign_set_is_known_by_its_commit(hub, new_store, tmp_path, capsys):
    out = tmp_path / "out"
    path = new_store("s", make_episode(0)).path
    run(capsys, "data", "export", out, "--store", path, "--to", "lerobot")
    for file in (out / "soar").glob("*.jsonl"):
        file.unlink()
    commit = hub.put(
        "them/set", {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}, "datasets"
    )  # fmt: skip
    run(capsys, "data", "import", "hub:them/set", "--store", tmp_path / "back")
    [summary] = open_store(tmp_path / "back").query()
    assert summary.provenance.code_version == f"hub:datasets/them/set@{commit} v3.0"


def test_faults_are_one_line_each(hub, tmp_path, capsys, monkeypatch):
    save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--private")
    pull, push = ("hub", "pull"), ("hub", "push", tmp_path / "c")
    assert "names nothing on the Hub" in refusal(capsys, *pull, "lab")
    assert "isn't on the Hub, or is private" in refusal(capsys, *pull, "lab/none")
    assert "has no such revision" in refusal(capsys, *pull, "lab/gcbc@v9")
    assert "is no place on the Hub" in refusal(capsys, *push, "lab/gcbc@v9")
    assert "can't be published" in refusal(capsys, "hub", "push", tmp_path, "lab/c")
    assert "evaluates checkpoint x, not" in refusal(
        capsys, *push, "lab/gcbc", "--results", evaluated(tmp_path / "e", "x")
    )
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    assert "isn't permitted with this token" in refusal(capsys, *push, "lab/gcbc")
    assert "isn't permitted with this token" in refusal(capsys, *push, "lab/new")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "isn't permitted with this token" in refusal(capsys, *push, "lab/gcbc")
    monkeypatch.delenv("HF_TOKEN")
    assert "isn't on the Hub, or is private" in refusal(capsys, *pull, "lab/gcbc")
    hub.put("lab/gated", {"config.json": b"{}"})
    hub.repo("lab/gated").gated = True
    assert "is gated: accept its conditions" in refusal(capsys, *pull, "lab/gated")

    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(soar_hub, "_snapshot", full)
    assert "the disk is full; free some space" in refusal(capsys, *pull, "lab/gcbc@v2")


def test_offline_the_cache_is_used_and_nothing_else(hub, tmp_path, capsys, monkeypatch):
    id = save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc")
    run(capsys, "hub", "pull", "lab/gcbc")
    hub.put("lab/other", {"config.json": b"{}"})
    online(monkeypatch, False)
    before = len(hub.requests)
    assert id in run(capsys, "hub", "pull", "lab/gcbc")
    line = refusal(capsys, "hub", "pull", "lab/other")
    assert line == "soar: hub:lab/other isn't in the cache, and HF_HUB_OFFLINE is set"
    assert "needs the Hub, and HF_HUB_OFFLINE is set" in refusal(
        capsys, "hub", "push", tmp_path / "c", "lab/gcbc"
    )
    assert len(hub.requests) == before
    online(monkeypatch)
    hub.close()
    assert id in run(capsys, "hub", "pull", "lab/gcbc")
    assert f"the cache, and {hub.url} can't be reached" in refusal(
        capsys, "hub", "pull", "lab/other"
    )


def test_an_interrupted_download_says_so_and_goes_on(hub, tmp_path, capsys, monkeypatch):
    id = save(tmp_path / "c", 20_000)
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc")
    hub.lengths = [0] * 40
    line = refusal(capsys, "hub", "pull", "lab/gcbc")
    assert "was interrupted" in line
    assert "the same command continues" in line
    hub.lengths = []
    online(monkeypatch)
    assert id in run(capsys, "hub", "pull", "lab/gcbc")


def test_a_changed_file_is_found_when_it_is_pulled(hub, tmp_path, capsys):
    save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc")
    manifest = json.loads(hub.files("lab/gcbc")["checkpoint.json"])
    hub.put("lab/gcbc", {"checkpoint.json": json.dumps({**manifest, "kind": "lcbc"}).encode()})
    assert "its content doesn't match its id" in refusal(capsys, "hub", "pull", "lab/gcbc")


def test_nothing_is_written_to_what_is_on_the_hub(hub, tmp_path, capsys):
    save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc")
    folder = local_path("hub:lab/gcbc")
    with pytest.raises(ConfigError, match=r"hub:lab/gcbc@[0-9a-f]{40} is on the Hub"):
        save(folder)
    with pytest.raises(ConfigError, match="publish it with `soar hub push`"):
        save(Path("hub:lab/gcbc"))


def test_the_environment_alone_is_enough(hub, tmp_path, capsys):
    id = save(tmp_path / "c")
    run(capsys, "hub", "push", tmp_path / "c", "lab/gcbc", "--private")
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    environ = {**os.environ, **home, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    words = [sys.executable, "-m", "soar", "hub", "pull", "lab/gcbc"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert f"gcbc checkpoint {id}: hub:lab/gcbc@" in done.stdout
