"""Killed writers, full disks and truncated files, all real."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from soar.data.store import index
from soar.data.store.index import Index
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import Finding, preview, sweep, verify
from soar.errors import StoreError
from soar.types import Query


def damage(store: LanceStore) -> list[Finding]:
    return [f for f in verify(store, workers=1) if f.problem and not f.is_orphan]


@pytest.mark.parametrize("kills", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_writers_lose_at_most_the_episode_being_written(
    kills, store, make_episode, same, tmp_path
):
    log = tmp_path / "stored"
    script = [sys.executable, str(Path(__file__).with_name("writer.py"))]
    forkserver = subprocess.Popen(
        [*script, str(store.path), "forkserver", str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert forkserver.stdin
    assert forkserver.stdout
    assert forkserver.stdout.readline() == "ready\n"
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for kill in range(0, kills, 2):
        delays = rng.uniform(0.0, 0.08, 2)
        print(10_000_000 * (kill + 1), *delays, file=forkserver.stdin, flush=True)
        assert forkserver.stdout.readline() == "killed\n"
        visible = {e.id: e for e in store.query()}
        acknowledged = (
            dict(line.split() for line in log.read_text().splitlines()) if log.exists() else {}
        )
        assert acknowledged.keys() <= visible.keys()
        assert seen <= visible.keys()
        for id in visible.keys() - seen:
            assert same(store.load(id), make_episode(visible[id].provenance.seed))
        seen = set(visible)
    forkserver.stdin.close()
    assert forkserver.wait(10) == 0
    assert len(seen) > kills * 3 / 2, "too few episodes were written for this test to mean anything"
    assert damage(store) == []
    sweep(store, older_than_s=0)
    assert [f for f in verify(store, workers=1) if f.problem] == []
    assert {e.id for e in store.query()} == seen


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk needs root and the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("free", [0, 3_000, 8_000, 20_000, 40_000])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(small_disk, make_episode, same, free):
    store = open_store(small_disk / "store", create=True, codec="png")
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    ballast = small_disk / "ballast"
    stat = os.statvfs(small_disk)
    ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))
    with pytest.raises(StoreError, match="the disk is full"):
        ids.extend(store.append(make_episode(seed)) for seed in range(3, 20))
    assert [e.id for e in store.query()] == ids
    assert all(same(store.load(id), make_episode(seed)) for seed, id in enumerate(ids))
    assert [f for f in verify(store) if f.problem] == []
    ballast.unlink()
    ids.append(store.append(make_episode(len(ids))))
    assert [e.id for e in store.query()] == ids


def test_what_fails_after_the_commit_stores_no_episode_twice(
    store, make_episode, same, monkeypatch
):
    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "_flush", fail)
        id = store.append(make_episode(1))
    assert same(store.load(id), make_episode(1))
    assert [e.id for e in store.query()] == [id]


def test_a_merge_that_cannot_open_the_rows_costs_no_episode(store, make_episode, monkeypatch):
    def away(*_):
        raise StoreError("the rows can't be read: connection refused")

    monkeypatch.setattr(index, "MERGE_EVERY", 1)
    commit, opened = Index._append, Index.open

    def then_away(*args):
        done = commit(*args)
        monkeypatch.setattr(Index, "open", away)
        return done

    monkeypatch.setattr(Index, "_append", then_away)
    id = store.append(make_episode())
    monkeypatch.setattr(Index, "open", opened)
    assert [e.id for e in store.query()] == [id]


def newest(store: LanceStore, kind: str) -> Path:
    pattern = {"steps": "steps/*/*", "rows": "episodes.lance/data/*"}.get(kind)
    if pattern is None:
        return min(store.path.glob("episodes.lance/_versions/*.manifest"))
    return max(store.path.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["steps", "rows", "version"])
def test_a_truncated_file_loses_at_most_its_episode(store, make_episode, same, kind, part):
    ids = [store.append(make_episode(seed)) for seed in range(4)]
    path = newest(store, kind)
    os.truncate(path, int(path.stat().st_size * part))
    visible = [e.id for e in store.query()]
    assert visible[:3] == ids[:3]
    assert all(same(store.load(id), make_episode(seed)) for seed, id in enumerate(ids[:3]))
    if visible == ids:
        with pytest.raises(StoreError, match="damaged"):
            store.load(ids[3])
    assert len(damage(store)) == 1
    new = store.append(make_episode(9))
    assert [e.id for e in store.query()] == [*visible, new]
    done = sweep(store, older_than_s=0, damaged=True)
    assert [f for f in verify(store) if f.problem] == []
    after = [e.id for e in store.query()]
    if kind == "steps":
        assert (done.damaged, after) == ((ids[3],), [*ids[:3], new])
    else:
        assert (done.restored, after) == ((ids[3],), [*ids, new])
        assert same(store.load(ids[3]), make_episode(3))


def garble(path: Path) -> None:
    """Take bytes from the middle of a manifest: its end still says that it is whole."""
    data = path.read_bytes()
    path.write_bytes(data[:60] + data[180:])


def test_a_version_damaged_inside_is_skipped_named_and_repaired(store, make_episode, same):
    ids = [store.append(make_episode(seed)) for seed in range(4)]
    garble(newest(store, "version"))
    assert [e.id for e in store.query()] == ids[:3]
    assert [f.problem for f in damage(store)] == ["its manifest can't be read"]
    assert preview(store, older_than_s=0).restored == (ids[3],)
    assert sweep(store, older_than_s=0).restored == (ids[3],)
    assert [f for f in verify(store) if f.problem] == []
    assert [e.id for e in store.query()] == ids
    assert same(store.load(ids[3]), make_episode(3))


def test_a_store_without_a_readable_version_is_one_line(store, make_episode):
    store.append(make_episode(0))
    for manifest in store.path.glob("episodes.lance/_versions/*.manifest"):
        garble(manifest)
    for use in (lambda: list(store.query()), lambda: sweep(store), lambda: damage(store)):
        with pytest.raises(StoreError, match="can't be read"):
            use()


@pytest.mark.parametrize("kind", ["rows", "version"])
def test_a_pipe_or_device_in_place_of_a_rows_file_is_refused(store, make_episode, kind):
    store.append(make_episode(0))
    path = newest(store, kind)
    for put in (os.mkfifo, lambda p: os.symlink("/dev/zero", p)):
        path.unlink()
        put(path)
        with pytest.raises(StoreError, match=f"{path.name} is no regular file"):
            list(open_store(store.path, read_only=True).query())


def test_a_read_only_store_skips_a_damaged_version(store, make_episode):
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    os.truncate(newest(store, "version"), 10)
    names = sorted(store.path.rglob("*"))
    reader = open_store(store.path, read_only=True)
    assert [e.id for e in reader.query(Query(limit=9))] == ids[:2]
    assert sorted(store.path.rglob("*")) == names


def test_a_lost_index_is_restored_from_the_steps_files(store, make_episode, same):
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    for manifest in store.path.glob("episodes.lance/_versions/*.manifest"):
        os.truncate(manifest, 0)
    with pytest.raises(StoreError, match="can't be read"):
        list(store.query())
    assert set(sweep(store, older_than_s=0).restored) == set(ids)
    assert all(same(store.load(id), make_episode(seed)) for seed, id in enumerate(ids))
