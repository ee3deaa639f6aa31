"""Schema 2: contract, cameras, widths, votes, actors and ends are stored, and a store of schema 1 takes them on."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar.contract.contract import WIDOWX, ActionNumbers, Camera, Contract, Numbers
from soar.data.frame_cache import Frames
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import sweep, verify
from soar.errors import ContentError
from soar.types import Actor, Episode, Verdict, Vote

JOINTS = tuple("abcdef")
ARM = Contract(
    ActionNumbers(space="joints", joints=JOINTS, gripper=None),
    Numbers(space="joints", joints=JOINTS, gripper=None),
    (Camera("front"), Camera("wrist")),
    1 / 15,
)
SCHEMA_1 = Path(__file__).parents[1] / "formats" / "made_by_975160d" / "store"
MakeEpisode = Callable[..., Episode]


def joint_episode(make_episode: MakeEpisode, seed: int = 0) -> Episode:
    """An episode of a six-joint arm without a gripper and with two cameras, of which a person took two steps."""
    rng, usual = np.random.default_rng(seed), make_episode(seed)
    actors: tuple[Actor, ...] = ("policy", "person", "person", "policy")
    return replace(
        usual,
        actions=usual.actions[:, :6].copy(),
        commanded=usual.commanded[:, :6].copy(),
        states=usual.states[:, :6].copy(),
        contract=ARM,
        other_images={"wrist": rng.integers(0, 256, (5, 8, 12, 3), np.uint8)},
        actors=actors,
        end="terminated",
        verdict=Verdict(
            "success", 0.7, source="vote",
            votes=(Vote(0.9, "probability", "yes", judge="a"), Vote(None, "word", "¿?", "unknown", "b", "Done?")),
        ),
    )  # fmt: skip


def test_an_arm_of_other_widths_and_cameras_is_read_as_it_was_written(
    store: LanceStore, make_episode: MakeEpisode, same: Callable[[Episode, Episode], bool]
) -> None:
    written = joint_episode(make_episode)
    id = store.append(written)
    read, summary = store.load(id), store.summary(id)
    assert same(read, written)
    assert np.array_equal(read.other_images["wrist"], written.other_images["wrist"])
    assert (read.contract, read.actors, read.end) == (ARM, written.actors, "terminated")
    assert read.verdict.votes == written.verdict.votes
    assert (summary.contract, summary.interventions, summary.end) == (ARM, 2, "terminated")
    wrist = store.images(id, [3, 1], "wrist")
    assert np.array_equal(wrist, written.other_images["wrist"][[3, 1]])
    assert not [f for f in verify(store) if f.problem]


def test_what_the_packaged_arm_leaves_out_is_the_default(
    store: LanceStore, make_episode: MakeEpisode
) -> None:
    read = store.load(store.append(make_episode()))
    assert (read.contract, read.actors, read.end) == (WIDOWX, (), "truncated")
    assert (dict(read.other_images), read.verdict.votes, read.interventions) == ({}, (), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract": WIDOWX}, "actions"),
        ({"other_images": {}}, r"cameras \['wrist'\] beside the first, it has \[\]"),
        ({"other_images": {"wrist": np.zeros((4, 8, 8, 3), np.uint8)}}, r"camera wrist are uint8"),
        ({"actors": ("person",)}, "actors are 1 of 4 steps"),
        ({"actors": ("nobody",) * 4}, "valid: none, or one of policy, person, expert"),
        ({"verdict": Verdict("success", 1.0, votes=(Vote(2.0, "word"),))}, "p_success is 2"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused(
    store: LanceStore, make_episode: MakeEpisode, change: dict[str, object], message: str
) -> None:
    episode = joint_episode(make_episode)
    for name, value in change.items():
        object.__setattr__(episode, name, value)
    with pytest.raises(ContentError, match=message):
        store.append(episode)


def test_verify_names_a_damaged_frame_of_any_camera(
    store: LanceStore, make_episode: MakeEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soar.data.store import steps

    encode = steps.encode  # type: ignore[attr-defined]
    wrist = joint_episode(make_episode).other_images["wrist"][2].shape
    monkeypatch.setattr(
        steps, "encode", lambda i, codec: b"x" if i.shape == wrist else encode(i, codec)
    )
    store.append(joint_episode(make_episode))
    [found] = [f.problem for f in verify(store) if f.problem]
    assert found == "camera_wrist of step 0, 1, 2, 3, 4 can't be decoded"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store that the version before wrote."""
    shutil.copytree(SCHEMA_1, tmp_path / "old")
    return tmp_path / "old"


def schema(folder: Path) -> int:
    return int(json.loads((folder / "store.json").read_text())["schema"])


def test_reading_changes_nothing_in_a_store_of_schema_1(old: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in old.rglob("*") if p.is_file()}
    store = open_store(old)
    episodes = [store.load(e.id) for e in store.query()]
    assert {(e.contract, e.actors, e.end) for e in episodes} == {(WIDOWX, (), "truncated")}
    assert {p: p.stat().st_mtime_ns for p in old.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("change", ["append", "set_verdict"])
def test_the_first_change_makes_it_one_of_schema_2_and_loses_nothing(
    old: Path, make_episode: MakeEpisode, change: str
) -> None:
    store = open_store(old)
    before, identity = list(store.query()), store.identity
    if change == "append":
        store.append(joint_episode(make_episode))
    else:
        store.set_verdict(before[0].id, joint_episode(make_episode).verdict)
    again = open_store(old)
    assert (schema(old), again.identity) == (2, identity)
    kept = 1 if change == "set_verdict" else 0
    assert [e for e in again.query() if e.id in {b.id for b in before}][kept:] == before[kept:]
    assert not [f for f in verify(again) if f.problem]
    sweep(again)
    assert len(list(again.query())) == len(before) + (change == "append")


def _append(folder: Path, episode: Episode) -> None:
    open_store(folder).append(episode)


def test_two_processes_that_change_it_at_once_lose_nothing(
    old: Path, make_episode: MakeEpisode
) -> None:
    count = len(list(open_store(old).query()))
    context = multiprocessing.get_context("forkserver")
    writers = [
        context.Process(target=_append, args=(old, joint_episode(make_episode, i)))
        for i in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0]
    assert len(list(open_store(old).query())) == count + 2


def test_columns_that_another_process_just_added_are_no_fault(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = open_store(old), open_store(old)
    views = [second.index.open()]
    first.index.upgrade()
    now = second.index.open
    monkeypatch.setattr(second.index, "open", lambda: views.pop() if views else now())
    second.index.upgrade()
    assert not views


def test_frames_of_other_arms_have_their_widths(make_episode: MakeEpisode) -> None:
    frames = Frames.from_episodes([joint_episode(make_episode)], 8)
    assert (frames.states.shape, frames.actions.shape) == ((5, 6), (5, 6))
