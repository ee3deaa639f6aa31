"""Files and features of a LeRobot data set, version v3.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soar.contract.contract import ActionNumbers, Contract, Numbers
from soar.errors import ConfigError
from soar.utils.files import Json

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200
"""Largest sizes of data and video files [MB], unless they hold a single episode."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
IMAGES = "observation.images."
SUBGOAL = f"{IMAGES}subgoal"
COMMANDED = "action.commanded"
INTERVENTION = "intervention"
STATE, ACTION, TIME = "observation.state", "action", "observation.time_s"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
DEFAULTS: Mapping[str, str] = {
    "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64",
}  # fmt: skip
"""Features that every data set has, and their types."""


def frames_per_second(contract: Contract) -> int:
    """Return a contract's control rate. Raises ConfigError: it is no whole number, which the format needs."""
    rate = 1 / contract.period_s
    if abs(rate - round(rate)) > 1e-6 * rate or round(rate) < 1:
        raise ConfigError(
            f"a control period of {contract.period_s} s is {rate:g} steps per second; valid for lerobot: a whole number"
        )
    return round(rate)


def action_names(numbers: ActionNumbers) -> list[str]:
    """Return names of an action's numbers: those of a motion begin with d."""
    prefix = "d" if numbers.reference == "delta" else ""
    motion = [prefix + name for name in numbers.motion_names]
    return motion + list(numbers.names[numbers.motion_dim :])


def features_of(
    contract: Contract,
    sizes: Mapping[str, tuple[int, int]],
    video: Mapping[str, Json] | None,
    *,
    subgoals: bool,
    commanded: bool,
    interventions: bool,
) -> dict[str, Json]:
    """Return the features of `info.json`.

    Args:
        contract: meaning of the numbers.
        sizes: height and width of each camera's images, and of "subgoal" where `subgoals` [px].
        video: description of the encoding; None for images in the data files.
        subgoals: whether the image that the policy pursues is a feature.
        commanded: whether the commanded actions are a feature, besides the executed ones.
        interventions: whether a feature tells which actions a person or an expert chose.
    """
    features: dict[str, Json] = {}
    for camera in contract.camera_names:
        features[IMAGES + camera] = _image(sizes[camera], video)
    if subgoals:
        features[SUBGOAL] = _image(sizes["subgoal"], None)
    names = action_names(contract.action)
    features[STATE] = _vector(contract.state.dim, list(contract.state.names))
    features[ACTION] = _vector(contract.action.dim, names)
    if commanded:
        features[COMMANDED] = _vector(contract.action.dim, names)
    scalars = {TIME: "float64", REWARD: "float32", DONE: "bool", SUCCESS: "bool"}
    if interventions:
        scalars[INTERVENTION] = "bool"
    for name, dtype in (scalars | dict(DEFAULTS)).items():
        features[name] = {"dtype": dtype, "shape": [1], "names": None}
    return features


def info_of(
    features: Mapping[str, Json], fps: int, robot: str, episodes: int, frames: int, tasks: int
) -> Json:
    """Return the content of `info.json`."""
    has_video = any(feature["dtype"] == "video" for feature in features.values())
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if has_video else None,
        "features": dict(features),
    }


def file_path(pattern: str, number: int, key: str = "") -> Path:
    """Return the path of a data set's file with a running number."""
    chunk, index = divmod(number, FILES_PER_CHUNK)
    return Path(pattern.format(chunk_index=chunk, file_index=index, video_key=key))


def file_columns(prefix: str, number: int) -> dict[str, int]:
    """Return the columns of an episode that say in which file something is."""
    chunk, index = divmod(number, FILES_PER_CHUNK)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": index}


def columns_by_name(numbers: Numbers, names: Sequence[str], feature: str) -> list[int]:
    """Return which of a feature's columns holds each of a contract's numbers.

    In names, case, "d" or "delta_" before a motion, and a motor's ".pos" are ignored.

    Raises:
        ConfigError: a number is missing, or there are others.
    """
    found = [_plain(name) for name in names]
    expected = [_plain(name) for name in numbers.names]
    if sorted(found) != sorted(expected):
        raise ConfigError(
            f"{feature} holds {', '.join(names) or 'numbers without names'}; its contract names "
            f"{', '.join(numbers.names)}: give another with --contract FILE"
        )
    return [found.index(name) for name in expected]


def names_of(feature: Json) -> list[str]:
    """Return the names of a vector's numbers, from any of the ways in which data sets give them."""
    names: Any = feature.get("names")
    if isinstance(names, dict):
        parts = [value for value in names.values() if isinstance(value, list)]
        names = [name for part in parts for name in part] if parts else list(names)
    return [str(name) for name in names or ()]


def _plain(name: str) -> str:
    text = name.lower().removesuffix(".pos").removesuffix("_pos").split(".")[-1]
    text = text.removeprefix("delta_")
    motions = ("x", "y", "z", "roll", "pitch", "yaw", "rx", "ry", "rz")
    return text[1:] if text[1:] in motions and text.startswith("d") else text


def _vector(width: int, names: list[str]) -> Json:
    return {"dtype": "float32", "shape": [width], "names": names}


def _image(size: tuple[int, int], video: Mapping[str, Json] | None) -> Json:
    height, width = size
    feature: dict[str, Json] = {
        "dtype": "video" if video else "image",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
    }
    if video:
        feature["info"] = {**video, "video.height": height, "video.width": width}
    return feature
