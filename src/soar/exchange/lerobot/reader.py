"""Import from LeRobot v3.0.

The format has no observation after the last action, so an episode of T frames gives T - 1 control steps; one that soar
wrote with its last frame gives all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from soar.contract.contract import WIDOWX, Camera, Contract
from soar.data.store.images import encode
from soar.errors import ConfigError
from soar.exchange.lerobot import layout
from soar.exchange.lerobot.video import VideoReader
from soar.exchange.recording import Recording, is_jpeg, nominal_times, stated_contract, subgoals_of
from soar.exchange.staging import FOLDER
from soar.types import Provenance, Verdict
from soar.utils.files import Json, read_json, read_lines
from soar.utils.hub import folder_name, hub_origin
from soar.utils.media import decode_image

if TYPE_CHECKING:
    import pyarrow as pa


class LeRobotReader:
    """Reads the episodes of a LeRobot data set.

    Args:
        folder: the data set's folder.
        contract: meaning of its numbers, where soar hasn't written it; None takes the WidowX's where the names of
            the numbers are its.
        camera: name of the primary camera; "" is the one called primary, or the first.
    """

    def __init__(self, folder: Path, contract: Contract | None = None, camera: str = "") -> None:
        self.folder = folder
        self._info: dict[str, Json] = read_json(folder / "meta" / "info.json")
        version = self._info.get("codebase_version")
        if version != layout.VERSION:
            raise ConfigError(
                f"{folder} is of LeRobot's version {version}; valid: {layout.VERSION}, which "
                "LeRobot's own script convert_dataset_v21_to_v30 makes"
            )
        self._features: dict[str, Json] = self._info["features"]
        self._fps = int(self._info["fps"])
        about = folder / FOLDER / "about.json"
        self._about: dict[str, Json] = read_json(about) if about.exists() else {}
        self._cameras = _cameras(self._features, camera, folder)
        self.contract = self._contract(contract)
        self._state, self._action = (
            layout.columns_by_name(numbers, layout.names_of(self._features.get(name, {})), name)
            for numbers, name in [
                (self.contract.state, layout.STATE),
                (self.contract.action, layout.ACTION),
            ]
        )

    @property
    def name(self) -> str:
        """Name of the data set: that of its folder."""
        return folder_name(self.folder)

    def __len__(self) -> int:
        """Number of episodes."""
        return int(self._info["total_episodes"])

    def read(self) -> Iterator[Recording]:
        """Yield the episodes in order; one is in memory at a time, and a part of a file's rows.

        Raises:
            ConfigError: a file is missing or damaged.
        """
        tasks = self._tasks()
        episodes = self._episodes()
        written = _Notes(self.folder)
        videos: dict[str, VideoReader] = {}
        try:
            for rows in _by_episode(sorted(self.folder.glob("data/*/*.parquet"))):
                index = rows["episode_index"][0].as_py()
                episode = episodes.get(index)
                if episode is None:
                    raise ConfigError(
                        f"{self.folder} has no row of meta/episodes for episode {index}"
                    )
                images = self._images(rows, episode, videos)
                row = written.of(index, rows.num_rows)
                yield self._recording(rows, episode, images, tasks, row)
        finally:
            for video in videos.values():
                video.close()

    def _contract(self, given: Contract | None) -> Contract:
        period = 1 / self._fps
        found = stated_contract(self._about, given, self.folder) or given
        if found is None:
            names = layout.names_of(self._features.get(layout.ACTION, {}))
            if names and not any(name.lower().startswith(("d", "delta_")) for name in names):
                raise ConfigError(
                    f"actions of {self.folder} are {', '.join(names)}: what they mean isn't known; give their "
                    "contract with --contract FILE"
                )
            found = replace(WIDOWX, period_s=period)
        if abs(found.period_s * self._fps - 1) > 1e-3:
            raise ConfigError(
                f"{self.folder} has {self._fps} frames per second, its contract a period of {found.period_s} s"
            )
        known = {camera.name: camera for camera in found.cameras}
        chosen = tuple(known.get(name, Camera(name)) for name in self._cameras)
        return replace(found, cameras=chosen)

    def _tasks(self) -> dict[int, str]:
        import pyarrow.parquet as pq

        table = _table(lambda: pq.read_table(self.folder / "meta" / "tasks.parquet"), self.folder)
        texts = next((n for n in table.column_names if n != "task_index"), None)
        if texts is None:
            raise ConfigError(f"{self.folder}/meta/tasks.parquet names no tasks")
        pairs = zip(table["task_index"].to_pylist(), table[texts].to_pylist(), strict=True)
        return dict(pairs)

    def _episodes(self) -> dict[int, dict[str, Any]]:
        """Return the rows of `meta/episodes`, without statistics, by episode."""
        import pyarrow.parquet as pq

        found: dict[int, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("meta/episodes/*/*.parquet")):
            names = _table(lambda path=path: pq.read_schema(path), path).names
            columns = [n for n in names if not n.startswith(("stats/", "soar/"))]
            rows = _table(lambda path=path, w=columns: pq.read_table(path, columns=w), path)
            found |= {row["episode_index"]: row for row in rows.to_pylist()}
        return found

    def _images(
        self, rows: pa.Table, episode: Mapping[str, Any], videos: dict[str, VideoReader]
    ) -> dict[str, list[bytes]]:
        """Return the image files of each camera, and of the subgoals where there are some.

        `videos`: the open file of each camera, which is replaced where the episode is in another one.
        """
        found: dict[str, list[bytes]] = {}
        keys = dict(self._cameras)
        if layout.SUBGOAL in self._features:
            keys["subgoal"] = layout.SUBGOAL
        for name, key in keys.items():
            if self._features[key]["dtype"] == "image":
                found[name] = [_storable(image["bytes"]) for image in rows[key].to_pylist()]
                continue
            chunk, index = (
                int(episode[f"videos/{key}/{part}_index"]) for part in ("chunk", "file")
            )
            path = self.folder / layout.VIDEO_PATH.format(
                video_key=key, chunk_index=chunk, file_index=index
            )
            if key in videos and videos[key].path != path:
                videos.pop(key).close()
            video = videos.setdefault(key, VideoReader(path))
            start = float(episode[f"videos/{key}/from_timestamp"])
            frames = video.read(start, rows.num_rows, self._fps)
            found[name] = [encode(frame) for frame in frames]
        return found

    def _recording(
        self,
        rows: pa.Table,
        episode: Mapping[str, Any],
        images: dict[str, list[bytes]],
        tasks: Mapping[int, str],
        written: dict[str, Json] | None,
    ) -> Recording:
        index = int(episode["episode_index"])
        if rows.num_rows < 2:
            raise ConfigError(
                f"episode {index} of {self.folder} has {rows.num_rows} frame; valid: 2 or more"
            )
        actions = _matrix(rows, layout.ACTION)[:-1, self._action]
        commanded = actions
        if layout.COMMANDED in self._features:
            commanded = _matrix(rows, layout.COMMANDED)[:-1, self._action]
        times = nominal_times(rows.num_rows, self.contract.period_s)
        if layout.TIME in self._features:
            times = rows[layout.TIME].to_numpy().astype(np.float64)
        goals = images.pop("subgoal", [])
        recording = Recording(
            key=f"{index:06d}",
            instruction=tasks[rows["task_index"][0].as_py()],
            cameras=images,
            states=_matrix(rows, layout.STATE)[:, self._state],
            actions=actions,
            commanded=commanded,
            times_s=times,
            verdict=self._verdict(rows),
            provenance=Provenance(
                station=str(self._info.get("robot_type") or self.name),
                regime="real",
                scene="",
                seed=0,
                started_s=0.0,
                code_version=f"{hub_origin(self.folder) or self.name} {layout.VERSION}",
            ),
            contract=self.contract,
            subgoals=subgoals_of(goals),
        )
        return recording.restored(written) if written else recording

    def _verdict(self, rows: pa.Table) -> Verdict:
        """Return what the data set says about success; unknown if it says nothing."""
        if layout.SUCCESS not in rows.column_names:
            return Verdict("unknown")
        success = bool(rows[layout.SUCCESS][-1].as_py())
        return Verdict("success" if success else "failure", judge=self.name)


class _Notes:
    """What soar noted about each episode that it wrote, in order; nothing if another tool wrote the data set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._rows = (
            row for path in sorted(self._folder.glob("*.jsonl")) for row in read_lines(path)
        )
        self._next = next(self._rows, None)

    def of(self, episode: int, frames: int) -> dict[str, Json] | None:
        """Return the row of an episode, later than the last one asked for; None if there is none.

        Raises:
            ConfigError: it is of an episode of another length.
        """
        while self._next is not None and self._next.get("episode", -1) < episode:
            self._next = next(self._rows, None)
        row = self._next
        if row is None or row["episode"] != episode:
            return None
        if row.get("frames", frames) != frames:
            raise ConfigError(
                f"{self._folder} notes {row['frames']} frames of episode {episode}, and its data have {frames}: "
                "someone changed them; remove that folder to import them as others' data"
            )
        return row


def _cameras(features: Mapping[str, Json], primary: str, folder: Path) -> dict[str, str]:
    """Return the features of the cameras by their names, the primary one first."""
    keys = [
        key
        for key, feature in features.items()
        if feature["dtype"] in ("image", "video")
        and key != layout.SUBGOAL
        and not (feature.get("info") or {}).get("is_depth_map")
        and not (feature.get("info") or {}).get("video.is_depth_map")
    ]
    if not keys:
        raise ConfigError(f"{folder} has no camera")
    names = _names(keys)
    first = primary or ("primary" if "primary" in names else next(iter(names)))
    if first not in names:
        raise ConfigError(f"{folder} has no camera '{first}'; valid: {', '.join(names)}")
    return {first: names.pop(first), **names}


def _names(keys: Sequence[str]) -> dict[str, str]:
    """Return features of images by names of cameras: the last part of the key, or all of it where two end alike."""
    whole = [re.sub(r"\W", "_", key.removeprefix(layout.IMAGES)) for key in keys]
    last = [re.sub(r"\W", "_", key.split(".")[-1]) for key in keys]
    uses = Counter([*last, "subgoal"])  # which is the name of the policy's goal
    names = {key: name for key, name in zip(keys, last, strict=True) if uses[name] == 1}
    for key, name in zip(keys, whole, strict=True):
        while key not in names:
            if name not in {"subgoal", *names.values()}:
                names[key] = name
            name += "_"
    return {names[key]: key for key in keys}


def _by_episode(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the rows of each episode, reading one row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[pa.Table] = []
    for path in paths:
        file = _table(lambda path=path: pq.ParquetFile(path), path)
        for group in range(file.num_row_groups):
            table = _table(lambda f=file, g=group: f.read_row_group(g), path)
            indices = table["episode_index"].to_numpy()
            cuts = [0, *(np.flatnonzero(np.diff(indices)) + 1).tolist(), len(indices)]
            for start, end in pairwise(cuts):
                part = table.slice(start, end - start)
                if held and held[0]["episode_index"][0] != part["episode_index"][0]:
                    yield pa.concat_tables(held)
                    held = []
                held.append(part)
    if held:
        yield pa.concat_tables(held)


def _table(read: Any, path: Path) -> Any:
    """Return what a reader of Parquet files returns. Raises ConfigError: the file is missing or damaged."""
    try:
        return read()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {str(error).splitlines()[0][:120]}") from error


def _matrix(rows: pa.Table, name: str) -> Float32[np.ndarray, "_rows _width"]:
    flat = rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: Float32[np.ndarray, "_rows _width"] = flat.astype(np.float32).reshape(rows.num_rows, -1)
    return matrix


def _storable(image: bytes) -> bytes:
    """Return an image file as it is if a store can hold it, else as JPEG."""
    if is_jpeg(image) or image[:4] == b"\x89PNG":
        return image
    return encode(decode_image(image))
