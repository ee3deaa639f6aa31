"""The files of `meta/`, made from what is noted about finished data files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soar.exchange.lerobot import layout
from soar.exchange.lerobot.statistics import Histogram, column_statistics, image_statistics
from soar.exchange.staging import Staging
from soar.utils.files import Json, write_json

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 500
"""Episodes that are in memory at a time."""
_TEXTS = ("soar/id", "soar/outcome", "soar/station", "soar/checkpoint", "soar/verdict")
ORIGIN = "soar/provenance"


def write_meta(staging: Staging, features: Mapping[str, Json], fps: int) -> None:
    """Write episodes, tasks, statistics and `info.json`, in this order."""
    root = staging.path
    tasks: dict[str, int] = {}
    pixels: dict[str, Histogram] = {}
    episodes = frames = 0
    for row in staging.rows():
        tasks.setdefault(row["instruction"], len(tasks))
        episodes, frames = episodes + 1, frames + row["frames"]
        for camera, counts in row.get("pixels", {}).items():
            pixels[camera] = np.array(counts) + pixels.get(camera, 0)
    _write_episodes(staging)
    _write_tasks(root / "meta" / "tasks.parquet", tasks)
    files = [root / layout.file_path(layout.DATA_PATH, k) for k in range(len(staging.files()))]
    statistics = column_statistics(files, features)
    for camera, histogram in pixels.items():
        statistics[layout.IMAGES + camera] = image_statistics(histogram, frames)
    write_json(root / "meta" / "stats.json", statistics)
    robot = next(staging.rows())["station"]
    info = layout.info_of(features, fps, robot, episodes, frames, len(tasks))
    write_json(root / "meta" / "info.json", info)


def _write_episodes(staging: Staging) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, writer, path = 0, None, Path()
    for old in staging.path.glob("meta/episodes/*/*.parquet"):
        old.unlink()
    try:
        for rows in _batches(staging):
            if writer is not None and path.stat().st_size > layout.DATA_MB * 2**20:
                writer.close()
                number, writer = number + 1, None
            columns = [_episode(row, number) for row in rows]
            if writer is None:
                path = staging.path / layout.file_path(layout.EPISODES_PATH, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(path, _episode_schema(columns[0]))
            writer.write_table(pa.Table.from_pylist(columns, writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _batches(staging: Staging) -> Iterator[list[dict[str, Json]]]:
    batch: list[dict[str, Json]] = []
    for row in staging.rows():
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _episode(row: Mapping[str, Json], number: int) -> dict[str, Any]:
    """Return an episode's columns."""
    verdict = json.loads(row["verdict"])
    columns = {
        "episode_index": row["episode"],
        "tasks": [row["instruction"]],
        "length": row["frames"],
        **layout.file_columns("data", row["file"]),
        "dataset_from_index": row["from"],
        "dataset_to_index": row["from"] + row["frames"],
        **layout.file_columns("meta/episodes", number),
    }
    for key, (start, end) in row["videos"].items():
        columns |= layout.file_columns(f"videos/{key}", row["file"])
        columns |= {f"videos/{key}/from_timestamp": start, f"videos/{key}/to_timestamp": end}
    columns |= {
        "soar/id": row["id"],
        "soar/outcome": row["outcome"],
        "soar/p_success": verdict["p_success"],
        "soar/station": row["station"],
        "soar/checkpoint": row["checkpoint"],
        "soar/started_s": row["started_s"],
        "soar/verdict": row["verdict"],
        ORIGIN: row["provenance"],
    }
    return columns


def _episode_schema(columns: Mapping[str, Any]) -> pa.Schema:
    """Return the types of an episode's columns, which don't depend on which values are missing."""
    import pyarrow as pa

    fields = []
    for name, value in columns.items():
        if name == "tasks":
            kind = pa.list_(pa.string())
        elif name in (*_TEXTS, ORIGIN):
            kind = pa.string()
        elif name.endswith("timestamp") or name in ("soar/p_success", "soar/started_s"):
            kind = pa.float64()
        else:
            assert isinstance(value, int)
            kind = pa.int64()
        fields.append((name, kind))
    return pa.schema(fields)


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write the instructions as pandas would: a column, and an index named "task"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    column = index | {"name": "task_index", "field_name": "task_index", "pandas_type": "int64"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column | {"numpy_type": "int64", "metadata": None}, index | {"metadata": None}],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link to that of the older data set, perhaps
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
