"""What LeRobot 0.4.4, lerobot-doctor and TensorFlow Datasets read in our exports.

Each runs in an environment of its own; see docs/data-exchange.md. Without it the test is skipped.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exchange_parts import foreign_python, make_episode

from soar.data.store.images import decode
from soar.data.store.lance import LanceStore
from soar.exchange.export import RldsOptions, export_episodes
from soar.exchange.formats import open_data_set, recognize
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.exchange.stores import import_episodes, recording_of
from soar.types import Query

pytestmark = pytest.mark.slow


def run(python: Path, *words: object) -> str:
    done = subprocess.run([python, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def store(new_store) -> LanceStore:
    outcomes = ["success", "failure", "unknown"]
    episodes = [make_episode(i, 20, 64, o) for i, o in enumerate(outcomes)]
    made: LanceStore = new_store("s", *episodes)
    return made


@pytest.mark.parametrize("video", [None, "av1", "h264"])
def test_lerobots_reader_finds_every_pixel_number_and_verdict(store, tmp_path, video):
    python = foreign_python("lerobot044")
    out = tmp_path / "out"
    export_episodes(store, Query(), out, LeRobotOptions(video=video, last_frame=True))
    script = Path(__file__).with_name("read_with_lerobot.py")
    found = json.loads(run(python, script, out).splitlines()[-1])
    recordings = [recording_of(store, s) for s in store.query()]
    assert np.array_equal(found["state"], np.concatenate([r.states for r in recordings]))
    actions = np.array(found["action"]).reshape(3, 21, 3, 7)
    for mine, theirs in zip(recordings, actions, strict=True):
        assert np.array_equal(theirs[:20, 0], mine.actions)
        assert np.array_equal(theirs[:18, 2], mine.actions[2:])
    assert found["padded"][:1] + found["padded"][20:21] == [[False] * 3, [False, True, True]]
    assert [e["soar/outcome"] for e in found["episodes"]] == ["success", "failure", "unknown"]
    assert found["task"][::21] == [r.instruction for r in recordings]
    assert sum(found["success"]) == 1
    pixels = np.load(tmp_path / "observation.images.primary.npy").astype(int)
    stored = np.stack([decode(i) for r in recordings for i in r.cameras["primary"]])
    error = np.abs(pixels - stored).mean()
    assert error < 3 if video else error == 0
    assert "observation.images.primary" in found["statistics"]


def test_lerobot_doctor_finds_nothing_to_fail(store, tmp_path):
    python = foreign_python("lerobot044")
    options = LeRobotOptions(video="h264", subgoals=True)
    export_episodes(store, Query(), tmp_path / "out", options)
    report = run(python, "-m", "lerobot_doctor.cli", tmp_path / "out")
    assert "[FAIL]" not in report
    for check in ("Metadata & Format Compliance", "Temporal Consistency", "Video Integrity"):
        assert f"[PASS] {check}" in report


@pytest.mark.parametrize("layout", ["soar", "bridge"])
def test_tensorflow_datasets_reads_every_step(store, tmp_path, layout):
    python = foreign_python("tfds")
    export_episodes(store, Query(), tmp_path / "out", RldsOptions(layout, last_frame=True))
    script = Path(__file__).with_name("read_with_tfds.py")
    folder = tmp_path / "out" / f"{layout}_dataset" / "1.0.0"
    found = json.loads(run(python, script, folder))
    assert found.keys() == ({"success", "failure"} if layout == "soar" else {"train"})
    episodes = {e["metadata"]["file_path"]: e for split in found.values() for e in split}
    for summary in store.query():
        if layout == "soar" and summary.verdict.outcome == "unknown":
            continue
        mine, theirs = recording_of(store, summary), episodes[summary.id]
        first = layout == "bridge"  # its readers drop the first step
        assert np.array_equal(np.array(theirs["state"], np.float32)[first:], mine.states)
        assert np.array_equal(np.array(theirs["action"], np.float32)[first:-1], mine.actions)
        assert theirs["instruction"] == mine.instruction
        assert theirs["is_last"] == [False] * (20 + first) + [True]
        if layout == "soar":
            assert theirs["metadata"]["success"] == (mine.verdict.outcome == "success")


def test_tensorflow_datasets_decodes_the_same_pixels(new_store, tmp_path):
    python = foreign_python("tfds")
    store = new_store("big", make_episode(steps=5, size=256))
    export_episodes(store, Query(), tmp_path / "out", RldsOptions(last_frame=True))
    script = Path(__file__).with_name("read_with_tfds.py")
    (theirs,) = json.loads(run(python, script, tmp_path / "out/soar_dataset/1.0.0"))["success"]
    mine = recording_of(store, next(store.query()))
    images = [decode(image) for image in mine.cameras["primary"]]
    assert theirs["images"][:6] == [hashlib.sha256(i.tobytes()).hexdigest() for i in images]


@pytest.mark.parametrize("kind", ["images", "video"])
def test_a_set_that_lerobot_wrote_is_imported(new_store, tmp_path, kind):
    python = foreign_python("lerobot044")
    run(python, Path(__file__).with_name("write_with_lerobot.py"), tmp_path / "set", kind)
    assert recognize(tmp_path / "set") == "lerobot"
    store = new_store("t")
    problems = [p for _, p in import_episodes(open_data_set(tmp_path / "set"), store)]
    assert problems == ["", ""]
    summaries = sorted(store.query(), key=lambda summary: summary.instruction)
    for number, summary in enumerate(summaries):
        episode = store.load(summary.id)
        assert (summary.instruction, len(episode)) == (f"task {number}", 5)
        assert summary.contract.camera_names == ("front",)
        assert summary.verdict.outcome == "unknown"
        numbers = 100 * number + np.arange(6)[:, None] + np.arange(7)
        assert np.array_equal(episode.states, numbers)
        assert np.array_equal(episode.actions, -numbers[:5])
        shades = 20 + 100 * number + 10 * np.arange(6)
        means = episode.images.mean(axis=(1, 2, 3))
        assert np.abs(means - shades).max() < (3 if kind == "video" else 0.01)


def test_tensorflows_own_reader_parses_what_the_papers_training_reads(store, tmp_path):
    python = foreign_python("tensorflow")
    export_episodes(store, Query(), tmp_path / "out", RldsOptions())
    script = Path(__file__).with_name("read_with_tensorflow.py")
    text = run(python, script, tmp_path / "out/soar_dataset/1.0.0")
    found = json.loads(text.splitlines()[-1])
    judged = [s for s in store.query() if s.verdict.outcome != "unknown"]
    assert found.keys() == {s.id for s in judged}
    for summary in judged:
        mine, theirs = recording_of(store, summary), found[summary.id]
        assert np.array_equal(np.array(theirs["state"], np.float32), mine.states[:-1])
        assert np.array_equal(np.array(theirs["action"], np.float32), mine.actions)
        assert theirs["instruction"] == mine.instruction
        assert theirs["success"] == (summary.verdict.outcome == "success")
        assert theirs["shape"] == [256, 256, 3]
