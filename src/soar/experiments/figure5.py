"""The paper's Figure 5 again: success in each scene before and after improvement with that scene's own data.

FOLDER/scene-3/       one run of improvement, as `soar improve` leaves it
FOLDER/figure5.json   every number;  figure5.md: a table;  figure5.png: the bars
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.plots import plot_rates, points
from soar.evaluation.results import Comparison, compare
from soar.experiments.simulated_run import SimulatedRunConfig, improve_in_simulation
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.sim.scenes.catalog import load_scene
from soar.types import Query
from soar.utils.files import write_json
from soar.utils.processes import worker_pool
from soar.utils.statistics import Interval

PAPER_BEFORE, PAPER_AFTER = 0.28, 0.57
"""Mean of the ten scenes in the paper, ten trials a task."""


@dataclass(frozen=True)
class Figure5Config:
    """Which scenes, and how large. The defaults are the paper's protocol at a size that fits a workstation."""

    scenes: tuple[str, ...] = tuple(str(n) for n in range(1, 11))
    jobs: int = 1
    """Scenes at a time, each in a process of its own."""
    run: SimulatedRunConfig = field(default_factory=SimulatedRunConfig)

    def __post_init__(self) -> None:
        if not self.scenes or self.jobs < 1:
            raise ConfigError("at least one scene, and at least one job")
        for scene in self.scenes:
            load_scene(scene)  # a wrong name is told before the first scene runs, not after it


class SceneResult(NamedTuple):
    """One scene's result."""

    scene: str
    comparison: Comparison
    collected: int
    judged_success: int
    """Of the collected, by the VLM."""
    truly_success: int
    """Of the collected, by the simulator's predicates, which nothing in the loop sees."""


def reproduce_figure5(
    folder: Path, config: Figure5Config, say: OnMessage, command: str = ""
) -> Path:
    """Run every scene, or what is left of it, and draw what there is; returns the picture's path."""
    for scene in _run_all(folder, config, command, say):
        say(f"scene {scene} is done")
        draw(folder, config.scenes)
    return draw(folder, config.scenes)


def draw(folder: Path, scenes: Sequence[str]) -> Path:
    """Numbers, table and picture of the scenes that are finished.

    Raises:
        ConfigError: none is.
    """
    names = [load_scene(s).name for s in scenes]
    bars = [bar for name in names if (bar := _bar(folder / f"scene-{name}", name))]
    if not bars:
        raise ConfigError(f"no scene is finished in {folder}")
    numbers = {
        "scenes": [_row(b) for b in bars],
        "mean": _means(bars),
        "difference": _difference(bars)._asdict(),
    }
    write_json(folder / "figure5.json", numbers)
    (folder / "figure5.md").write_text(_table(bars))
    picture = folder / "figure5.png"
    plot_rates(_rates(bars)).savefig(picture, dpi=150)
    return picture


def _run_all(folder: Path, config: Figure5Config, command: str, say: OnMessage) -> Iterator[str]:
    """Names of scenes as they are finished."""
    if config.jobs == 1:
        for scene in config.scenes:
            say(f"scene {scene}")
            improve_in_simulation(*_told(folder, config, scene), command=command, say=say)
            yield scene
        return
    with worker_pool(config.jobs, interruptible=True) as pool:
        running = {
            pool.submit(improve_in_simulation, *_told(folder, config, s), command=command): s
            for s in config.scenes
        }
        for done in as_completed(running):
            done.result()
            yield running[done]


def _told(folder: Path, config: Figure5Config, scene: str) -> tuple[Path, SimulatedRunConfig]:
    improving = replace(config.run.improve, scenes=(scene,))
    name = load_scene(scene).name
    return folder / f"scene-{name}", replace(config.run, improve=improving)


def _bar(folder: Path, scene: str) -> SceneResult | None:
    """A scene's result; None while it isn't finished. The last candidate, if any, stands for "after"."""
    run = Run(folder)
    if not (folder / "run.json").exists():
        return None
    record = run.record()
    if not record.rounds or record.rounds[-1].stage != "done":
        return None
    evaluations = run.evaluations()
    episodes = list(open_store(run.store, read_only=True).query(Query()))
    return SceneResult(
        scene,
        compare(evaluations[0], evaluations[max(evaluations)]),
        len(episodes),
        sum(e.verdict.outcome == "success" for e in episodes),
        sum(bool(e.provenance.truth) for e in episodes),
    )


def _row(bar: SceneResult) -> dict[str, object]:
    c = bar.comparison
    return {
        "scene": bar.scene,
        "before": c.before.overall()._asdict(),
        "after": c.after.overall()._asdict(),
        "difference": c.difference._asdict(),
        "p_value": c.p_value,
        "trials": len(c.pairs),
        "tasks": {
            task: {
                "before": c.before.by_task()[key]._asdict(),
                "after": c.after.by_task()[key]._asdict(),
            }
            for key in c.by_task()
            for task in (key[1],)
        },
        "collected": bar.collected,
        "judged_success": bar.judged_success,
        "truly_success": bar.truly_success,
        "checkpoints": [c.before.setting.checkpoint, c.after.setting.checkpoint],
    }


def _rates(bars: Sequence[SceneResult]) -> dict[str, dict[str, Interval]]:
    """Each scene's two bars, their means, and the paper's."""
    mean = {name: Interval(value, value, value) for name, value in _means(bars).items()}
    before = {f"scene {b.scene}": b.comparison.before.overall() for b in bars}
    after = {f"scene {b.scene}": b.comparison.after.overall() for b in bars}
    ours, paper = "mean", "the paper, mean of ten"
    return {
        "pretrained": before | {ours: mean["before"], paper: mean["paper_before"]},
        "improved": after | {ours: mean["after"], paper: mean["paper_after"]},
    }


def _difference(bars: Sequence[SceneResult]) -> Interval:
    """Improved minus pretrained over all scenes' starts, each counting once."""
    pairs = tuple(pair for b in bars for pair in b.comparison.pairs)
    return replace(bars[0].comparison, pairs=pairs).difference


def _means(bars: Sequence[SceneResult]) -> dict[str, float]:
    """Over scenes, each counting once, as the paper averages; and the paper's own."""
    return {
        "before": sum(b.comparison.before.overall().value for b in bars) / len(bars),
        "after": sum(b.comparison.after.overall().value for b in bars) / len(bars),
        "paper_before": PAPER_BEFORE,
        "paper_after": PAPER_AFTER,
    }


def _table(bars: Sequence[SceneResult]) -> str:
    lines = [
        "| scene | pretrained | improved | difference | trials | collected | judged a success | truly one |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for b in bars:
        c = b.comparison
        lines.append(
            f"| {b.scene} | {_percent(c.before.overall())} | {_percent(c.after.overall())} "
            f"| {_points(c.difference)} | {len(c.pairs)} "
            f"| {b.collected} | {b.judged_success} | {b.truly_success} |"
        )
    mean = _means(bars)
    counts = (
        sum(len(b.comparison.pairs) for b in bars),
        sum(b.collected for b in bars),
        sum(b.judged_success for b in bars),
        sum(b.truly_success for b in bars),
    )
    lines.append(
        f"| mean; all starts | {mean['before']:.0%} | {mean['after']:.0%} "
        f"| {_points(_difference(bars))} | {' | '.join(map(str, counts))} |"
    )
    lines.append(f"| paper, ten scenes | {PAPER_BEFORE:.0%} | {PAPER_AFTER:.0%} | | | | | |")
    return "\n".join(lines) + "\n"


def _points(change: Interval) -> str:
    return f"{points(change.value)} [{points(change.low)}, {points(change.high)}]"


def _percent(rate: Interval) -> str:
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
