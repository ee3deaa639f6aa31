import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.data.store import index
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.steps import read_table
from soar.data.store.verify import verify
from soar.errors import StoreError
from soar.interfaces import EpisodeStore
from soar.types import Query, Subgoal, TaskCount, Verdict

both = pytest.mark.parametrize("place", ["disk", "s3"])
"""Mark of a test of what a store promises on a disk and in object storage."""


def ids(store: LanceStore, **query: Any) -> list[str]:
    return [e.id for e in store.query(Query(**query))]


@both
def test_an_episode_is_read_as_it_was_written(store, make_episode, same):
    typed: EpisodeStore = store
    episode = make_episode(seed=3, instruction="put the 'red' fruit in the bowl; --")
    assert same(typed.load(typed.append(episode)), episode)


def test_nothing_is_written_where_a_store_was(tmp_path, make_episode):
    store = open_store(tmp_path / "store", create=True)
    store.path.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="is away"):
        store.append(make_episode())
    assert not store.path.exists()
    (tmp_path / "away").rename(store.path)
    assert store.append(make_episode())


@both
def test_an_id_that_is_there_is_not_stored_again(store, make_episode, same):
    id = store.append(make_episode(0))
    row = store.index.rows(("id", "instruction"), "").to_pylist()[0]
    table = read_table(store.steps_path(id))
    assert not store.append_table(row | {"instruction": "another import's"}, table)
    assert store.index.rows(("id",), "").num_rows == 1
    assert same(store.load(id), make_episode(0))
    assert not [f for f in verify(store) if f.problem]


@both
def test_an_episode_without_steps_is_stored(store, make_episode, same):
    episode = make_episode(steps=0)
    assert same(store.load(store.append(episode)), episode)


def test_jpeg_changes_frames_little_and_nothing_else(tmp_path, make_episode):
    store = open_store(tmp_path / "jpeg", create=True)
    episode = make_episode(size=64)
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    object.__setattr__(episode, "images", np.stack([smooth] * 5))
    back = store.load(store.append(episode))
    assert np.abs(back.images.astype(int) - episode.images).max() <= 8
    assert np.array_equal(back.actions, episode.actions)


@both
def test_a_query_matches_every_field_that_is_set(store, make_episode):
    a = store.append(make_episode(0, station="one", scene="1", checkpoint="x", outcome="success"))
    b = store.append(make_episode(1, station="two", scene="1", round=2, outcome="failure"))
    c = store.append(make_episode(2, station="o'three", regime="bridge", outcome="unknown"))
    assert ids(store) == [a, b, c]
    assert ids(store, stations=("two", "o'three")) == [b, c]
    assert ids(store, regimes=("bridge",)) == [c]
    assert ids(store, outcomes=("success", "failure"), scenes=("1",)) == [a, b]
    assert ids(store, checkpoints=("x",)) == [a]
    assert ids(store, rounds=(2,)) == [b]
    assert ids(store, since_s=1e9 + 1, until_s=1e9 + 2) == [b]
    assert ids(store, instructions=("nothing",)) == []
    assert ids(store, limit=2) == [a, b]


@both
def test_a_query_lists_the_oldest_first(store, make_episode):
    late, early = store.append(make_episode(9)), store.append(make_episode(1))
    assert ids(store) == [early, late]


@both
def test_an_old_version_can_be_queried(store, make_episode):
    a = store.append(make_episode(0))
    version = store.version
    b = store.append(make_episode(1, outcome="unknown"))
    store.set_verdict(a, Verdict("failure"))
    assert store.version > version
    assert ids(store, version=version) == [a]
    assert store.history(Query(version=version)) == {make_episode().instruction: TaskCount(1, 1)}
    assert ids(store) == [a, b]
    with pytest.raises(StoreError, match=r"version 999 .* is not kept"):
        ids(store, version=999)


@both
def test_history_counts_attempts_and_successes(store, make_episode):
    for seed, (task, outcome) in enumerate(
        [("a", "success"), ("a", "failure"), ("a", "unknown"), ("b", "success")]
    ):
        store.append(make_episode(seed, instruction=task, outcome=outcome, station=str(seed)))
    assert store.history() == {"a": TaskCount(3, 1), "b": TaskCount(1, 1)}
    assert store.history(Query(stations=("0", "1"))) == {"a": TaskCount(2, 1)}
    assert store.history(Query(limit=1)) == {"a": TaskCount(1, 1)}
    assert store.history(Query(stations=("none",))) == {}


@both
def test_a_verdict_can_be_replaced(store, make_episode):
    id = store.append(make_episode(outcome="unknown"))
    verdict = Verdict("success", 0.75, "Is it?", "yes, it's there", "judge")
    store.set_verdict(id, verdict)
    assert store.load(id).verdict == verdict
    assert ids(store, outcomes=("success",)) == [id]
    with pytest.raises(StoreError, match="no episode 'x'"):
        store.set_verdict("x", verdict)


@both
def test_frames_are_read_in_the_requested_order(store, make_episode):
    episode = make_episode()
    id = store.append(episode)
    assert np.array_equal(store.images(id, [3, 0, 3]), episode.images[[3, 0, 3]])


@both
def test_an_unknown_episode_is_an_error(store):
    with pytest.raises(StoreError, match="no episode 'x'"):
        store.load("x")


@both
def test_inconsistent_episodes_are_refused(store, make_episode):
    episode = make_episode()
    for name, value, message in [
        ("images", episode.images[:-1], r"images \(4,\)"),
        ("commanded", episode.commanded[:-1], r"commanded \(3, 7\)"),
        ("subgoals", (Subgoal(episode.images[0], 9),), "within 0..4"),
        ("subgoals", (Subgoal(episode.images[0], 1),) * 2, "one a step"),
        ("images", episode.images.astype(np.float32), "uint8"),
    ]:
        broken = make_episode()
        object.__setattr__(broken, name, value)
        with pytest.raises(StoreError, match=message):
            store.append(broken)
    assert ids(store) == []
    assert not list(store.path.glob("steps/*/*"))


@both
def test_a_read_only_store_refuses_to_write_and_leaves_no_trace(store, make_episode):
    id = store.append(make_episode())
    before = sorted(store.path.rglob("*"))
    reader = open_store(store.path, read_only=True)
    assert reader.load(id).instruction
    for write in (
        lambda: reader.append(make_episode()),
        lambda: reader.set_verdict(id, Verdict("failure")),
        lambda: reader.tag("x"),
    ):
        with pytest.raises(StoreError, match="read-only"):
            write()
    assert sorted(store.path.rglob("*")) == before


def test_a_read_only_folder_is_one_clear_error(store, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(StoreError, match="not writable; open it with read_only=True"):
        open_store(store.path)
    assert ids(open_store(store.path, read_only=True)) == []


def test_a_folder_that_is_no_store_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="no episode store"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="no episode store"):
        open_store(tmp_path / "nowhere", read_only=True)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StoreError, match="not empty and no episode store"):
        open_store(tmp_path, create=True)
    with pytest.raises(StoreError, match="can't create a store"):
        open_store(tmp_path / "holiday.jpg", create=True)


@pytest.mark.parametrize(
    "about", ['{"format": "soar-episodes", "schema": 3, "id": ""}', '{"format": "x", "schema": 1}']
)
def test_an_unknown_or_newer_schema_is_one_clear_error(store, about):
    (store.path / "store.json").write_text(about)
    with pytest.raises(StoreError, match="this package reads 'soar-episodes' of schema 1 and 2"):
        open_store(store.path)


def test_a_truncated_store_json_is_one_clear_error(store):
    (store.path / "store.json").write_text('{"form')
    with pytest.raises(StoreError, match=r"no readable store\.json"):
        open_store(store.path)


@both
def test_creating_twice_opens_the_same_store(store, make_episode):
    id = store.append(make_episode())
    again = open_store(store.path, create=True)
    assert (again.identity, ids(again)) == (store.identity, [id])


def test_interrupted_creation_can_be_repeated(store):
    about = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").rename(store.path / f"store.json.{about['id']}")
    assert ids(open_store(store.path, create=True)) == []


@both
def test_a_store_can_be_pickled(store, make_episode):
    id = store.append(make_episode())
    assert ids(pickle.loads(pickle.dumps(store))) == [id]


def test_fragments_are_merged_as_the_store_grows(store, make_episode, monkeypatch):
    monkeypatch.setattr(index, "MERGE_EVERY", 8)
    expected = [store.append(make_episode(seed, steps=1, size=8)) for seed in range(40)]
    assert len(store.index.open().get_fragments()) <= 8
    assert ids(store) == expected


@both
def test_cleaning_keeps_tagged_versions(store, make_episode):
    a = store.append(make_episode(0))
    kept = store.tag("gcbc/scene 1")
    b = store.append(make_episode(1))
    gone = store.version
    store.append(make_episode(2))
    assert store.index.clean(older_than_s=0)
    assert ids(store, version=kept) == [a]
    assert len(ids(store)) == 3
    with pytest.raises(StoreError, match=f"version {gone} .* is not kept"):
        ids(store, version=gone)
    with pytest.raises(StoreError, match="not kept"):
        store.tag("too-late", gone)
    assert store.load(b).instruction


def test_several_processes_append_at_once(store, make_episode):
    script = Path(__file__).with_name("writer.py")
    command = [sys.executable, str(script), str(store.path), "append", "15"]
    writers = [subprocess.Popen([*command, str(1000 * k)]) for k in range(3)]
    for seed in range(10):
        store.append(make_episode(seed))
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    found = list(store.query())
    assert len(found) == len({e.id for e in found}) == 55
    assert {e.provenance.seed for e in found} == {
        *range(10),
        *(1000 * k + i for k in range(3) for i in range(15)),
    }
