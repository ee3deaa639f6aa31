"""Raw logs: those of the paper's robots, and raw BridgeData V2."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_parts import make_bridge, smooth

from soar.data.store.images import decode
from soar.errors import ConfigError
from soar.exchange.formats import open_data_set, recognize
from soar.exchange.raw.bridge import BridgeReader, load_pickle
from soar.exchange.raw.soar_logs import SoarLogReader
from soar.exchange.recording import parse_date
from soar.exchange.stores import check_recording, import_episodes


def write_video(path: Path, frames) -> None:
    """As cv2.VideoWriter with the code DIVX does: MPEG-4 part 2, 15 images per second."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=15)
        stream.bit_rate = 10**7
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def log(tmp_path) -> Path:
    """One trajectory as SOAR's logger writes it."""
    rng = np.random.default_rng(0)
    path = tmp_path / "logs/2/scene_7/gcbc/2024-03-14/success/traj0"
    path.mkdir(parents=True)
    write_video(path / "trajectory.mp4", smooth(rng, 30, 64))
    write_video(path / "goals.mp4", np.repeat(smooth(rng, 2, 64), 15, axis=0))
    np.save(path / "actions.npy", rng.normal(size=(30, 7)))
    np.save(path / "eef_poses.npy", rng.normal(size=(30, 7)))
    (path / "language_task.txt").write_text("put the mushroom in the pot")
    (path / "success.txt").write_text("True")
    (path / "time.txt").write_text("Thu Mar 14 17:36:21 PDT 2024")
    (path / "robot_id.txt").write_text("2")
    (path / "task_list.txt").write_text(json.dumps(["a"], indent=4))
    return tmp_path / "logs"


def test_a_log_of_the_papers_robots_is_read(log, new_store):
    assert recognize(log) == "soar-logs"
    reader = open_data_set(log)
    (found,) = reader.read()
    assert len(reader) == 1
    assert len(found) == 29
    assert found.instruction == "put the mushroom in the pot"
    assert (found.verdict.outcome, found.verdict.judge) == ("success", "logs")
    origin = found.provenance
    assert (origin.station, origin.scene, origin.checkpoint) == ("robot_2", "scene_7", "gcbc")
    assert origin.started_s == parse_date("Fri Mar 15 00:36:21 UTC 2024") == 1710462981
    assert [step for step, _ in found.subgoals] == [0, 20]
    expected = smooth(np.random.default_rng(0), 30, 64)
    assert np.abs(decode(found.cameras["primary"][9]).astype(int) - expected[9]).mean() < 5
    store = new_store("t")
    assert [p for _, p in import_episodes(reader, store)] == [""]
    assert next(store.query()).id.startswith("20240315-003621-")


def test_a_log_whose_parts_dont_fit_is_named(log):
    path = next(log.rglob("actions.npy"))
    np.save(path, np.zeros((12, 7)))
    with pytest.raises(ConfigError, match="12 actions, 30 poses"):
        list(SoarLogReader(log).read())
    path.write_bytes(b"\x93NUMPY\x01\x00v")
    with pytest.raises(ConfigError, match="can't be read"):
        list(SoarLogReader(log).read())


def test_raw_bridge_keeps_its_files_and_all_its_steps(tmp_path):
    path = make_bridge(tmp_path / "bridge", "2022-04-15_07-00-00")
    assert recognize(tmp_path / "bridge") == "bridge-raw"
    (found,) = BridgeReader(tmp_path / "bridge").read()
    check_recording(found)
    assert len(found) == 6
    assert list(found.cameras) == ["primary", "image_1"]
    assert found.cameras["image_1"][6] == (path / "images1/im_6.jpg").read_bytes()
    assert found.instruction == "wipe the table"
    assert found.verdict.outcome == "unknown"
    assert (found.provenance.started_s, found.provenance.scene) == (
        1.65e9,
        "kitchen/wipe/00",
    )
    assert np.allclose(found.times_s, 0.2 * np.arange(7))
    (unsure,) = BridgeReader(tmp_path / "bridge", 0.5).read()
    assert unsure.instruction == ""


def test_images_that_were_one_step_late_are_shifted(tmp_path):
    path = make_bridge(tmp_path / "bridge", "2021-06-30_12-00-00")
    actions = load_pickle(path / "policy_out.pkl")
    (found,) = BridgeReader(tmp_path / "bridge").read()
    assert len(found) == 5
    assert found.cameras["primary"][0] == (path / "images0/im_1.jpg").read_bytes()
    assert np.allclose(found.actions[0], actions[0]["actions"], atol=1e-6)


class _Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    path = tmp_path / "obs_dict.pkl"
    path.write_bytes(pickle.dumps({"full_state": _Malicious()}))
    with pytest.raises(ConfigError, match="would run"):
        load_pickle(path)


def test_arrays_that_numpy_1_pickled_are_read(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(
        pickle.dumps(np.arange(3.0), protocol=2).replace(b"numpy._core", b"numpy.core")
    )
    assert load_pickle(path).tolist() == [0, 1, 2]


def test_an_unknown_folder_says_what_is_known(tmp_path):
    with pytest.raises(ConfigError, match=r"valid: LeRobot v3\.0"):
        recognize(tmp_path)


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(tmp_path):
    path = make_bridge(tmp_path / "raw", "2023-01-02_03-04-05")
    (path / "images0/im_2.jpg").unlink()
    os.mkfifo(path / "images0/im_2.jpg")
    with pytest.raises(ConfigError, match=r"im_2\.jpg is no regular file"):
        open_data_set(tmp_path / "raw")


@pytest.mark.parametrize("about", ["[]", "3", '{"features": 7}', '{"codebase_version": "v3.0"}'])
def test_a_damaged_description_is_one_line(about, tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(about)
    with pytest.raises(ConfigError, match=str(tmp_path)) as error:
        open_data_set(tmp_path)
    assert "\n" not in str(error.value)


def test_what_a_reader_raises_in_the_middle_is_one_line(tmp_path, monkeypatch):
    make_bridge(tmp_path / "raw", "2023-01-02_03-04-05")
    reader = open_data_set(tmp_path / "raw")
    monkeypatch.setattr(BridgeReader, "recording", lambda self, path: dict[str, Any]()["frames"])
    with pytest.raises(ConfigError, match=r"raw is damaged, .*KeyError: 'frames'"):
        list(reader.read())
