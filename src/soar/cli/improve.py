"""`soar improve`: rounds of autonomous improvement, from evaluation to evaluation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from soar.improve import ImproveConfig


@dataclass(frozen=True)
class FitSettings:
    """How the policy is fitted in each round."""

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 2e-4
    save_every: int = 500


@dataclass(frozen=True)
class CollectSettings:
    """How the robots collect."""

    stations: int = 2
    """Simulated arms, in lockstep."""
    vlm: str = "compact"
    """Who proposes and judges."""
    threshold: float = 0.5
    """P(success) from which an episode is called success."""
    exploring: float = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian."""
    noise: float = 0.5
    """Scale of its standard deviation in those."""
    seed: int = 0


def improve(
    out: Path,
    config: tyro.conf.OmitArgPrefixes[ImproveConfig],
    fit: FitSettings = FitSettings(),
    collect: CollectSettings = CollectSettings(),
    demonstrations: int = 2000,
) -> None:
    """Evaluate, collect, co-train, evaluate on the same starts, promote or keep: R times.

    Everything lands in one folder, and the same command goes on after any interruption. Then
    `soar report OUT` makes a page of it.

    Example: `soar improve --out runs/scene1 --scenes 1 --episodes 200 --trials 20`.

    Args:
        out: the run's folder.
        config: what the run does.
        fit: how the policy is fitted.
        collect: how the robots collect.
        demonstrations: of the *bridge* regime, which co-training keeps; made once, then shared by all runs.
    """
    from soar import checkpoint as checkpoints
    from soar.collect import CollectConfig
    from soar.fit_policy import Recipe, with_fit
    from soar.fleet import ModelNames, collector
    from soar.improve import improve as run_rounds
    from soar.models import policy_folder
    from soar.policies.load import config_from
    from soar.pretrain import DemonstrationSet
    from soar.pretrain import demonstrations as make_demonstrations
    from soar.run import Run

    policy = config_from(checkpoints.load(policy_folder(config.policy)))
    recipe = with_fit(
        Recipe(policy),
        steps=fit.steps,
        batch_size=fit.batch_size,
        learning_rate=fit.learning_rate,
        warmup_steps=min(100, fit.steps // 10),
        save_every=fit.save_every,
        log_every=min(50, fit.save_every),
    )
    wanted = DemonstrationSet(demonstrations, resolution=policy.resolution, workers=config.workers)
    names = ModelNames(collect.vlm, config.subgoals, config.policy, collect.threshold)
    collecting = CollectConfig(exploring=collect.exploring, noise=collect.noise)
    record = run_rounds(
        Run(out),
        config,
        recipe,
        make_demonstrations(wanted),
        collector(names, collect.stations, collecting, config.episodes, collect.seed),
        command="soar " + " ".join(sys.argv[1:]),
    )
    for done in record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"look at it: soar report {out}")
