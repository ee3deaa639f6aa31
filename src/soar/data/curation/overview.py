"""Overview of a store from its rows alone: attempts and successes by task, and the paper's Table 6."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from soar.data.store.lance import LanceStore
from soar.types import Query

if TYPE_CHECKING:
    import pyarrow as pa


class TaskRow(NamedTuple):
    """Numbers of one task's episodes."""

    instruction: str
    attempts: int
    success: int
    failure: int
    unknown: int
    truths: int
    """Episodes of which the simulator knows the truth."""
    true: int
    """Successes by the simulator's ground truth."""


class Overview(NamedTuple):
    """Numbers of a store's episodes."""

    tasks: tuple[TaskRow, ...]
    """The tasks, the most frequent first."""
    episodes: int
    steps: int
    bytes: int
    stations: int
    scenes: int


class DataSet(NamedTuple):
    """One row of the paper's Table 6."""

    name: str
    trajectories: str
    environments: str
    language: bool
    failures: bool
    """Whether failed trajectories are among them."""
    public: bool | None
    """None where nobody has said."""
    collection: str


KNOWN = (
    DataSet("RoboNet", "162k", "10", False, False, True, "scripted"),
    DataSet("MT-Opt", "800k", "1", False, True, True, "scripted, learned"),
    DataSet("RGB Stacking", "400k", "5", False, True, False, "learned"),
    DataSet("BridgeData V2", "60.1k", "24", True, False, True, "human, scripted"),
    DataSet("RobotSet", "98.5k", "11", True, False, True, "human, scripted"),
    DataSet("SOAR-Data", "30.5k", "5", True, True, True, "100% autonomous"),
)
"""The paper's Table 6."""


class SceneRow(NamedTuple):
    """One row of the paper's Table 5."""

    scene: str
    tasks: int
    """Tasks with a success."""
    success: int
    """Episodes judged a success."""
    attempts: int


PAPER_SUCCESSES = {
    "1": (4, 2056), "2": (2, 282), "3": (6, 364), "4": (4, 206), "5": (2, 221),
    "6": (2, 46), "7": (4, 82), "8": (6, 700), "9": (4, 200), "10": (2, 523),
}  # fmt: skip
"""The paper's Table 5: tasks, and episodes judged a success, of each scene."""


def table5_rows(store: LanceStore, query: Query) -> list[SceneRow]:
    """Count the episodes of each scene that match, the largest scene first."""
    rows = store.rows(("scene", "instruction", "outcome"), query)
    groups = rows.group_by(["scene", "instruction", "outcome"]).aggregate([([], "count_all")])
    found: dict[str, SceneRow] = {}
    for group in groups.to_pylist():
        name, count = group["scene"], group["count_all"]
        row, won = found.get(name, SceneRow(name, 0, 0, 0)), group["outcome"] == "success"
        found[name] = SceneRow(
            name, row.tasks + won, row.success + count * won, row.attempts + count
        )
    return sorted(found.values(), key=lambda row: -row.attempts)


def overview(store: LanceStore, query: Query) -> Overview:
    """Count the episodes that match, reading columns of the index and no file."""
    import pyarrow.compute as pc

    columns = ("instruction", "outcome", "truth", "length", "bytes", "station", "scene")
    rows = store.rows(columns, query)
    return Overview(
        _tasks(rows),
        rows.num_rows,
        pc.sum(rows["length"]).as_py() or 0,
        pc.sum(rows["bytes"]).as_py() or 0,
        pc.count_distinct(rows["station"]).as_py(),
        pc.count_distinct(rows["scene"]).as_py(),
    )


def table6_row(store: LanceStore, query: Query, name: str) -> DataSet:
    """Return a store's row of the paper's Table 6.

    Environments are stations, as the paper counts its five tabletops. Demonstrations of a person or of a scripted
    expert are recognized by their policy's name.
    """
    columns = ("instruction", "outcome", "station", "checkpoint")
    rows = store.rows(columns, query)
    kinds = {"expert": "scripted", "person": "human"}
    policies = rows["checkpoint"].value_counts().to_pylist()
    counts: dict[str, int] = {}
    for part in policies:
        kind = kinds.get(part["values"], "autonomous")
        counts[kind] = counts.get(kind, 0) + part["counts"]
    shares = [
        f"{100 * n / rows.num_rows:.0f}% {kind}"
        for kind, n in sorted(counts.items(), key=lambda item: -item[1])
    ]
    return DataSet(
        name,
        thousands(rows.num_rows),
        str(len(rows["station"].unique())),
        any(rows["instruction"].unique().to_pylist()),
        "failure" in rows["outcome"].unique().to_pylist(),
        None,
        ", ".join(shares) or "none",
    )


def thousands(count: int) -> str:
    """Return a number as the paper writes it: 30,582 is 30.5k."""
    return str(count) if count < 1000 else f"{count // 100 / 10:g}k"


def _tasks(rows: pa.Table) -> tuple[TaskRow, ...]:
    """Group the episodes by task."""
    groups = rows.group_by(["instruction", "outcome", "truth"]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in groups.to_pylist():
        task = counts.setdefault(row["instruction"], {})
        number = row["count_all"]
        task[row["outcome"]] = task.get(row["outcome"], 0) + number
        if row["truth"] is not None:
            task["truths"] = task.get("truths", 0) + number
            task["true"] = task.get("true", 0) + number * row["truth"]
    found = [_task(instruction, count) for instruction, count in counts.items()]
    return tuple(sorted(found, key=lambda task: (-task.attempts, task.instruction)))


def _task(instruction: str, count: dict[str, int]) -> TaskRow:
    success, failure, unknown = (count.get(o, 0) for o in ("success", "failure", "unknown"))
    truth = count.get("truths", 0), count.get("true", 0)
    return TaskRow(instruction, success + failure + unknown, success, failure, unknown, *truth)
