"""A store in object storage: interrupted and concurrent writers, repair, copies, refusals; checkpoints there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.cli import main
from soar.data.frame_cache import build_frames
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import sweep, verify
from soar.errors import CheckpointError, ConfigError, FileError, StoreError
from soar.exchange.hub.push import push_to_objects
from soar.registry import policy_spec
from soar.types import Query
from soar.utils import objects
from soar.utils.config import to_plain
from soar.utils.files import local_path, write_bytes
from soar.utils.objects import Changed, ObjectPath


@pytest.fixture
def remote(bucket) -> LanceStore:
    return open_store(f"{bucket}/store", create=True, codec="png")


def problems(store: LanceStore) -> list[str]:
    return [f"{f.part}: {f.problem}" for f in verify(store, workers=1) if f.problem]


def run(capsys, *words) -> str:
    main([*map(str, words)])
    return " ".join(capsys.readouterr().out.split())


def test_a_writer_killed_between_upload_and_commit_leaves_no_episode(remote, make_episode, same):
    kept = remote.append(make_episode(0))
    script = """
        import sys, time
        sys.path.insert(0, sys.argv[2])
        from soar.data.store.index import Index
        from soar.data.store.lance import open_store
        from conftest import make_episode

        def uploaded(index, *rows, **_):
            print(rows[0]["id"], flush=True)
            time.sleep(60)

        Index.append = uploaded
        open_store(sys.argv[1], codec="png").append(make_episode(1))
    """
    tests = Path(__file__).parent
    words = [sys.executable, "-c", textwrap.dedent(script), str(remote.root), str(tests)]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    lost = writer.stdout.readline().strip()
    writer.kill()
    writer.wait()
    assert remote.steps_path(lost).exists()
    assert [s.id for s in remote.query()] == [kept]
    assert problems(remote) == [f"file {remote.steps_path(lost)}: no row"]
    assert sweep(remote).removed == ()  # its writer may still be at work
    assert sweep(remote, older_than_s=0).removed == (remote.steps_path(lost),)
    assert problems(remote) == []
    second = remote.append(make_episode(1))
    assert [s.id for s in remote.query()] == [kept, second]
    assert same(remote.load(second), make_episode(1))


def test_writers_at_once_lose_nothing(remote, make_episode):
    def write(k: int) -> list[str]:
        store = open_store(str(remote.root), create=True)
        return [store.append(make_episode(10 * k + i, steps=1)) for i in range(3)]

    with ThreadPoolExecutor(4) as pool:
        written = [id for ids in pool.map(write, range(4)) for id in ids]
    assert sorted(written) == sorted(s.id for s in remote.query())
    assert len(set(written)) == 12


def test_creators_at_once_make_one_store(bucket):
    with ThreadPoolExecutor(4) as pool:
        stores = pool.map(lambda _: open_store(f"{bucket}/one", create=True), range(4))
        assert len({store.identity for store in stores}) == 1


def test_a_damaged_file_is_found_and_set_aside(remote, make_episode):
    good, bad = remote.append(make_episode(0)), remote.append(make_episode(1))
    path = remote.steps_path(bad)
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(50) + data[150:])
    assert len(problems(remote)) == 1
    assert sweep(remote, damaged=True).damaged == (bad,)
    assert [s.id for s in remote.query()] == [good]
    assert path.with_suffix(".damaged").exists()
    assert not path.exists()


def test_frames_are_cached_on_this_machine(remote, make_episode, tmp_path):
    for seed in range(3):
        remote.append(make_episode(seed))
    frames = build_frames(remote, Query(), 8, tmp_path / "frames")
    assert frames.images.shape == (15, 8, 8, 3)
    for path in remote.root.glob("steps/*/*.lance"):
        path.unlink()
    again = build_frames(remote, Query(), 8, tmp_path / "frames")
    assert np.array_equal(again.images, frames.images)


def test_the_command_line_takes_a_url_for_a_store(bucket, make_episode, tmp_path, capsys):
    local = open_store(tmp_path / "local", create=True)
    ids = [local.append(make_episode(seed)) for seed in range(3)]
    url, back = f"{bucket}/copy", tmp_path / "back"
    assert f"to {url}: 3 episodes" in run(capsys, "data", "merge", local.path, "--out", url)
    assert "0 episodes, 3 are there" in run(
        capsys, "data", "merge", local.path, "--out", url, "--dry-run"
    )
    assert "3" in run(capsys, "data", "verify", "--store", url)
    assert ids[0][:15] in run(capsys, "data", "ls", "--store", url)
    assert TASK in run(capsys, "status", "--store", url)
    assert f"{url} to {back}: 3 episodes" in run(capsys, "data", "merge", url, "--out", back)
    assert [s.id for s in open_store(back).query()] == ids
    assert to_plain({"store": local_path(url)}, dict[str, Path]) == {"store": url}


TASK = "put the lemon in the bowl"
MODELS = "\n".join(
    f"{role}: python:soar.robots.toy_models:Toy{kind}"
    for role, kind in (("vlm", "VLM"), ("subgoals", "Subgoals"), ("policy", "Policy"))
)


def test_a_station_collects_into_object_storage(bucket, tmp_path, capsys):
    url, station, models = f"{bucket}/lab", tmp_path / "arm1.yaml", tmp_path / "models.yaml"
    station.write_text("robot: toy\n")
    models.write_text(MODELS)
    words = ("collect", "--station", station, "--models", models, "--store", url)
    assert f"2 episodes stored in {url}" in run(capsys, *words, "--episodes", "2")
    assert "arm1" in run(capsys, "status", "--store", url)
    summary = next(open_store(url).query())
    config = ObjectPath(url) / "configs" / f"{summary.provenance.config_hash}.yaml"
    assert b"robot: toy" in config.read_bytes()


def test_refusals_are_one_line_without_secrets(bucket, remote, make_episode, monkeypatch, capsys):
    def line(*words) -> str:
        with pytest.raises(SystemExit):
            main(["data", *words])
        text: str = capsys.readouterr().err
        assert len(text.strip().splitlines()) == 1
        assert "secret-of-the-test" not in text
        return text

    assert f"'{bucket}/none' is no episode store" in line("ls", "--store", f"{bucket}/none")
    assert "there is no such bucket" in line("ls", "--store", "s3://no-such-bucket/s")
    assert "is a URL; valid" in line("ls", "--store", "ftp://host/s")
    (ObjectPath(bucket) / "busy/holiday.jpg").write_bytes(b"1")
    with pytest.raises(StoreError, match="is not empty and no episode store"):
        open_store(f"{bucket}/busy", create=True)
    with pytest.raises(ConfigError, match="can't be written: stores, runs"):
        write_bytes(local_path(f"{bucket}/run") / "checkpoint.json", b"1")
    with pytest.raises(StoreError, match="opened read-only"):
        open_store(str(remote.root), read_only=True).append(make_episode())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    objects._opened.cache_clear()
    assert "can't be used: " in line("ls", "--store", f"{bucket}/store")
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert "pip install 'soar-robot[cloud]'" in line("ls", "--store", f"{bucket}/store")


def save(folder: Path, size: int) -> str:
    return checkpoints.save(folder, Checkpoint("gcbc", {"w": torch.zeros(size)}, {}))


def test_a_checkpoint_is_published_and_loaded_by_url(bucket, tmp_path, capsys, monkeypatch):
    url, ids = f"{bucket}/policies/kitchen", []
    save(tmp_path / "c", 2)
    assert f"would become {url}" in run(capsys, "hub", "push", tmp_path / "c", url, "--dry-run")
    assert not ObjectPath(url).exists()
    for size in (3, 4):
        ids.append(save(tmp_path / "c", size))
        said = run(capsys, "hub", "push", tmp_path / "c", url)
        assert said == f"checkpoint {ids[-1]} is {url}"
        assert checkpoints.load(policy_spec(url).folder).id == ids[-1]
    files = {path.name for path in ObjectPath(url).glob("*")}
    assert files == {"checkpoint.json", f"weights-{ids[1]}.safetensors"}
    (ObjectPath(url) / f"weights-{ids[1]}.safetensors").write_bytes(b"other")
    assert checkpoints.load(local_path(url)).id == ids[1]  # it is in the cache
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.load(local_path(url))


def test_of_two_publishers_one_is_told(bucket, tmp_path, monkeypatch):
    url = f"{bucket}/policies/kitchen"
    save(tmp_path / "a", 3)
    push_to_objects(tmp_path / "a", url)
    before = ObjectPath.write_bytes
    other = save(tmp_path / "b", 4)
    save(tmp_path / "c", 5)

    def meanwhile(self: ObjectPath, data: bytes | Path) -> None:
        monkeypatch.setattr(ObjectPath, "write_bytes", before)
        push_to_objects(tmp_path / "b", url)
        before(self, data)

    monkeypatch.setattr(ObjectPath, "write_bytes", meanwhile)
    with pytest.raises(Changed, match="was written by someone else meanwhile"):
        push_to_objects(tmp_path / "c", url)
    assert checkpoints.load(local_path(url)).id == other
    with pytest.raises(FileError):
        (ObjectPath(url) / "checkpoint.json").write_if(b"1", {"e_tag": '"no-such-tag"'})
