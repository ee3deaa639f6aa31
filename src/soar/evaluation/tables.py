"""Human-readable results of evaluations: tables, a plot, and a grid of videos of successes and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from soar.errors import ConfigError
from soar.evaluation.plots import OUTCOME_COLORS, plot_rates
from soar.evaluation.results import Comparison, Evaluation, Trial
from soar.types import Image
from soar.utils.files import Json, file_inside, write_json
from soar.utils.media import caption, read_video, tile, write_video
from soar.utils.progress import literal
from soar.utils.statistics import Interval

_EDGE_PX = 3
"""Width of the frame around a video [pixels]."""
MANY_TASKS = 40
"""Number of tasks above which, as in random scenes, tables and plots are by the instruction's first word."""


def write_results(evaluation: Evaluation) -> None:
    """Write `summary.json`, `plot.png` and `grid.mp4` beside the trials."""
    write_json(evaluation.folder / "summary.json", summary(evaluation))
    plot_rates({"success": _rates(evaluation)}).savefig(evaluation.folder / "plot.png", dpi=150)
    write_grid(evaluation, evaluation.folder / "grid.mp4")


def _rates(evaluation: Evaluation) -> dict[str, Interval]:
    if len(evaluation.setting.tasks) > MANY_TASKS:
        return evaluation.by_verb()
    return {task_label(task, evaluation): rate for task, rate in evaluation.by_task().items()}


def summary(evaluation: Evaluation) -> dict[str, Json]:
    """Return counts and rates per task, per scene and overall, as JSON."""
    setting = evaluation.setting
    tasks = []
    for (scene, instruction), rate in evaluation.by_task().items():
        own = [t for t in evaluation.trials if (t.scene, t.instruction) == (scene, instruction)]
        tasks.append({"scene": scene, "instruction": instruction} | _counts(own, rate))
    return {
        "checkpoint": setting.checkpoint,
        "policy": setting.policy,
        "subgoals": setting.subgoals,
        "finished": evaluation.finished,
        "overall": _counts(evaluation.trials, evaluation.overall()),
        "scenes": {
            scene: _counts([t for t in evaluation.trials if t.scene == scene], rate)
            for scene, rate in evaluation.by_scene().items()
        },
        "verbs": [
            {"scene": "", "instruction": f"{verb} ..."}
            | _counts([t for t in evaluation.trials if t.instruction.split()[0] == verb], rate)
            for verb, rate in evaluation.by_verb().items()
        ],
        "tasks": tasks,
    }


def _counts(trials: Sequence[Trial], rate: Interval) -> dict[str, Json]:
    judged = [t for t in trials if t.outcome != "unknown"]
    return {
        "trials": len(judged),
        "successes": sum(t.outcome == "success" for t in judged),
        "ever_fulfilled": sum(bool(t.ever) for t in judged),
        "unknown": len(trials) - len(judged),
        **rate._asdict(),
    }


def rates_table(evaluation: Evaluation) -> Table:
    """Make a table of success rates: one row per task, or per verb where there are many tasks.

    The last column is the share of trials in which the task was done after some step.
    """
    found = summary(evaluation)
    table = _table("scene", "task", "successes", "rate", "95 %", "ever")
    many = len(found["tasks"]) > MANY_TASKS
    rows = found["verbs"] if many else found["tasks"]
    for row in rows:
        table.add_row(literal(row["scene"]), literal(row["instruction"]), *_cells(row))
    table.add_section()
    table.add_row("", "all", *_cells(found["overall"]), style="bold")
    return table


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if not row["trials"]:
        return "0/0", "-", "-", "-"
    return (
        f"{row['successes']}/{row['trials']}",
        f"{row['value']:.2f}",
        f"{row['low']:.2f} .. {row['high']:.2f}",
        f"{row['ever_fulfilled'] / row['trials']:.2f}",
    )


def comparison_table(comparison: Comparison) -> Table:
    """Make a table of a comparison: for each task both rates, their difference, and McNemar's p.

    Starts that only the second policy solved are won, and those that only the first one did are lost.
    """
    found = comparison_summary(comparison)
    table = _table(
        "scene", "task", "pairs", "before", "after", "won, lost", "difference", "95 %", "p"
    )
    for row in found["tasks"]:
        table.add_row(literal(row["scene"]), literal(row["instruction"]), *_difference_cells(row))
    table.add_section()
    table.add_row("", "all", *_difference_cells(found["overall"]), style="bold")
    return table


def compared_systems(comparison: Comparison) -> str:
    """Return a line for each evaluation that says what it measured."""
    both = {"before": comparison.before.setting, "after": comparison.after.setting}
    return "\n".join(
        f"{name}: {s.policy} {s.checkpoint}, subgoals: {s.subgoals}" for name, s in both.items()
    )


def comparison_summary(comparison: Comparison) -> dict[str, Json]:
    """Return both rates, the paired difference and McNemar's p, per task and overall, as JSON."""
    return {
        "before": comparison.before.setting.checkpoint,
        "after": comparison.after.setting.checkpoint,
        "subgoals": [e.setting.subgoals for e in (comparison.before, comparison.after)],
        "overall": _difference(comparison),
        "tasks": [
            {"scene": scene, "instruction": instruction} | _difference(one)
            for (scene, instruction), one in comparison.by_task().items()
        ],
    }


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.json` and `comparison.png`."""
    write_json(folder / "comparison.json", comparison_summary(comparison))
    both = {"before": comparison.before, "after": comparison.after}
    plot_rates({name: _rates(e) for name, e in both.items()}).savefig(
        folder / "comparison.png", dpi=150
    )


def _difference(comparison: Comparison) -> dict[str, Json]:
    before, after = comparison.outcomes
    return {
        "pairs": len(before),
        "before": float(np.mean(before)),
        "after": float(np.mean(after)),
        "won": sum(a and not b for b, a in zip(before, after, strict=True)),
        "lost": sum(b and not a for b, a in zip(before, after, strict=True)),
        "difference": comparison.difference._asdict(),
        "p": comparison.p_value,
    }


def _difference_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    value, low, high = row["difference"].values()
    return (
        str(row["pairs"]),
        f"{row['before']:.2f}",
        f"{row['after']:.2f}",
        f"{row['won']}, {row['lost']}",
        f"{value:+.2f}",
        f"{low:+.2f} .. {high:+.2f}",
        f"{row['p']:.3g}",
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 0))
    for name in columns:
        words = name in ("scene", "task")
        justify: Literal["left", "right"] = "left" if words else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not words)
    return table


def task_label(task: tuple[str, str], evaluation: Evaluation) -> str:
    """Return a task's label: its instruction, with the scene where there are several."""
    scene, instruction = task
    return instruction if len(evaluation.setting.scenes) == 1 else f"{scene}: {instruction}"


def write_grid(evaluation: Evaluation, path: Path, columns: int = 4, rows: int = 2) -> None:
    """Write a video of up to `rows` rows of successes above as many of failures, framed green and red.

    Nothing is written when no trial has a video.
    """
    cells = []
    for outcome in ("success", "failure"):
        shown = interleave_tasks(evaluation.trials)
        own = [t for t in shown if t.outcome == outcome and video_of(evaluation, t)]
        cells += [
            [caption(frame, t.instruction, lines=3) for frame in read_trial_video(evaluation, t)]
            for t in own[: columns * rows]
        ]
    if cells:
        write_video(path, (tile(list(frames), columns) for frames in synchronized(cells)))


def interleave_tasks(trials: Sequence[Trial]) -> list[Trial]:
    """Order trials so that tasks take turns, and the first few trials show many tasks."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.scene, trial.instruction), []).append(trial)
    return [t for turn in zip_longest(*groups.values()) for t in turn if t is not None]


def video_of(evaluation: Evaluation, trial: Trial) -> Path | None:
    """Return a trial's video; None if none was kept, or what is named isn't an mp4 file in the folder."""
    return file_inside(evaluation.folder, trial.video, ".mp4") if trial.video else None


def read_trial_video(evaluation: Evaluation, trial: Trial) -> list[Image]:
    """Read a trial's video, framed in the color of its outcome.

    Raises:
        ConfigError: the trial has no video, or it is damaged.
    """
    path = video_of(evaluation, trial)
    if path is None:
        named = f"'{trial.video}' is no mp4 file of the evaluation"
        found = named if trial.video else "no video was kept"
        raise ConfigError(f"{trial.instruction} ({trial.scene}, seed {trial.seed}): {found}")
    frames = read_video(path)
    for edge in (
        np.s_[:, :_EDGE_PX],
        np.s_[:, -_EDGE_PX:],
        np.s_[:, :, :_EDGE_PX],
        np.s_[:, :, -_EDGE_PX:],
    ):
        frames[edge] = tuple(bytes.fromhex(OUTCOME_COLORS[trial.outcome].removeprefix("#")))
    return list(frames)


def synchronized(videos: Sequence[Sequence[Image]]) -> list[tuple[Image, ...]]:
    """Return the videos' frames by time; a video that ends early keeps its last frame."""
    length = max(len(v) for v in videos)
    return [tuple(v[min(i, len(v) - 1)] for v in videos) for i in range(length)]
