"""Videos of people as frames: captions, the cache, and what can't be decoded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from soar.data.video_frames import _append, build_video_frames, read_captions
from soar.errors import ConfigError
from soar.utils.media import write_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Something-Something's layout: two videos, a damaged one, and captions of one more."""
    folder = tmp_path / "videos"
    for id, frames, level in (("7", 6, 40), ("12", 3, 200)):
        image = np.full((48, 64, 3), level, np.uint8)
        write_video(folder / f"20bn/{id}.mp4", [image] * frames, fps=12)
    (folder / "20bn/9.mp4").write_bytes(b"no video")
    labels = [
        {"id": "7", "label": "moving [a cup] down", "template": "moving [something] down"},
        {"id": "9", "label": "nothing"},
        {"id": "11", "label": "gone"},
    ]
    (folder / "labels").mkdir()
    (folder / "labels/train.json").write_text(json.dumps(labels))
    (folder / "labels/validation.json").write_text(json.dumps({"12": "lifting a box"}))
    return folder


def test_captions_are_those_of_videos_that_are_there(videos: Path) -> None:
    found = {p.stem: text for p, text in read_captions(videos).items()}
    assert found == {"7": "moving a cup down", "9": "nothing", "12": "lifting a box"}


def test_a_folder_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 videos"):
        read_captions(tmp_path)


def test_videos_become_episodes_without_states_and_damaged_ones_are_left_out(
    videos: Path, tmp_path: Path
) -> None:
    frames = build_video_frames(videos, 16, tmp_path / "cache")
    assert {e.instruction: e.length for e in frames.episodes} == {
        "moving a cup down": 5, "lifting a box": 2
    }  # fmt: skip
    first = [e.instruction for e in frames.episodes].index("moving a cup down")
    images = frames.images[frames.starts[first] : frames.starts[first + 1]]
    assert images.shape == (6, 16, 16, 3)
    assert abs(int(images.mean()) - 40) < 4
    assert np.isnan(frames.states).all()


def test_an_interrupted_build_goes_on_with_the_next_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_video_frames(videos, 16, tmp_path / "whole")
    decoded: list[str] = []

    def stop_after_one(file, path, resolution):
        if decoded:
            file.write(b"half a frame")
            raise KeyboardInterrupt
        decoded.append(path.name)
        return _append(file, path, resolution)

    with monkeypatch.context() as patch:
        patch.setattr("soar.data.video_frames._append", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            build_video_frames(videos, 16, tmp_path / "cut")

    def note(file, path, resolution):
        decoded.append(path.name)
        return _append(file, path, resolution)

    monkeypatch.setattr("soar.data.video_frames._append", note)
    resumed = build_video_frames(videos, 16, tmp_path / "cut")
    assert sorted(decoded) == ["12.mp4", "7.mp4", "9.mp4"]
    assert (resumed.images == whole.images).all()


def test_a_build_that_is_killed_at_its_end_loses_no_frame(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_video_frames(videos, 16, tmp_path / "whole")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("soar.data.frame_cache.Frames.save", killed)
        with pytest.raises(KeyboardInterrupt):
            build_video_frames(videos, 16, tmp_path / "cut")
    resumed = build_video_frames(videos, 16, tmp_path / "cut")
    assert resumed.images.any()
    assert (resumed.images == whole.images).all()
    assert {p.name for p in next((tmp_path / "cut").iterdir()).iterdir()} >= {"images.npy"}
