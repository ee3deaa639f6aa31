"""Ablation of learning from own episodes: one collected run, fitted again and again with one factor changed at a time.

    soar improve --out runs/dev1 --scenes dev1 --episodes 200 --trials 20
    python benchmarks/improvement.py runs/dev1 --variants paper sum1 control

Each variant trains a candidate on the run's own episodes by hindsight, evaluates it from the run's own starts, and is
compared, start by start, with the policy that collected. Use development scenes only: the ten are for measuring.
Results stay in RUN/variants/NAME, so that an interrupted call resumes. Prints one table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import rich
import tyro
from rich.table import Table

from soar import checkpoint as checkpoints
from soar.data.mixture import Source
from soar.data.relabel import Uniform
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.plots import format_points
from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.evaluation.results import Comparison, compare
from soar.evaluation.runner import evaluate
from soar.experiments.simulated_run import bridge_demonstrations
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.hindsight import Hindsight, HindsightConfig
from soar.improvement.methods.method import OwnEpisodes
from soar.improvement.run import Run
from soar.pretraining.weights import DemonstrationSet
from soar.registry import policy_spec
from soar.sim.scenes.catalog import load_scene
from soar.training.policy import train_policy
from soar.types import Query


@dataclass(frozen=True)
class Variant:
    """One way to learn from the same episodes."""

    fit: CoTrainConfig = field(default_factory=lambda: CoTrainConfig(steps=700))
    hindsight: HindsightConfig | None = field(
        default_factory=lambda: HindsightConfig(sum_steps=2, min_motion_m=0.0)
    )
    """Imitation of own episodes; None trains on demonstrations alone, the control."""
    truth: bool = False
    """Imitate true successes instead of judged ones."""
    generated_goals: float = 0.5
    """Share of demonstrations whose goal is rendered by the subgoal generator."""


SUM1 = HindsightConfig(min_motion_m=0.0)
SCRATCH = CoTrainConfig(steps=5500, learning_rate=1e-3, from_scratch=True)
VARIANTS = {
    "paper": Variant(),
    "control": Variant(hindsight=None),
    "sum1": Variant(hindsight=SUM1),
    "goals24": Variant(hindsight=replace(SUM1, goals=Uniform(0, 24))),
    "truth": Variant(hindsight=replace(SUM1, outcomes=()), truth=True),
    "all": Variant(hindsight=replace(SUM1, outcomes=())),
    "share50": Variant(CoTrainConfig(steps=700, autonomous_share=0.5), SUM1),
    "lr5e-4": Variant(CoTrainConfig(steps=700, learning_rate=5e-4), SUM1),
    "recorded50": Variant(hindsight=replace(SUM1, recorded_goals=0.5)),
    "moving": Variant(hindsight=HindsightConfig()),
    "camera-goals": Variant(hindsight=SUM1, generated_goals=0.0),
    "scratch": Variant(SCRATCH, SUM1),
}


def main(
    run: tyro.conf.Positional[Path],
    variants: tuple[str, ...] = tuple(VARIANTS),
    count: Annotated[int, tyro.conf.arg(name="demonstrations")] = 2000,
    workers: int = 2,
) -> None:
    """Train and evaluate the variants that are missing, and print all.

    Args:
        run: folder of `soar improve` whose collection is finished.
        variants: names from this file's table.
        count: number of demonstrations of the *bridge* regime.
        workers: processes of each evaluation.
    """
    record, before = Run(run).record(), Run(run).evaluations()[0]
    incumbent = checkpoints.load(policy_spec(record.models["policy"]).folder)
    b = before.setting
    evaluation = EvalConfig(
        subgoals=b.subgoals, trials=b.trials, first_seed=b.first_seed, steps_per_subgoal=b.steps_per_subgoal
    )  # fmt: skip
    table = Table("variant", "own episodes", "before", "after", "difference", "p")
    for name in variants:
        variant, folder = VARIANTS[name], run / "variants" / name
        fit = replace(variant.fit, save_every=variant.fit.steps)
        recipe = fit.recipe(incumbent)
        requested = DemonstrationSet(count, resolution=recipe.policy.resolution)
        demonstrations = bridge_demonstrations(requested, recipe, variant.generated_goals)
        own = _own_source(Run(run), variant, recipe.policy.resolution)
        share = own.weight if own else 0.0
        sources = [replace(demonstrations, weight=1 - share), *([own] if own else [])]
        train_policy(recipe, sources, folder, start=None if fit.from_scratch else incumbent)
        spec, setting = sim_protocol(
            replace(evaluation, checkpoint=str(folder)),
            [load_scene(s) for s in before.setting.scenes],
        )
        after = evaluate(spec, setting, folder / "evaluation", workers=workers, video_size=0)
        table.add_row(name, *_row(compare(before, after), own))
    rich.print(table)


def _own_source(run: Run, variant: Variant, resolution: int) -> Source | None:
    """Return the run's own episodes as a variant imitates them; None for the control."""
    config = variant.hindsight
    if config is None:
        return None
    version = open_store(run.store, read_only=True).version
    query = Query(outcomes=config.outcomes, version=version)
    own = OwnEpisodes(run, 1, query, run.record().models["subgoals"])
    [source] = Hindsight(config, resolution).sources(own, variant.fit.autonomous_share)
    if not variant.truth:
        return source
    true = [i for i, e in enumerate(source.frames.episodes) if e.provenance.truth]
    if not true:
        raise ConfigError(f"no episode in {run.store} truly succeeded")
    return replace(source, episodes=np.array(true))


def _row(comparison: Comparison, own: Source | None) -> tuple[str, ...]:
    before, after = comparison.before.overall(), comparison.after.overall()
    change = comparison.difference
    return (
        str(len({own.frames.episodes[i].id for i in own.chosen})) if own else "0",
        f"{before.value:.0%}",
        f"{after.value:.0%} [{after.low:.0%}, {after.high:.0%}]",
        f"{format_points(change.value)} [{format_points(change.low)}, {format_points(change.high)}]",
        f"{comparison.p_value:.3f}",
    )


if __name__ == "__main__":
    tyro.cli(main)
