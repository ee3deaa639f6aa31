"""LeRobot v3.0: the round trip of episodes, resumption, statistics and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from exchange_parts import difference, make_episode, recording, same
from hypothesis import given, settings
from hypothesis import strategies as st

from soar.contract.contract import WIDOWX, ActionNumbers, Numbers
from soar.data.store.images import decode
from soar.errors import ConfigError
from soar.exchange.export import export_episodes
from soar.exchange.lerobot import layout
from soar.exchange.lerobot.progress import progress, write_progress
from soar.exchange.lerobot.reader import LeRobotReader, _cameras
from soar.exchange.lerobot.statistics import histogram, image_statistics, number_statistics
from soar.exchange.lerobot.writer import LeRobotOptions, LeRobotWriter
from soar.exchange.staging import staged
from soar.exchange.stores import import_episodes, recording_of
from soar.types import Query, Verdict
from soar.utils.config import to_plain

EVERYTHING = LeRobotOptions(subgoals=True, commanded=True, interventions=True, last_frame=True)


def write(out, recordings, options=EVERYTHING, data_mb: float = 100):
    contract = recordings[0].contract
    with staged(out, {"contract": to_plain(contract)}) as staging:
        return list(LeRobotWriter(staging, contract, options, data_mb).write(recordings))


@settings(max_examples=4, deadline=None)
@given(
    steps=st.integers(5, 9), seed=st.integers(0, 99), cameras=st.sampled_from([(), ("wrist", "b")])
)
def test_an_episode_with_its_last_frame_comes_back_whole(tmp_path_factory, steps, seed, cameras):
    out = tmp_path_factory.mktemp("lerobot") / "out"
    actors = ["policy", "person"] + ["policy"] * (steps - 2)
    one = recording(make_episode(seed, steps, cameras=cameras, actors=actors))
    assert write(out, [one]) == [one.id]
    (found,) = LeRobotReader(out).read()
    assert same(one, found)


@pytest.mark.parametrize("video", ["av1", "h264"])
def test_video_differs_by_less_than_3_of_255(tmp_path, video):
    episodes = [recording(make_episode(i, size=64)) for i in range(3)]
    options = replace(EVERYTHING, video=video, subgoals=False)
    write(tmp_path / "out", episodes, options)
    found = list(LeRobotReader(tmp_path / "out").read())
    for one, other in zip(episodes, found, strict=True):
        assert same(one, other, ["cameras", "subgoals"])
        assert difference(one.cameras["primary"], other.cameras["primary"]) < 3


def test_a_killed_export_goes_on_and_a_grown_store_appends_files(tmp_path):
    episodes = [recording(make_episode(i)) for i in range(4)]
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _interrupted_after(3, out, episodes)
    assert not out.exists()
    with staged(out, {}) as staging:
        done = staging.done()
        assert len(done) == 2  # the third one's file was open
        rest = [r for r in episodes if r.id not in done]
        list(LeRobotWriter(staging, WIDOWX, EVERYTHING, 0.001).write(rest))
    first = (out / "data/chunk-000/file-000.parquet").stat().st_ino
    with staged(out, {}) as staging:
        list(LeRobotWriter(staging, WIDOWX, EVERYTHING).write([recording(make_episode(8))]))
    assert (out / "data/chunk-000/file-000.parquet").stat().st_ino == first
    assert not list(tmp_path.glob("out.*"))
    found = list(LeRobotReader(out, WIDOWX).read())
    assert [r.id for r in found] == [*(r.id for r in episodes), recording(make_episode(8)).id]
    info = json.loads((out / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, 40, 2)
    rows = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["dataset_from_index"] for row in rows] == [0, 8, 16, 24, 32]
    table = pq.read_table(out / "data")
    assert table["index"].to_pylist() == list(range(40))


def test_an_export_that_failed_before_its_first_file_fixes_no_options(new_store, tmp_path):
    store = new_store("s", make_episode(0, size=32), make_episode(1, size=64))
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="--size"):
        export_episodes(store, Query(), out, LeRobotOptions())
    assert export_episodes(store, Query(), out, LeRobotOptions(size=32)).exported == 2
    assert len(LeRobotReader(out)) == 2


def test_the_working_folder_is_no_place_for_an_export(new_store, tmp_path, monkeypatch):
    store = new_store("s", make_episode(0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="exists and is no export of soar"):
        export_episodes(store, Query(), Path(), LeRobotOptions())
    with pytest.raises(ConfigError, match="/ can't be an export"):
        export_episodes(store, Query(), Path("/"), LeRobotOptions())


def test_other_options_and_other_folders_are_refused(new_store, tmp_path):
    store = new_store("s", make_episode())
    export_episodes(store, Query(), tmp_path / "out", LeRobotOptions())
    with pytest.raises(ConfigError, match="exported with commanded False, not True"):
        export_episodes(store, Query(), tmp_path / "out", LeRobotOptions(commanded=True))
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="no export of soar"):
        export_episodes(store, Query(), tmp_path / "other", LeRobotOptions())


def test_an_episode_added_during_an_export_is_left_to_the_next(new_store, tmp_path, monkeypatch):
    store = new_store("s", make_episode(0))
    odd = replace(make_episode(1), contract=replace(WIDOWX, period_s=0.1))
    monkeypatch.setattr("soar.exchange.export.check_space", lambda *_: store.append(odd))
    assert export_episodes(store, Query(), tmp_path / "out", LeRobotOptions()).exported == 1
    assert len(list(store.query())) == 2


def test_a_verdict_that_changed_after_the_export_is_counted(new_store, tmp_path):
    store = new_store("s", make_episode(0), make_episode(1))
    export_episodes(store, Query(), tmp_path / "out", LeRobotOptions())
    store.set_verdict(next(store.query()).id, Verdict("failure", 0.1, judge="person"))
    counts = export_episodes(store, Query(), tmp_path / "out", LeRobotOptions())
    assert (counts.exported, counts.there, counts.changed) == (0, 2, 1)


def test_reward_and_success_come_from_the_verdict_at_the_last_frame(tmp_path):
    outcomes = ["success", "failure", "unknown"]
    write(tmp_path / "out", [recording(make_episode(i, outcome=o)) for i, o in enumerate(outcomes)])
    table = pq.read_table(tmp_path / "out/data")
    for name, last in [
        (layout.REWARD, [1, 0, 0]),
        (layout.DONE, [1, 1, 1]),
        (layout.SUCCESS, [1, 0, 0]),
    ]:
        values = np.array(table[name].to_pylist(), float).reshape(3, 8)
        assert values[:, -1].tolist() == last
        assert not values[:, :-1].any()
    rows = pq.read_table(tmp_path / "out/meta/episodes").to_pylist()
    assert [row["soar/outcome"] for row in rows] == outcomes
    assert [row["soar/p_success"] for row in rows] == [0.75, 0.75, None]


def test_statistics_are_those_of_all_frames(tmp_path):
    episodes = [recording(make_episode(i)) for i in range(3)]
    write(tmp_path / "out", episodes)
    found = json.loads((tmp_path / "out/meta/stats.json").read_text())
    states = np.concatenate([r.states for r in episodes]).astype(float)
    assert np.allclose(found[layout.STATE]["q10"], np.quantile(states, 0.1, axis=0))
    assert np.allclose(found[layout.STATE]["std"], states.std(0))
    assert found[layout.STATE]["count"] == [24]
    features = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    assert found.keys() == features.keys()
    assert all(
        {"min", "max", "mean", "std", "q01", "q50", "q99"} < v.keys() for v in found.values()
    )


@given(st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_histogram_gives_the_pixels_statistics(seed):
    image = recording(make_episode(seed, 5)).cameras["primary"][0]
    pixels = decode(image).reshape(-1, 3) / 255
    found = image_statistics(histogram([image]), 1)
    exact = number_statistics(pixels)
    for name in ("min", "max", "mean", "std"):
        assert np.allclose(np.ravel(found[name]), exact[name])
    for name in ("q01", "q10", "q50", "q90", "q99"):
        assert np.allclose(np.ravel(found[name]), exact[name], atol=1.01 / 255)


def test_progress_rises_to_the_probability_of_success(tmp_path):
    assert progress(Verdict("success", 0.8), 4).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert progress(Verdict("failure"), 2).tolist() == [0, 0]
    assert np.isnan(progress(Verdict("unknown"), 2)).all()
    episodes = [recording(make_episode(i, outcome=o)) for i, o in enumerate(["success", "unknown"])]
    with staged(tmp_path / "out", {}) as staging:
        list(LeRobotWriter(staging, WIDOWX, LeRobotOptions()).write(episodes))
        write_progress(staging)
    table = pq.read_table(tmp_path / "out/sarm_progress.parquet")
    assert table["index"].to_pylist() == list(range(14))
    assert table["progress_sparse"].null_count == 7


def test_an_arm_of_joints_keeps_its_names_and_order(tmp_path):
    joints = ("shoulder", "elbow")
    contract = replace(
        WIDOWX,
        action=ActionNumbers(space="joints", joints=joints, reference="absolute"),
        state=Numbers(space="joints", joints=joints),
        period_s=1 / 30,
    )
    one = recording(make_episode())
    one = replace(
        one, contract=contract, actions=one.actions[:, :3], commanded=one.actions[:, :3],
        states=one.states[:, :3],
    )  # fmt: skip
    write(tmp_path / "out", [one])
    (found,) = LeRobotReader(tmp_path / "out").read()
    assert same(one, found)
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["fps"] == 30
    assert info["features"]["action"]["names"] == ["shoulder", "elbow", "gripper"]


def test_another_labs_set_is_mapped_by_names_and_a_foreign_one_is_refused(new_store, tmp_path):
    export_episodes(new_store("s", make_episode()), Query(), tmp_path / "out", LeRobotOptions())
    for path in (tmp_path / "out/soar").iterdir():
        path.unlink()
    path = tmp_path / "out/meta/info.json"
    info = json.loads(path.read_text())
    names = ["gripper", "delta_x", "delta_y", "delta_z", "delta_roll", "delta_pitch", "delta_yaw"]
    info["features"]["action"]["names"] = names
    path.write_text(json.dumps(info))
    (found,) = LeRobotReader(tmp_path / "out").read()
    raw = np.array(pq.read_table(tmp_path / "out/data")["action"].to_pylist(), np.float32)
    assert np.array_equal(found.actions, raw[:-1, [1, 2, 3, 4, 5, 6, 0]])
    assert found.verdict.outcome == "success"
    info["features"]["action"]["names"] = [f"motor_{i}.pos" for i in range(7)]
    path.write_text(json.dumps(info))
    with pytest.raises(ConfigError, match="--contract FILE"):
        LeRobotReader(tmp_path / "out")


def test_episodes_are_paired_with_soars_notes_by_number(new_store, tmp_path):
    source = new_store("s", *(make_episode(i, steps=5 + i) for i in range(3)))
    out = tmp_path / "out"
    export_episodes(source, Query(), out, EVERYTHING)
    (notes,) = (out / "soar").glob("*.jsonl")
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text(lines[0] + lines[2])
    first, second, third = (r.id for r in LeRobotReader(out).read())
    assert [first, second, third] == [json.loads(lines[0])["id"], "", json.loads(lines[2])["id"]]
    other = json.loads(lines[2]) | {"episode": 1}
    notes.write_text(lines[0] + json.dumps(other) + "\n")
    with pytest.raises(ConfigError, match="notes 8 frames of episode 1, and its data have 7"):
        list(LeRobotReader(out).read())


def test_an_import_holds_one_video_file_of_each_camera_open(tmp_path):
    episodes = [recording(make_episode(i)) for i in range(4)]
    write(tmp_path / "out", episodes, LeRobotOptions(video="h264"), data_mb=0.001)
    assert len(list(tmp_path.glob("out/videos/*/*/*.mp4"))) == 4
    found = []
    for _ in LeRobotReader(tmp_path / "out").read():
        links = [fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        found.append(sum(link.suffix == ".mp4" for link in links))
    assert found == [1] * 4


def test_an_import_stores_the_same_files_under_the_same_ids(new_store, tmp_path):
    source = new_store("s", *(make_episode(i, cameras=("wrist",)) for i in range(3)))
    export_episodes(source, Query(), tmp_path / "out", EVERYTHING)
    target = new_store("t")
    problems = [p for _, p in import_episodes(LeRobotReader(tmp_path / "out"), target)]
    assert problems == ["", "", ""]
    for one, other in zip(source.query(), target.query(), strict=True):
        assert one == other
        assert same(recording_of(source, one), recording_of(target, other))


def test_two_contracts_and_two_sizes_dont_fit_one_data_set(new_store, tmp_path):
    odd = replace(make_episode(1), contract=replace(WIDOWX, period_s=0.1))
    with pytest.raises(ConfigError, match="different contracts"):
        export_episodes(
            new_store("a", make_episode(), odd), Query(), tmp_path / "o", LeRobotOptions()
        )
    store = new_store("b", make_episode(), make_episode(1, size=16))
    with pytest.raises(ConfigError, match="--size"):
        export_episodes(store, Query(), tmp_path / "p", LeRobotOptions())
    export_episodes(store, Query(), tmp_path / "q", LeRobotOptions(size=24))
    with pytest.raises(ConfigError, match="whole number"):
        layout.frames_per_second(replace(WIDOWX, period_s=0.3))


def _interrupted_after(count, out, recordings):
    with staged(out, {}) as staging:
        written = LeRobotWriter(staging, WIDOWX, EVERYTHING, 0.001).write(recordings)
        for n, _ in enumerate(written, 1):
            if n == count:
                raise KeyboardInterrupt


def test_cameras_whose_keys_end_alike_keep_names_of_their_own(tmp_path):
    def names(*keys: str) -> dict[str, str]:
        return _cameras({f"observation.images.{k}": {"dtype": "video"} for k in keys}, "", tmp_path)

    assert list(names("rgb.head", "rgb.wrist", "seg.head")) == ["rgb_head", "wrist", "seg_head"]
    assert list(names("left.image", "right.image")) == ["left_image", "right_image"]
    assert list(names("a.b", "c.b", "a_b", "x.subgoal")) == ["a_b_", "c_b", "a_b", "x_subgoal"]
    assert list(names("top", "sub.primary")) == ["primary", "top"]
