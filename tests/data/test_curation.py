"""Copying, splitting, overviews, quality and cards of stores."""

from __future__ import annotations

import os
from dataclasses import replace

import lance.fragment
import numpy as np
import pytest

from soar.cli import main
from soar.contract.contract import WIDOWX, Gripper, Numbers
from soar.contract.rotations import about, from_matrix
from soar.data.curation.card import card
from soar.data.curation.copying import copy_episodes, held_out, select
from soar.data.curation.overview import overview, table5_rows, table6_row, thousands
from soar.data.curation.quality import entropy, idle_steps, measure
from soar.data.store.lance import open_store
from soar.data.store.verify import verify
from soar.exchange.export import stored_bytes
from soar.types import Query, Verdict


def run(capsys, *words) -> str:
    main(["data", *map(str, words)])
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def other(tmp_path):
    return open_store(tmp_path / "other", create=True)


@pytest.fixture
def away(place, request, tmp_path) -> str:
    """Where there can be another store like `store`."""
    return str(tmp_path) if place == "disk" else request.getfixturevalue("bucket")


def test_a_copy_is_the_same_with_a_later_verdict_and_happens_once(store, other, make_episode, same):
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    store.set_verdict(ids[0], Verdict("failure", 0.2, judge="person"))
    assert list(copy_episodes(store, ids[:2], other)) == [(id, "") for id in ids[:2]]
    done = dict(copy_episodes(store, ids, other))
    assert done == {ids[0]: "there already", ids[1]: "there already", ids[2]: ""}
    for id in ids:
        assert same(store.load(id), other.load(id))
    assert not [f for f in verify(other) if f.problem]


def test_many_episodes_are_copied_in_few_commits(store, other, make_episode):
    ids = [store.append(make_episode(seed, steps=1)) for seed in range(5)]
    before = other.version
    list(copy_episodes(store, ids, other))
    assert other.version == before + 1


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_two_copies_at_once_store_nothing_twice(store, away, make_episode, monkeypatch):
    """The other copy commits after this one has looked for the ids, and before it commits."""
    ids = [store.append(make_episode(seed, steps=1)) for seed in range(3)]
    target = open_store(f"{away}/target", create=True)
    other: list[tuple[str, str]] = []
    write = lance.fragment.write_fragments

    def after_the_other(*args, **options):
        monkeypatch.setattr(lance.fragment, "write_fragments", write)
        other.extend(copy_episodes(store, ids[:2], open_store(target.path)))
        return write(*args, **options)

    monkeypatch.setattr(lance.fragment, "write_fragments", after_the_other)
    done = dict(copy_episodes(store, ids, target))
    assert dict(other) == {ids[0]: "", ids[1]: ""}
    assert done == {ids[0]: "there already", ids[1]: "there already", ids[2]: ""}
    assert [e.id for e in target.query()] == ids
    assert not [f for f in verify(target) if f.problem]


def test_an_append_is_not_stopped_by_a_copy_at_the_same_time(
    store, other, make_episode, monkeypatch
):
    id, write = store.append(make_episode(0, steps=1)), lance.fragment.write_fragments

    def after_the_copy(*args, **options):
        monkeypatch.setattr(lance.fragment, "write_fragments", write)
        assert list(copy_episodes(store, [id], other)) == [(id, "")]
        return write(*args, **options)

    monkeypatch.setattr(lance.fragment, "write_fragments", after_the_copy)
    own = other.append(make_episode(1, steps=1))
    assert [e.id for e in other.query()] == [id, own]


def test_a_damaged_episode_is_named_and_not_copied(store, other, make_episode):
    ids = [store.append(make_episode(seed)) for seed in range(3)]
    os.truncate(store.steps_path(ids[0]), 99)
    store.steps_path(ids[1]).unlink()
    done = dict(copy_episodes(store, ids, other))
    assert "is damaged" in done[ids[0]]
    assert "is missing" in done[ids[1]]
    assert [s.id for s in other.query()] == [ids[2]]
    assert not [f for f in verify(other) if f.problem]


def test_a_split_keeps_groups_together_and_stays_when_the_store_grows(store, make_episode):
    for seed in range(40):
        store.append(make_episode(seed, steps=1, instruction=f"task {seed % 20}"))
    summaries = list(store.query())
    sides = {s.id: held_out(s, 0.3, "task", 1) for s in summaries}
    by_task = {s.instruction: sides[s.id] for s in summaries}
    assert all(by_task[s.instruction] == sides[s.id] for s in summaries)
    assert 1 <= sum(by_task.values()) <= 12
    assert sides != {s.id: held_out(s, 0.3, "task", 2) for s in summaries}


def test_select_asks_the_verdicts_judge_and_probability(store, make_episode):
    for seed in range(3):
        store.append(make_episode(seed))
    summaries = list(store.query())
    store.set_verdict(summaries[0].id, Verdict("unknown", judge="person"))
    found = list(store.query())
    assert len(list(select(found, judges=("per",)))) == 1
    assert len(list(select(found, least_p=0.5))) == 2
    assert not list(select(found, most_p=0.5))


def test_filter_split_and_merge_on_the_command_line(store, make_episode, capsys, tmp_path):
    for seed in range(6):
        outcome = "success" if seed % 2 else "failure"
        store.append(make_episode(seed, steps=1, outcome=outcome))
    out = run(
        capsys,
        "filter",
        "--store",
        store.path,
        "--out",
        tmp_path / "g",
        "--outcomes",
        "success",
        "--dry-run",
    )
    assert "3 episodes, 0 are there already" in out
    assert not (tmp_path / "g").exists()
    run(capsys, "filter", "--store", store.path, "--out", tmp_path / "g", "--outcomes", "success")
    run(capsys, "split", "--store", store.path, "--train", tmp_path / "t", "--held-out", tmp_path / "h",
        "--fraction", "0.5")  # fmt: skip
    parts = [open_store(tmp_path / name) for name in ("g", "t", "h")]
    assert [len(list(p.query())) for p in parts] == [
        3,
        len(list(parts[1].query())),
        6 - len(list(parts[1].query())),
    ]
    out = run(capsys, "merge", tmp_path / "t", tmp_path / "h", "--out", tmp_path / "all")
    assert {s.id for s in open_store(tmp_path / "all").query()} == {s.id for s in store.query()}
    with pytest.raises(SystemExit):
        main(["data", "merge", str(store.path), "--out", str(store.path)])
    assert "into itself" in capsys.readouterr().err


def test_table_6_counts_stations_failures_and_who_acted(store, make_episode, capsys):
    for seed, policy in enumerate(["gcbc-1", "gcbc-1", "expert", "person"]):
        outcome = "failure" if seed == 0 else "success"
        station = f"arm{seed % 2}"
        store.append(make_episode(seed, outcome=outcome, checkpoint=policy, station=station))
    row = table6_row(store, Query(), "mine")
    assert row[:4] == ("mine", "4", "2", True)
    assert row.failures
    assert row.collection == "50% autonomous, 25% scripted, 25% human"
    assert thousands(30_582) == "30.5k"
    out = run(capsys, "stats", "--store", store.path, "--table6")
    assert "SOAR-Data 30.5k 5 yes yes yes 100% autonomous" in out


def test_table_5_counts_tasks_and_successes_by_scene(store, make_episode, capsys):
    for seed, (scene, outcome) in enumerate(
        [("1", "success"), ("1", "failure"), ("1", "success"), ("dev1", "failure")]
    ):
        store.append(make_episode(seed, outcome=outcome, scene=scene))
    assert table5_rows(store, Query()) == [("1", 1, 2, 3), ("dev1", 0, 0, 1)]
    main(["reproduce", "table5", "--store", str(store.path)])
    assert "1 │ 1 │ 2 │ 3 │ 4 │ 2056" in " ".join(capsys.readouterr().out.split())


def test_a_limit_takes_the_oldest_in_every_overview(store, make_episode):
    """A verdict that is replaced moves its row to the end."""
    ids = [
        store.append(make_episode(seed, steps=seed + 1, scene=str(seed), station=str(seed)))
        for seed in range(3)
    ]
    store.set_verdict(ids[0], Verdict("failure"))
    first = Query(limit=1)
    assert overview(store, first).steps == 1
    assert [(row.scene, row.attempts) for row in table5_rows(store, first)] == [("0", 1)]
    assert table6_row(store, first, "S").trajectories == "1"
    assert stored_bytes(store, first) == store.steps_path(ids[0]).stat().st_size


def test_an_overview_reads_no_file(store, make_episode):
    ids = [store.append(make_episode(seed, truth=seed > 0)) for seed in range(3)]
    for id in ids:
        store.steps_path(id).unlink()
    found = overview(store, Query())
    assert (found.episodes, found.steps, found.stations) == (3, 12, 1)
    assert (found.tasks[0].attempts, found.tasks[0].truths, found.tasks[0].true) == (3, 3, 2)


def test_idle_steps_are_told_in_the_contracts_units():
    states = np.zeros((4, 7), np.float32)
    states[1:, 0] = 0.003
    states[2:, 6] = 0.5
    assert idle_steps(states, WIDOWX.state).tolist() == [False, False, True]
    millimeters = replace(WIDOWX.state, length="mm", gripper=Gripper(0, 100))
    assert idle_steps(states, millimeters).tolist() == [True, True, True]
    joints = Numbers(space="joints", joints=("a", "b"), angle="deg")
    moves = np.array([[0, 0, 0], [0.5, 0, 0], [1.5, 0, 0]], np.float32)
    assert idle_steps(moves, joints).tolist() == [True, False]


@pytest.mark.parametrize(("unit", "half"), [("rad", np.pi), ("deg", 180.0)])
def test_an_angle_that_wraps_is_no_motion(unit, half):
    states = np.zeros((3, 7), np.float32)
    states[:, 5] = half - 1e-3, 1e-3 - half, half - 1e-3
    assert idle_steps(states, replace(WIDOWX.state, angle=unit)).tolist() == [True, True]


@pytest.mark.parametrize(
    "rotation", ["quaternion_xyzw", "quaternion_wxyz", "rotation_6d", "rotvec"]
)
def test_a_rotation_counts_by_its_angle_in_every_convention(rotation):
    rows = from_matrix(about(2, np.array([3.135, 3.139, 3.144, 3.159])), rotation)
    if rotation.startswith("quaternion"):
        rows[2] *= -1  # the same rotation
    states = np.hstack([np.zeros((4, 3)), rows]).astype(np.float32)
    numbers = Numbers(rotation=rotation, gripper=None)
    assert idle_steps(states, numbers).tolist() == [True, True, False]
    assert idle_steps(states[:1], numbers).tolist() == []


def test_entropy_is_5_bits_for_uniform_and_0_for_constant_actions():
    rng = np.random.default_rng(0)
    actions = np.stack([rng.random(20_000), np.zeros(20_000)], axis=1).astype(np.float32)
    assert entropy(actions) == pytest.approx([5, 0], abs=0.03)


def test_duplicates_and_damage_are_found(store, make_episode):
    first = make_episode(0)
    ids = [store.append(e) for e in (first, make_episode(1), replace(first, instruction="other"))]
    ids.append(store.append(make_episode(3)))
    os.truncate(store.steps_path(ids[3]), 99)
    found = measure(store, store.query())
    assert [set(group) for group in found.duplicates] == [{ids[0], ids[2]}]
    assert found.damaged == (ids[3],)
    assert len(found.entropy) == 7


def test_a_card_names_meaning_judges_policies_and_tasks(store, make_episode, capsys, tmp_path):
    store.append(make_episode(0, instruction="put the | away"))
    text = card(store, Query(), "kitchen", "cc-by-4.0", measure(store, store.query()))
    for part in ("license: cc-by-4.0", "fingers down", "| compact | 1 | 1.00 |", "| gcbc-0 | 1 |",
                 "put the \\| away", "idle share"):  # fmt: skip
        assert part in text
    run(capsys, "card", "--store", store.path, "--out", tmp_path / "README.md", "--dry-run")
    assert not (tmp_path / "README.md").exists()
    run(capsys, "card", "--store", store.path, "--out", tmp_path / "README.md", "--measure")
    assert "## Quality" in (tmp_path / "README.md").read_text()


def test_quality_on_the_command_line_names_the_most_idle(store, make_episode, capsys):
    id = store.append(make_episode(0))
    out = run(capsys, "quality", "--store", store.path)
    assert f"{id}: 0.00 idle" in out
    assert "duplicates: 0" in out


def test_verify_says_how_many_episodes_it_sampled(store, make_episode, capsys):
    for seed in range(4):
        store.append(make_episode(seed))
    assert (
        run(capsys, "verify", "--store", store.path, "--sample", 2)
        == "2 of 4 episodes checked, none damaged"
    )


def test_ls_reads_the_rows_of_the_newest_alone(store, make_episode):
    ids = [store.append(make_episode(seed)) for seed in range(5)]
    count, shown = store.newest(Query(outcomes=("success",)), 2)
    assert (count, [s.id for s in shown]) == (5, ids[-2:])
    assert len(store.newest(Query(limit=3), None)[1]) == 3


def test_a_dry_sweep_names_what_a_sweep_removes_and_changes_nothing(store, make_episode, capsys):
    ids = [store.append(make_episode(seed)) for seed in range(2)]
    os.truncate(store.steps_path(ids[0]), 99)
    orphan = store.path / "steps" / "20200101" / "20200101-000000-0000000000.lance"
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    words = ("sweep", "--store", store.path, "--damaged", "--older-than-s", 0)
    out = run(capsys, *words, "--dry-run")
    assert f"would be removed {orphan}" in out
    assert f"would be removed damaged {ids[0]}" in out
    assert orphan.exists()
    assert len(list(store.query())) == 2
    out = run(capsys, *words)
    assert f"removed {orphan}" in out
    assert f"removed damaged {ids[0]}" in out
    assert not orphan.exists()


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_sweep_names_the_versions_that_it_deletes(store, make_episode, capsys):
    kept = [store.append(make_episode(seed)) for seed in range(5)]
    store.tag("gcbc", 3)
    words = ("sweep", "--store", store.root, "--versions-days", "0")
    before = store.index.open().versions()
    dry = run(capsys, *words, "--dry-run")
    assert "would be deleted version 1 to 2 would be deleted version 4 to 5" in dry
    assert store.index.open().versions() == before
    done = run(capsys, *words)
    assert "deleted version 1 to 2" in done
    versions = {v["version"] for v in store.index.open().versions()}
    assert versions == {3, store.version}
    assert [s.id for s in store.query()] == kept
