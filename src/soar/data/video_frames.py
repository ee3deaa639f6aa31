"""Frames of videos with captions, such as Something-Something's: what a subgoal generator can learn from people.

The videos lie in a folder; JSON files beside them, or in its `labels/`, hold their captions. Frames are decoded once,
into the frame cache's format, one video at a time: memory doesn't grow with their number, and an interrupted build
goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from soar.data.frame_cache import Frames, locked
from soar.errors import ConfigError, StoreError
from soar.types import ACTION_DIM, EpisodeSummary, Provenance, Verdict
from soar.utils.files import read_json
from soar.utils.media import resize

SUFFIXES = (".webm", ".mp4", ".mkv", ".mov", ".avi")
"""Endings of the files that are read."""
_ID_KEYS = ("id", "video_id", "video", "file")
_CAPTION_KEYS = ("label", "caption", "text")
_HEADER_BYTES = 128
"""Size in bytes to which NumPy pads the header of an array file of images."""
_DONE = "done.jsonl"
"""Lines of the videos whose frames are complete, in order."""


def read_captions(folder: Path) -> dict[Path, str]:
    """Return the caption of each video that has one, by its file, in the order of the names.

    Captions are those of Something-Something, a list of {"id": ..., "label": ...}, or an object {"id": "caption"}. The
    placeholders' brackets are dropped.

    Raises:
        ConfigError: there is no such folder, or no video in it has a caption.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    captions: dict[str, str] = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("labels/*.json")]):
        captions |= _captions_of(read_json(path))
    videos = {p.stem: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES}
    found = {path: captions[id] for id, path in sorted(videos.items()) if id in captions}
    if not found:
        raise ConfigError(
            f"{folder}: {len(videos)} videos ({', '.join(SUFFIXES)}) and {len(captions)} captions in JSON files, "
            "none of the same name"
        )
    return found


def _captions_of(data: Any) -> Iterator[tuple[str, str]]:
    """Yield the names and captions in the data of a JSON file; nothing if it holds none."""
    if isinstance(data, Mapping):
        data = [{"id": k, "label": v} for k, v in data.items()]
    for entry in data if isinstance(data, Sequence) else ():
        if isinstance(entry, Mapping):
            id = next((entry[k] for k in _ID_KEYS if k in entry), None)
            text = next((entry[k] for k in _CAPTION_KEYS if k in entry), None)
            if id is not None and isinstance(text, str):
                yield Path(str(id)).stem, text.replace("[", "").replace("]", "")


def build_video_frames(folder: Path, resolution: int, cache: str | Path) -> Frames:
    """Return the frames of a folder's videos, from the cache or decoded into it.

    A video is an episode without actions and states, which are zeros and NaN. One that can't be decoded, or has a
    single frame, is left out.

    Args:
        folder: videos and captions (`read_captions`).
        resolution: height and width [px], by area averaging.
        cache: any number of caches, one subfolder each.

    Raises:
        ConfigError: there are no videos with captions.
        StoreError: none can be decoded, or the disk is full.
    """
    captions = read_captions(folder)
    names = [[str(p.relative_to(folder)), p.stat().st_size, text] for p, text in captions.items()]
    key = hashlib.sha256(json.dumps([str(folder.resolve()), resolution, names]).encode())
    home = Path(cache) / key.hexdigest()[:16]
    try:
        with locked(home):
            if not (home / "frames.json").exists():
                _build(captions, resolution, home)
    except OSError as error:
        raise StoreError(f"frames not built in '{home}': {error}") from error
    return Frames.load(home)


def _build(captions: Mapping[Path, str], resolution: int, home: Path) -> None:
    from soar.utils.progress import progress_bar

    done = _read_done(home / _DONE)
    if (home / "images.npy").exists():  # a build that was killed at its end
        (home / "images.npy").rename(home / "images.raw")
    with (home / "images.raw").open("ab") as images, progress_bar() as bar:
        images.truncate(_HEADER_BYTES + sum(done.values()) * resolution * resolution * 3)
        images.seek(0, os.SEEK_END)
        task = bar.add_task("decoding videos", total=len(captions), note=f"{resolution} px")
        for path in captions:
            if path.name not in done:
                done[path.name] = _append(images, path, resolution)
                with (home / _DONE).open("a") as file:
                    file.write(json.dumps([path.name, done[path.name]]) + "\n")
            bar.advance(task)
    kept = [(p, text, done[p.name]) for p, text in captions.items() if done[p.name] > 1]
    if not kept:
        raise StoreError(f"none of the {len(captions)} videos can be decoded")
    episodes = [
        EpisodeSummary(
            p.stem,
            text,
            count - 1,
            Verdict("unknown"),
            Provenance("video", "real", p.parent.name, 0, 0.0),
        )
        for p, text, count in kept
    ]
    _finish(home, episodes, [c for *_, c in kept], resolution)


def _append(file: IO[bytes], path: Path, resolution: int) -> int:
    """Append a video's frames, and return their number; 0 if it has fewer than 2 or can't be decoded."""
    start, count = file.tell(), 0
    for frame in _frames(path):
        file.write(resize(frame, resolution).tobytes())
        count += 1
    if count < 2:
        file.seek(start)
        file.truncate()
        count = 0
    file.flush()
    os.fsync(file.fileno())
    return count


def _frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield the frames of a video, as far as it can be decoded."""
    import av

    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, ValueError):
        return


def _finish(
    home: Path, episodes: Sequence[EpisodeSummary], counts: Sequence[int], resolution: int
) -> None:
    """Put the header before the images, which stay where they are, and write the other arrays and the JSON."""
    total = sum(counts)
    header = io.BytesIO()
    shape = (total, resolution, resolution, 3)
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    with (home / "images.raw").open("r+b") as file:
        file.write(header.getvalue())
        os.fsync(file.fileno())
    (home / "images.raw").rename(home / "images.npy")
    frames = Frames(
        images=np.load(home / "images.npy", mmap_mode="r"),
        states=np.broadcast_to(np.float32(np.nan), (total, ACTION_DIM)),
        actions=np.broadcast_to(np.float32(0), (total, ACTION_DIM)),
        starts=np.cumsum([0, *counts], dtype=np.int64),
        episodes=tuple(episodes),
    )
    frames.save(home, images=False)
    (home / _DONE).unlink()


def _read_done(path: Path) -> dict[str, int]:
    """Return the numbers of frames of an interrupted build's complete videos, by their files."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("\n"))
