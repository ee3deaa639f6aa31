"""Steps files: an episode's frames and actions in one Lance file, one row for each of its T + 1 observations.

The images of a camera other than the primary one are in a column `camera_NAME`.

The schema's metadata holds a copy of the episode's row (key "episode"), so that a damaged index can be restored from
the files alone.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from soar.data.store.disk import LANCE_ERRORS, first_line, flush, no_panic
from soar.data.store.images import Codec, decode, decode_all, encode
from soar.data.store.rows import Row, from_row, to_json
from soar.errors import StoreError
from soar.types import Actor, Episode, Images, Subgoal
from soar.utils.objects import AnyPath, lance_options

if TYPE_CHECKING:
    import pyarrow as pa
    from lance.file import LanceFileReader

OPEN_FILES = 256
"""Steps files kept open to read single frames: opening one costs as much as reading it. They never change."""
_ROW = "episode"
_CAMERA = "camera_"


@dataclass(frozen=True, eq=False)
class Steps:
    """Decoded content of a steps file: an episode without its row."""

    actions: Float32[np.ndarray, "t action"]
    commanded: Float32[np.ndarray, "t action"]
    images: UInt8[np.ndarray, "t+1 h w 3"]
    states: Float32[np.ndarray, "t+1 state"]
    times_s: Float64[np.ndarray, " t+1"]
    subgoals: tuple[Subgoal, ...]
    other_images: Mapping[str, UInt8[np.ndarray, "t+1 _h _w 3"]]
    actors: tuple[Actor, ...]


def write_steps(path: AnyPath, table: pa.Table, row: Row) -> None:
    """Write a steps file and wait until it is on the disk."""
    from lance.file import LanceFileWriter

    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    writer = LanceFileWriter(str(path), table.schema, storage_options=lance_options(path))
    writer.write_batch(table)
    writer.add_schema_metadata(_ROW, to_json(row))
    writer.close()
    flush(path, path.parent)


def read_steps(path: AnyPath) -> Steps:
    """Read and decode a whole file. Raises StoreError: it is missing or damaged."""
    table = read_table(path)
    actions, commanded, states, times_s = table_numbers(table)
    return Steps(
        actions=actions,
        commanded=commanded,
        images=decode_all(table["image"].to_pylist()),
        states=states,
        times_s=times_s,
        subgoals=tuple(
            Subgoal(decode(data), step)
            for step, data in enumerate(table["subgoal"].to_pylist())
            if data is not None
        ),
        other_images={
            column.removeprefix(_CAMERA): decode_all(table[column].to_pylist())
            for column in camera_columns(table)[1:]
        },
        actors=tuple(table["actor"].to_pylist()[:-1]) if "actor" in table.column_names else (),
    )


def camera_columns(table: pa.Table) -> list[str]:
    """Return the columns that hold a camera's images, the primary one's first."""
    return ["image", *(name for name in table.column_names if name.startswith(_CAMERA))]


def table_numbers(
    table: pa.Table,
) -> tuple[
    Float32[np.ndarray, "t action"],
    Float32[np.ndarray, "t action"],
    Float32[np.ndarray, "t+1 state"],
    Float64[np.ndarray, " t+1"],
]:
    """Return executed actions, commanded actions, states and times of a steps file's content."""
    length = len(table) - 1
    return (
        _matrix(table["executed"], length),
        _matrix(table["wanted"], length),
        _matrix(table["state"], length + 1),
        table["time_s"].to_numpy(),
    )


def read_images(path: AnyPath, indices: Sequence[int], camera: str | None = None) -> Images:
    """Decode some frames of a camera, in the order of `indices`; None is the primary camera.

    Raises:
        StoreError: the file is missing or damaged, or has no such camera.
    """
    rows, order = np.unique(np.asarray(indices), return_inverse=True)
    column = "image" if camera is None else _CAMERA + camera
    images = decode_all(read_table(path, rows.tolist(), column)[column].to_pylist())
    return images if np.array_equal(rows, indices) else images[order]


def read_table(path: AnyPath, rows: Sequence[int] | None = None, column: str = "image") -> pa.Table:
    """Read a whole steps file without decoding it, or one column of some rows. Raises StoreError."""
    try:
        with no_panic():
            if rows is None:
                return _reader(path).read_all().to_table()
            return image_reader(path, column).take_rows(list(rows)).to_table()
    except LANCE_ERRORS as error:
        raise _unreadable(path, error) from error


def read_numbers(
    path: AnyPath,
) -> tuple[
    Float32[np.ndarray, "t action"],
    Float32[np.ndarray, "t action"],
    Float32[np.ndarray, "t+1 state"],
    Float64[np.ndarray, " t+1"],
]:
    """Read a steps file without its images; returns what `table_numbers` does. Raises StoreError."""
    columns = ["executed", "wanted", "state", "time_s"]
    try:
        with no_panic():
            table = _reader(path, columns).read_all().to_table()
    except LANCE_ERRORS as error:
        raise _unreadable(path, error) from error
    return table_numbers(table)


def read_actors(path: AnyPath) -> tuple[Actor, ...]:
    """Read who chose the action of each step; empty if all were the policy's. Raises StoreError."""
    try:
        with no_panic():
            if "actor" not in _reader(path).metadata().schema.names:
                return ()
            reader = _reader(path, ["actor"])
            return tuple(reader.read_all().to_table()["actor"].to_pylist()[:-1])
    except LANCE_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: AnyPath, error: BaseException) -> StoreError:
    problem = "is damaged" if path.exists() else "is missing"
    return StoreError(f"steps file '{path}' {problem}: {first_line(error)}")


def read_row(path: AnyPath) -> Row:
    """Read the copy of the episode's row in a steps file. Raises StoreError."""
    try:
        with no_panic():
            metadata = _reader(path).metadata().schema.metadata or {}
        row: Row = json.loads(metadata[_ROW.encode()])
        from_row(row)
    except StoreError:
        raise
    except (*LANCE_ERRORS, KeyError, AttributeError) as error:
        raise StoreError(f"'{path}' is damaged: {first_line(error)}") from error
    return row


def checksum(path: AnyPath) -> int:
    """Return the CRC-32 of a file's bytes."""
    return zlib.crc32(path.read_bytes())


@lru_cache(maxsize=OPEN_FILES)
def image_reader(path: AnyPath, column: str = "image") -> LanceFileReader:
    """Open a steps file to read one camera's frames alone."""
    return _reader(path, [column])


def _reader(path: AnyPath, columns: list[str] | None = None) -> LanceFileReader:
    from lance.file import LanceFileReader

    return LanceFileReader(str(path), lance_options(path), columns=columns)


def to_table(episode: Episode, codec: Codec) -> pa.Table:
    """Return the content of an episode's steps file."""
    others = {
        name: [encode(image, codec) for image in images]
        for name, images in episode.other_images.items()
    }
    return encoded_table(
        [[encode(image, codec) for image in episode.images], *others.values()],
        list(others),
        {s.step: encode(s.image, codec) for s in episode.subgoals},
        episode.actions,
        episode.commanded,
        episode.states,
        episode.times_s,
        episode.actors,
    )


def encoded_table(
    cameras: Sequence[Sequence[bytes]],
    other_cameras: Sequence[str],
    subgoals: Mapping[int, bytes],
    actions: Float32[np.ndarray, "t action"],
    commanded: Float32[np.ndarray, "t action"],
    states: Float32[np.ndarray, "t+1 state"],
    times_s: Float64[np.ndarray, " t+1"],
    actors: Sequence[Actor],
) -> pa.Table:
    """Return the content of a steps file.

    Args:
        cameras: T + 1 image files of each camera, the primary one first.
        other_cameras: names of the cameras after the first.
        subgoals: image files by the step from which each is the policy's goal.
        actions: executed actions.
        commanded: commanded actions.
        states: states.
        times_s: times on the robot's clock.
        actors: who chose each action; empty if all were the policy's.
    """
    import pyarrow as pa

    rows = range(len(states))
    columns: dict[str, Any] = {
        "step": pa.array(rows, pa.int32()),
        "time_s": pa.array(times_s, pa.float64()),
        "image": pa.array(cameras[0], pa.binary()),
        "state": _vectors(states, len(rows)),
        "wanted": _vectors(commanded, len(rows)),
        "executed": _vectors(actions, len(rows)),
        "subgoal": pa.array([subgoals.get(i) for i in rows], pa.binary()),
    }
    for name, images in zip(other_cameras, cameras[1:], strict=True):
        columns[_CAMERA + name] = pa.array(images, pa.binary())
    if actors:
        columns["actor"] = pa.array([*actors, None], pa.string())
    return pa.table(columns)


def _vectors(values: Float32[np.ndarray, "_n _d"], rows: int) -> pa.FixedSizeListArray:
    """Make a column of vectors, with nulls in the rows after the last one."""
    import pyarrow as pa

    width = values.shape[1]
    padded = np.zeros((rows, width), np.float32)
    padded[: len(values)] = values
    missing = pa.array(np.arange(rows) >= len(values))
    return pa.FixedSizeListArray.from_arrays(pa.array(padded.ravel()), width, mask=missing)


def _matrix(column: pa.ChunkedArray, rows: int) -> Float32[np.ndarray, "_rows _d"]:
    """Return the first `rows` vectors of a column of fixed-size lists."""
    values = column.combine_chunks().slice(0, rows).flatten().to_numpy(zero_copy_only=False)
    width = column.type.list_size
    matrix: Float32[np.ndarray, "_rows _d"] = values.astype(np.float32).reshape(rows, width)
    return matrix
