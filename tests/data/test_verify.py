import os

import pyarrow as pa
import pytest
from lance.file import LanceFileReader, LanceFileWriter

from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import sweep, verify
from soar.errors import StoreError


def problems(store: LanceStore) -> list[str]:
    return [f"{f.part}: {f.problem}" for f in verify(store, workers=1) if f.problem]


def rewrite(store: LanceStore, id: str, column: str, values: list[bytes | None]) -> None:
    """Change one column of a steps file, keeping its row's copy."""
    path = str(store.steps_path(id))
    reader = LanceFileReader(path)
    table, schema = reader.read_all().to_table(), reader.metadata().schema
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, pa.array(values, pa.binary()))
    writer = LanceFileWriter(path, table.schema)
    writer.write_batch(table)
    writer.add_schema_metadata("episode", schema.metadata[b"episode"].decode())
    writer.close()


def test_an_intact_store_has_no_problem_and_every_part_is_checked(store, make_episode):
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    checked = {finding.part for finding in verify(store)}
    assert {f"episode {id}" for id in ids} <= checked
    assert {f"version {v}" for v in range(1, store.version + 1)} <= checked
    assert problems(store) == []


def test_a_damaged_frame_is_named(store, make_episode):
    store.append(make_episode(0))
    id = store.append(make_episode(1))
    frames = LanceFileReader(str(store.steps_path(id))).read_all().to_table()["image"].to_pylist()
    frames[2] = frames[2][:40]
    rewrite(store, id, "image", frames)
    (problem,) = problems(store)
    assert problem.startswith(f"episode {id}: bytes differ")
    assert problem.endswith("image of step 2 can't be decoded")


def test_a_damaged_subgoal_is_named(store, make_episode):
    id = store.append(make_episode())
    rewrite(store, id, "subgoal", [None, b"?", None, None, None])
    assert problems(store)[0].endswith("subgoal of step 1 can't be decoded")


def test_one_changed_bit_is_found(store, make_episode):
    id = store.append(make_episode())
    path = store.steps_path(id)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = problems(store)
    assert problem.startswith(f"episode {id}: ")


def test_a_missing_file_is_named(store, make_episode):
    id = store.append(make_episode())
    path = store.steps_path(id)
    path.unlink()
    assert problems(store) == [f"episode {id}: steps file '{path}' is missing"]
    with pytest.raises(StoreError, match="is missing"):
        store.load(id)


def test_the_wrong_file_is_named(store, make_episode):
    a, b = (
        store.append(make_episode(seed, instruction=str(seed), steps=3 + seed)) for seed in (0, 1)
    )
    os.replace(store.steps_path(a), store.steps_path(b))
    assert f"the file is of episode {a}, '0'" in problems(store)[1]
    assert "4 observations for 4 steps" in problems(store)[1]
    with pytest.raises(StoreError, match="3 steps of 4"):
        store.load(b)


def test_a_file_without_a_row_is_no_damage_and_removed_when_old(store, make_episode):
    id = store.append(make_episode())
    orphan = store.steps_path("20010101-000000-0123456789")
    orphan.parent.mkdir()
    orphan.write_bytes(store.steps_path(id).read_bytes())
    assert [f.part for f in verify(store) if f.is_orphan] == [f"file {orphan}"]
    assert sweep(store).removed == ()
    os.utime(orphan, (0, 0))
    assert sweep(store).removed == (orphan,)
    assert problems(store) == []
    assert store.load(id).instruction


def test_a_sweep_removes_damaged_episodes_only_on_request(store, make_episode):
    keep, bad = store.append(make_episode(0)), store.append(make_episode(1))
    os.truncate(store.steps_path(bad), 100)
    assert sweep(store).damaged == ()
    assert len(problems(store)) == 1
    assert sweep(store, damaged=True).damaged == (bad,)
    assert problems(store) == []
    assert [e.id for e in store.query()] == [keep]
    assert store.steps_path(bad).with_suffix(".damaged").exists()


def test_a_read_only_store_is_verified_but_not_swept(store, make_episode):
    store.append(make_episode())
    reader = open_store(store.path, read_only=True)
    assert problems(reader) == []
    with pytest.raises(StoreError, match="read-only"):
        sweep(reader)


def test_a_sweep_removes_the_temporaries_of_killed_writers_and_no_other_file(store, make_episode):
    id = store.append(make_episode())
    day = store.steps_path(id).parent
    left = [day / ".tmpxFUyqY", store.index.path / "data" / ".tmpbFahH9"]
    left += [store.index.path / "_versions" / ".tmpA", store.path / f"store.json.{'0f' * 8}"]
    young = day / ".tmpyoung"
    kept = [young, store.path / "store.json.bak", day / "notes.txt"]
    for path in (*left, *kept):
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    os.utime(young)
    assert set(sweep(store).removed) == set(left)
    assert all(path.exists() for path in kept)
    assert problems(store) == []


def test_a_store_is_intact_while_a_sweep_deletes_its_old_versions(store, make_episode, monkeypatch):
    for seed in range(5):
        store.append(make_episode(seed))
    listed, swept = type(store.path).glob, list[int]()

    def glob(self, pattern):
        found = sorted(listed(self, pattern))
        if pattern == "[0-9]*.manifest" and not swept:
            swept.append(True)
            sweep(store, older_than_s=0, keep_versions_s=0)
        return iter(found)

    monkeypatch.setattr(type(store.path), "glob", glob)
    assert problems(store) == []
    assert swept
