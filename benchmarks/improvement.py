"""What makes improvement real: one collected run, fitted again and again with one factor changed at a time.

    soar improve --out runs/dev1 --scenes dev1 --episodes 200 --trials 20
    python benchmarks/improvement.py runs/dev1 --variants paper sum1 control

Each variant fits a candidate on the run's own episodes, evaluates it on the run's own starts, and is compared,
start by start, with the policy that collected. Development scenes only: the ten are for measuring. Results stay
in RUN/variants/NAME, so that a call that was cut short goes on. Prints one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import rich
import tyro
from rich.table import Table

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import recorded_subgoals
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.data.relabel import Uniform
from soar.data.store.lance import open_store
from soar.evaluation.plots import format_points
from soar.evaluation.protocol import sim_protocol
from soar.evaluation.results import Comparison, compare
from soar.evaluation.runner import evaluate
from soar.experiments.simulated_run import FitOptions, pretraining
from soar.improvement.run import Run
from soar.pretraining.weights import DemonstrationSet
from soar.registry import policy_spec
from soar.sim.scenes.catalog import load_scene
from soar.training.policy import train_policy
from soar.types import Query


@dataclass(frozen=True)
class Variant:
    """One way to learn from the same episodes."""

    learn_from: Literal["judged", "truth", "all", "nothing"] = "judged"
    """Episodes the VLM called a success; true successes; all of them; none, which is the control."""
    share: float = 0.3
    """Of autonomous data among the samples."""
    longest_goal: int = 12
    """Hindsight goals of autonomous data lie up to so many steps ahead."""
    sum_steps: int = 2
    learning_rate: float = 2e-4
    steps: int = 700
    from_scratch: bool = False
    imagined: float = 0.0
    """Share of autonomous samples whose goal is the imagined one."""
    pace_m: float = 0.0
    """Autonomous frames lie so far apart, pauses left out; 0: all frames."""
    painted: float = 0.5
    """Share of demonstrations' goals that the imagination paints."""


PAPER = Variant()
VARIANTS = {
    "paper": PAPER,
    "control": replace(PAPER, learn_from="nothing"),
    "sum1": replace(PAPER, sum_steps=1),
    "goals24": replace(PAPER, sum_steps=1, longest_goal=24),
    "truth": replace(PAPER, sum_steps=1, learn_from="truth"),
    "all": replace(PAPER, sum_steps=1, learn_from="all"),
    "share50": replace(PAPER, sum_steps=1, share=0.5),
    "lr5e-4": replace(PAPER, sum_steps=1, learning_rate=5e-4),
    "imagined50": replace(PAPER, sum_steps=1, imagined=0.5),
    "paced": replace(PAPER, sum_steps=1, pace_m=0.015),
    "photographs": replace(PAPER, sum_steps=1, painted=0.0),
    "scratch": replace(PAPER, sum_steps=1, from_scratch=True, steps=5500, learning_rate=1e-3),
}


def main(
    run: tyro.conf.Positional[Path],
    variants: tuple[str, ...] = tuple(VARIANTS),
    count: Annotated[int, tyro.conf.arg(name="demonstrations")] = 2000,
    workers: int = 2,
) -> None:
    """Fit and evaluate the variants that are missing, and print all.

    Args:
        run: a folder of `soar improve` whose collection is finished.
        variants: names from this file's table.
        count: demonstrations of the *bridge* regime.
        workers: processes of each evaluation.
    """
    place = Run(run)
    config = place.record().config
    incumbent = checkpoints.load(policy_spec(str(config["policy"])).folder)
    resolution = int(incumbent.config["resolution"])
    wanted = DemonstrationSet(count, resolution=resolution)
    before = place.evaluations()[0]
    table = Table("variant", "autonomous episodes", "before", "after", "difference", "p")
    for name in variants:
        variant, folder = VARIANTS[name], run / "variants" / name
        frames = _chosen(place, variant, resolution)
        fit = FitOptions(
            variant.steps, learning_rate=variant.learning_rate, save_every=variant.steps
        )
        recipe = fit.recipe(incumbent)
        given = pretraining(wanted, recipe, variant.painted)
        sources = _sources(place, given, frames, variant)
        train_policy(recipe, sources, folder, start=None if variant.from_scratch else incumbent)
        scenes = [load_scene(s) for s in before.setting.scenes]
        spec, setting = sim_protocol(
            str(folder),
            scenes,
            trials=before.setting.trials,
            subgoals=before.setting.subgoals,
            first_seed=before.setting.first_seed,
        )
        after = evaluate(spec, setting, folder / "evaluation", workers=workers, video_size=0)
        table.add_row(name, *_row(compare(before, after), frames))
    rich.print(table)


def _chosen(run: Run, variant: Variant, resolution: int) -> Frames | None:
    """The run's episodes that a variant learns from; None for the control."""
    store = open_store(run.store, read_only=True)
    if variant.learn_from == "nothing":
        return None
    query = Query(outcomes=("success",)) if variant.learn_from == "judged" else Query()
    return build_frames(store, query, resolution, run.folder / "frames")


def _sources(run: Run, given: Source, frames: Frames | None, variant: Variant) -> Sequence[Source]:
    if frames is None:
        return [given]
    truly = [i for i, e in enumerate(frames.episodes) if e.provenance.truth]
    pursued = recorded_subgoals(open_store(run.store, read_only=True), frames, variant.imagined)
    own = Source(
        "autonomous",
        frames,
        variant.share,
        Uniform(0, variant.longest_goal),
        variant.sum_steps,
        np.array(truly) if variant.learn_from == "truth" else None,
        pursued,
    )
    if variant.pace_m:
        own = drop_idle_frames(own, variant.pace_m)
    return [replace(given, weight=1 - variant.share), own]


def _row(comparison: Comparison, frames: Frames | None) -> tuple[str, ...]:
    before, after = comparison.before.overall(), comparison.after.overall()
    change = comparison.difference
    return (
        str(len(frames.episodes)) if frames else "0",
        f"{before.value:.0%}",
        f"{after.value:.0%} [{after.low:.0%}, {after.high:.0%}]",
        f"{format_points(change.value)} [{format_points(change.low)}, {format_points(change.high)}]",
        f"{comparison.p_value:.3f}",
    )


if __name__ == "__main__":
    tyro.cli(main)
