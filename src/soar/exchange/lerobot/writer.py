"""Export to LeRobot v3.0.

Episodes go to numbered files, each with its rows of `data/` and, for video, an mp4 file for each camera. A file is
finished before the next one starts. The files of `meta/` are made from what is noted about finished ones, at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from soar.contract.contract import Contract
from soar.data.store.images import decode, image_size
from soar.data.store.rows import to_row
from soar.errors import ConfigError
from soar.exchange.lerobot import layout
from soar.exchange.lerobot.meta import write_meta
from soar.exchange.lerobot.statistics import histogram, sample
from soar.exchange.lerobot.video import VideoCodec, VideoWriter, video_info
from soar.exchange.recording import Recording, actions_with_last, black, fitted, goals_in_force
from soar.exchange.staging import Staging
from soar.utils.files import Json, writing

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class LeRobotOptions:
    """Content of an exported data set."""

    video: VideoCodec | None = None
    """Encoding of the images; None copies the stored JPEG files."""
    subgoals: bool = False
    """Add the image that the policy pursues."""
    commanded: bool = False
    """Add the commanded actions, besides the executed ones."""
    interventions: bool = False
    """Add whether a person or an expert chose an action."""
    last_frame: bool = False
    """Add the last observation, with an action that moves nothing."""
    size: Annotated[int, Ge(2), Le(4096)] | None = None
    """Height and width of the images [px]; None keeps them."""


class _File:
    """A data file that is being written, with its videos."""

    def __init__(self, number: int, path: Path, writer: pq.ParquetWriter) -> None:
        self.number, self.path, self.writer = number, path, writer
        self.videos: dict[str, VideoWriter] = {}
        self.rows: list[dict[str, Json]] = []
        self.pixels: dict[str, Any] = {}
        self.size = 0

    def count(self, name: str, images: list[bytes]) -> None:
        """Add some of an episode's images to the statistics of a feature."""
        counts = histogram(sample(images))
        self.pixels[name] = self.pixels[name] + counts if name in self.pixels else counts

    def close(self) -> None:
        """Finish all files."""
        self.writer.close()
        for video in self.videos.values():
            video.close()

    def abandon(self) -> None:
        """Let go of unfinished files, whatever state they are in: the next export removes them."""
        with contextlib.suppress(OSError, ValueError):
            self.close()


class LeRobotWriter:
    """Writes episodes of one contract into a staged data set."""

    def __init__(
        self,
        staging: Staging,
        contract: Contract,
        options: LeRobotOptions,
        data_mb: float = layout.DATA_MB,
        video_mb: float = layout.VIDEO_MB,
    ) -> None:
        self._staging, self._contract, self._options = staging, contract, options
        self._limits = data_mb * 2**20, video_mb * 2**20
        self._fps = layout.frames_per_second(contract)
        self._file: _File | None = None
        self._features: dict[str, Json] = {}
        self._tasks: dict[str, int] = {}
        self._episodes = self._frames = 0

    def write(self, recordings: Iterable[Recording]) -> Iterator[str | None]:
        """Write episodes; yields the id of each.

        Raises:
            ConfigError: an image has another size than those of the first episode.
            FileError: a file can't be written.
        """
        with writing(self._staging.path):
            self._go_on()
            try:
                for recording in recordings:
                    self._append(recording)
                    yield recording.id
                self._finish_file()
            finally:
                if self._file is not None:
                    self._file.abandon()
            if self._episodes:
                write_meta(self._staging, self._features, self._fps)

    def _go_on(self) -> None:
        """Count what is finished, and remove what isn't."""
        finished = set(self._staging.files())
        for path in [
            *self._staging.path.glob("data/*/*"),
            *self._staging.path.glob("videos/*/*/*"),
        ]:
            chunk, index = int(path.parent.name[-3:]), int(path.stem[-3:])
            if _name(layout.FILES_PER_CHUNK * chunk + index) not in finished:
                path.unlink()
        for row in self._staging.rows():
            self._tasks.setdefault(row["instruction"], len(self._tasks))
            self._episodes += 1
            self._frames += row["frames"]
            self._features = row.get("features", self._features)

    def _append(self, recording: Recording) -> None:
        rows = len(recording) + self._options.last_frame
        cameras = {
            name: [fitted(image, self._options.size) for image in images[:rows]]
            for name, images in recording.cameras.items()
        }
        goals = [(step, fitted(image, self._options.size)) for step, image in recording.subgoals]
        self._check_sizes(recording, cameras, goals)
        table = self._table(recording, cameras, goals, rows)
        file = self._room_for(table.nbytes)
        file.writer.write_table(table, row_group_size=rows)
        file.size += table.nbytes
        videos = self._write_videos(file, cameras) if self._options.video else {}
        for name, images in cameras.items():
            file.count(name, images)
        if self._options.subgoals and goals:
            file.count("subgoal", [image for _, image in goals])
        actors = {"actors": recording.actors} if recording.actors else {}
        file.rows.append(
            to_row(recording.summary(recording.id))
            | {"frames": rows, "episode": self._episodes, "from": self._frames, "file": file.number}
            | {"videos": videos, **actors}
        )
        self._episodes += 1
        self._frames += rows

    def _check_sizes(
        self,
        recording: Recording,
        cameras: Mapping[str, list[bytes]],
        goals: list[tuple[int, bytes]],
    ) -> None:
        """Make the features of the first episode's images; raise ConfigError for those of another size."""
        sizes = {name: image_size(images[0]) for name, images in cameras.items()}
        first = next(iter(sizes.values()))
        sizes["subgoal"] = image_size(goals[0][1]) if goals else first
        if not self._features:
            video = self._options.video and video_info(self._options.video, self._fps)
            self._features = layout.features_of(
                self._contract,
                sizes,
                video or None,
                subgoals=self._options.subgoals,
                commanded=self._options.commanded,
                interventions=self._options.interventions,
            )
        for name, size in sizes.items():
            feature = self._features.get(layout.IMAGES + name)
            if feature and (name != "subgoal" or goals) and tuple(feature["shape"][:2]) != size:
                raise ConfigError(
                    f"images of '{name}' are {size[1]} x {size[0]} in episode {recording.id}, "
                    f"{feature['shape'][1]} x {feature['shape'][0]} before; give one size with --size"
                )

    def _table(
        self,
        recording: Recording,
        cameras: Mapping[str, list[bytes]],
        goals: list[tuple[int, bytes]],
        rows: int,
    ) -> pa.Table:
        """Return an episode's rows."""
        last = np.arange(rows) == rows - 1
        succeeded = last & (recording.verdict.outcome == "success")
        task = self._tasks.setdefault(recording.instruction, len(self._tasks))
        steps = np.arange(rows)
        columns: dict[str, Any] = {
            layout.STATE: recording.states[:rows],
            layout.ACTION: actions_with_last(recording, recording.actions, rows),
            layout.COMMANDED: actions_with_last(recording, recording.commanded, rows),
            layout.INTERVENTION: [a != "policy" for a in recording.actors] + [False] * rows,
            layout.TIME: recording.times_s[:rows],
            layout.REWARD: succeeded.astype(np.float32),
            layout.DONE: last,
            layout.SUCCESS: succeeded,
            "timestamp": (steps / self._fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(rows, self._episodes),
            "index": self._frames + steps,
            "task_index": np.full(rows, task),
        }
        columns[layout.INTERVENTION] = columns[layout.INTERVENTION][:rows]
        for name, images in cameras.items():
            columns[layout.IMAGES + name] = images
        if self._options.subgoals:
            height, width = self._features[layout.SUBGOAL]["shape"][:2]
            none = black(height, width)
            shown = goals_in_force(recording, rows)
            columns[layout.SUBGOAL] = [none if k is None else goals[k][1] for k in shown]
        return _to_table(columns, self._features)

    def _room_for(self, size: int) -> _File:
        """Return the file that an episode goes to: a new one if it would grow too large."""
        file = self._file
        if file is not None:
            videos = max((video.bytes for video in file.videos.values()), default=0)
            if file.size + size > self._limits[0] or videos > self._limits[1]:
                self._finish_file()
        return self._file or self._start_file()

    def _start_file(self) -> _File:
        import pyarrow.parquet as pq

        number = len(self._staging.files())
        path = self._staging.path / layout.file_path(layout.DATA_PATH, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = _schema(self._features)
        images = {f"{name}.bytes" for name, f in self._features.items() if f["dtype"] == "image"}
        plain = [n for n in schema.names if f"{n}.bytes" not in images or n == layout.SUBGOAL]
        writer = pq.ParquetWriter(
            path,
            schema,
            compression={name: "none" if name in images else "snappy" for name in _leaves(schema)},
            use_dictionary=[f"{n}.bytes" if n == layout.SUBGOAL else n for n in plain],
            write_statistics=[n for n in plain if n != layout.SUBGOAL],
        )
        self._file = _File(number, path, writer)
        return self._file

    def _write_videos(self, file: _File, cameras: Mapping[str, list[bytes]]) -> dict[str, Json]:
        """Append an episode's images to the videos; return where they begin and end [s]."""
        assert self._options.video is not None
        places: dict[str, Json] = {}
        for name, images in cameras.items():
            key = layout.IMAGES + name
            if key not in file.videos:
                height, width = self._features[key]["shape"][:2]
                path = self._staging.path / layout.file_path(layout.VIDEO_PATH, file.number, key)
                file.videos[key] = VideoWriter(path, self._options.video, self._fps, height, width)
            video = file.videos[key]
            start = video.frames
            for image in images:
                video.write(decode(image))
            places[key] = [start / self._fps, video.frames / self._fps]
        return places

    def _finish_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        pixels = {name: counts.tolist() for name, counts in file.pixels.items()}
        file.rows[0] |= {"pixels": pixels, "features": self._features}
        paths = [file.path, *(video.path for video in file.videos.values())]
        self._staging.close(_name(file.number), file.rows, *paths, *{p.parent for p in paths})


def _name(number: int) -> str:
    return f"file-{number:06d}"


def _schema(features: Mapping[str, Json]) -> pa.Schema:
    """Return the columns of `data/`: all features but videos."""
    import pyarrow as pa

    types = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    fields = []
    for name, feature in features.items():
        if feature["dtype"] == "video":
            continue
        kind = types.get(feature["dtype"]) or pa.type_for_alias(feature["dtype"])
        width = feature["shape"][0]
        vector = len(feature["shape"]) == 1 and width > 1
        fields.append((name, pa.list_(kind, width) if vector else kind))
    return pa.schema(fields)


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of a schema's columns as Parquet names them."""
    found = []
    for field in schema:
        if hasattr(field.type, "list_size"):
            found.append(f"{field.name}.list.element")
        elif field.type.num_fields:
            found += [f"{field.name}.bytes", f"{field.name}.path"]
        else:
            found.append(field.name)
    return found


def _to_table(columns: Mapping[str, Any], features: Mapping[str, Json]) -> pa.Table:
    import pyarrow as pa

    schema = _schema(features)
    arrays = []
    for field in schema:
        value = columns[field.name]
        if hasattr(field.type, "list_size"):
            flat = pa.array(np.ascontiguousarray(value).ravel(), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        elif field.type.num_fields:
            names = [f"frame-{i:06d}.{_suffix(data)}" for i, data in enumerate(value)]
            parts = [pa.array(value, pa.binary()), pa.array(names, pa.string())]
            arrays.append(pa.StructArray.from_arrays(parts, fields=list(field.type)))
        else:
            arrays.append(pa.array(value, field.type))
    return pa.table(arrays, schema=schema)


def _suffix(image: bytes) -> str:
    return "png" if image[:4] == b"\x89PNG" else "jpg"
