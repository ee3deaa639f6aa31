"""Progress of every frame, which LeRobot weights its cloning loss by ("rabc", reward-aligned behavior cloning).

The file has the columns `index`, `episode_index`, `frame_index` and `progress_sparse` (float32 in [0, 1]); training
names it as `sample_weighting.progress_path`. An episode's progress rises linearly to its probability of success, so
that the steps of a failure weigh little. An unknown outcome has no progress (null).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from soar.data.store.rows import from_row
from soar.exchange.staging import Staging
from soar.types import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "sarm_progress.parquet"
"""Name that LeRobot looks for in a data set's folder."""


def progress(verdict: Verdict, rows: int) -> Float32[np.ndarray, "_rows"]:
    """Return the progress of an episode's frames; NaN where the outcome is unknown.

    It ends at P(success), or at 0 or 1 where the verdict has no probability.
    """
    end = verdict.p_success
    if end is None:
        end = {"success": 1.0, "failure": 0.0, "unknown": np.nan}[verdict.outcome]
    return (end * np.linspace(0, 1, rows + 1)[1:]).astype(np.float32)


def write_progress(staging: Staging) -> None:
    """Write the progress of all frames of a staged data set."""
    import pyarrow.parquet as pq

    path: Path = staging.path / FILE
    path.unlink(missing_ok=True)
    writer = None
    try:
        for table in _tables(staging):
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _tables(staging: Staging) -> Iterator[pa.Table]:
    import pyarrow as pa

    for row in staging.rows():
        rows, start = row["frames"], row["from"]
        values = progress(from_row(row).verdict, rows)
        yield pa.table(
            {
                "index": np.arange(start, start + rows),
                "episode_index": np.full(rows, row["episode"]),
                "frame_index": np.arange(rows),
                "progress_sparse": pa.array(values, from_pandas=True),
            }
        )
