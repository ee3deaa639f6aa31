"""`soar improve`: rounds of autonomous improvement, from evaluation to evaluation."""

from __future__ import annotations

from pathlib import Path

import tyro

from soar.experiments.simulated_run import CollectOptions, FitOptions
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.improvement.rounds import ImproveConfig


def improve(
    out: Path,
    config: tyro.conf.OmitArgPrefixes[ImproveConfig],
    fit: FitOptions,
    collect: CollectOptions,
    teach: FinetuneSubgoalsConfig,
    demonstrations: int = 1000,
    painted: float = 0.5,
) -> None:
    """Evaluate, collect, learn, evaluate on the same starts, promote or keep: R times.

    The compact imagination and the policy learn from all that was collected, failed episodes too (--fit.labels hindsight: the
    policy from what went well, as in the paper).

    Everything lands in one folder, and the same command goes on after any interruption. Then
    `soar report OUT` makes a page of it.

    Example: `soar improve --out runs/scene1 --scenes 1 --episodes 200 --trials 20`.

    Args:
        out: the run's folder.
        config: what the run does.
        fit: how the policy is co-trained; 0 steps: it stays as it is.
        collect: how the robots collect.
        teach: how the imagination learns from what they collected; 0 steps: it doesn't.
        demonstrations: of the *bridge* regime, which co-training of the policy keeps; made once, then shared by all runs.
        painted: share of all samples whose goal is painted by the compact imagination, told what came.
    """
    from soar.cli import command_line
    from soar.experiments.simulated_run import SimulatedRunConfig, improve_in_simulation
    from soar.utils.progress import announce

    record = improve_in_simulation(
        out,
        SimulatedRunConfig(config, fit, collect, demonstrations, teach, painted),
        command=command_line(),
        say=announce,
    )
    for done in record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"look at it: soar report {out}")
