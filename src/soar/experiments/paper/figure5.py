"""The paper's Figure 5 in simulation: success in each scene before and after improvement with that scene's own data.

FOLDER/scene-3/       one run of improvement, as `soar improve` writes it
FOLDER/figure5.json   every number
FOLDER/figure5.md     a table
FOLDER/figure5.png    the bars
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.plots import format_change, format_rate
from soar.evaluation.results import Comparison, compare
from soar.experiments.paper.tables import paired_difference, write_study
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import improve_in_simulation
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.sim.scenes.catalog import load_scene
from soar.types import Query
from soar.utils.processes import worker_pool
from soar.utils.statistics import Interval

PAPER_BEFORE, PAPER_AFTER = 0.28, 0.57
"""Mean success of the ten scenes in the paper, at ten trials of each task."""


TEN_SCENES = RunConfig(scenes=tuple(str(n) for n in range(1, 11)))
"""The paper's ten scenes. The other defaults are its protocol at a size that fits a workstation."""


class SceneResult(NamedTuple):
    """Result of one scene."""

    scene: str
    comparison: Comparison
    collected: int
    """Number of collected episodes."""
    judged_success: int
    """Collected episodes that the VLM judged a success."""
    truly_success: int
    """Collected episodes that succeeded by the simulator's predicates, which nothing in the loop sees."""


def reproduce_figure5(
    folder: Path, config: RunConfig, jobs: int, on_message: OnMessage, command: str = ""
) -> Path:
    """Run every scene, or what is left of it, and return the path of the table of all finished scenes.

    Args:
        folder: folder for runs, numbers, table and figure.
        config: configuration of each scene's run.
        jobs: scenes at a time, each in a process of its own.
        on_message: called with a few words before each stage.
        command: command line that repeats the runs.

    Raises:
        ConfigError: there is no such scene.
    """
    if jobs < 1:
        raise ConfigError("figure 5 needs at least one job")
    for scene in config.scenes:
        load_scene(scene)  # a wrong name is an error before the first scene runs, not after it
    for scene in _run_all(folder, config, jobs, command, on_message):
        on_message(f"scene {scene} is done")
        draw(folder, config.scenes)
    return draw(folder, config.scenes)


def draw(folder: Path, scenes: Sequence[str]) -> Path:
    """Write numbers, table and figure of the finished scenes, and return the table's path.

    Raises:
        ConfigError: no scene is finished.
    """
    names = [load_scene(s).name for s in scenes]
    results = [r for name in names if (r := _result(folder / f"scene-{name}", name))]
    if not results:
        raise ConfigError(f"no scene is finished in {folder}")
    numbers = {
        "scenes": [_row(r) for r in results],
        "mean": _means(results),
        "difference": _difference(results)._asdict(),
    }
    return write_study(folder, "figure5", numbers, _table(results), _rates(results))


def _run_all(
    folder: Path, config: RunConfig, jobs: int, command: str, on_message: OnMessage
) -> Iterator[str]:
    """Yield the names of scenes as they are finished."""
    if jobs == 1:
        for scene in config.scenes:
            on_message(f"scene {scene}")
            improve_in_simulation(
                *_run_of(folder, config, scene), command=command, on_message=on_message
            )
            yield scene
        return
    with worker_pool(jobs) as pool:
        running = {
            pool.submit(improve_in_simulation, *_run_of(folder, config, s), command=command): s
            for s in config.scenes
        }
        for done in as_completed(running):
            done.result()
            yield running[done]


def _run_of(folder: Path, config: RunConfig, scene: str) -> tuple[Path, RunConfig]:
    """Return folder and configuration of a scene's run."""
    return folder / f"scene-{load_scene(scene).name}", replace(config, scenes=(scene,))


def _result(folder: Path, scene: str) -> SceneResult | None:
    """Return a scene's result, with its last candidate as "after"; None while it isn't finished."""
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


def _row(result: SceneResult) -> dict[str, object]:
    c = result.comparison
    return {
        "scene": result.scene,
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
        "collected": result.collected,
        "judged_success": result.judged_success,
        "truly_success": result.truly_success,
        "checkpoints": [c.before.setting.checkpoint, c.after.setting.checkpoint],
    }


def _rates(results: Sequence[SceneResult]) -> dict[str, dict[str, Interval]]:
    """Return success before and after in each scene, their means, and the paper's."""
    mean = {name: Interval(value, value, value) for name, value in _means(results).items()}
    before = {f"scene {r.scene}": r.comparison.before.overall() for r in results}
    after = {f"scene {r.scene}": r.comparison.after.overall() for r in results}
    ours, paper = "mean", "the paper, mean of ten"
    return {
        "pretrained": before | {ours: mean["before"], paper: mean["paper_before"]},
        "improved": after | {ours: mean["after"], paper: mean["paper_after"]},
    }


def _difference(results: Sequence[SceneResult]) -> Interval:
    """Return improved minus pretrained success over the starts of all scenes, each of the same weight."""
    comparisons = [r.comparison for r in results]
    return paired_difference([c.before for c in comparisons], [c.after for c in comparisons])


def _means(results: Sequence[SceneResult]) -> dict[str, float]:
    """Return means over scenes of the same weight, as in the paper, and the paper's own."""
    return {
        "before": sum(r.comparison.before.overall().value for r in results) / len(results),
        "after": sum(r.comparison.after.overall().value for r in results) / len(results),
        "paper_before": PAPER_BEFORE,
        "paper_after": PAPER_AFTER,
    }


def _table(results: Sequence[SceneResult]) -> str:
    lines = [
        "| scene | pretrained | improved | difference | trials | collected | judged a success | truly one |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        c = r.comparison
        lines.append(
            f"| {r.scene} | {format_rate(c.before.overall())} | {format_rate(c.after.overall())} "
            f"| {format_change(c.difference)} | {len(c.pairs)} "
            f"| {r.collected} | {r.judged_success} | {r.truly_success} |"
        )
    mean = _means(results)
    counts = (
        sum(len(r.comparison.pairs) for r in results),
        sum(r.collected for r in results),
        sum(r.judged_success for r in results),
        sum(r.truly_success for r in results),
    )
    lines.append(
        f"| mean; all starts | {mean['before']:.0%} | {mean['after']:.0%} "
        f"| {format_change(_difference(results))} | {' | '.join(map(str, counts))} |"
    )
    lines.append(f"| paper, ten scenes | {PAPER_BEFORE:.0%} | {PAPER_AFTER:.0%} | | | | | |")
    return "\n".join(lines) + "\n"
