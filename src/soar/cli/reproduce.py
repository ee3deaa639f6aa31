"""`soar reproduce`: the paper's results again, in simulation."""

from __future__ import annotations

from pathlib import Path

from soar.experiments.simulated_run import CollectOptions, FitOptions
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig

_TEN = tuple(str(n) for n in range(1, 11))


def figure5(
    fit: FitOptions,
    collect: CollectOptions,
    teach: FinetuneSubgoalsConfig,
    scenes: tuple[str, ...] = _TEN,
    jobs: int = 1,
    episodes: int = 400,
    trials: int = 50,
    demonstrations: int = 1000,
    painted: float = 0.5,
    workers: int = 2,
    out: Path = Path("results/figure5"),
) -> None:
    """Figure 5: success in each scene, pretrained and improved with that scene's own autonomous data.

    Each scene is a run of `soar improve`. The same command goes on after any interruption, and draws
    what is finished.

    Examples: `soar reproduce figure5 --scenes 1 2 3`, on sixteen cores: `soar reproduce figure5 --jobs 8`.

    Args:
        fit: how the policy is co-trained; 0 steps: it stays as it is.
        collect: how the robots collect.
        teach: how the imagination learns from what they collected; 0 steps: it doesn't.
        scenes: which; the paper's ten when left out.
        jobs: scenes at a time, each in a process of its own.
        episodes: collected in each scene.
        trials: for each task, before and after.
        demonstrations: of the *bridge* regime, which co-training of the policy keeps; made once, shared by all.
        painted: share of their samples whose goal is painted by the compact imagination, told what came.
        workers: processes of each scene's evaluations.
        out: the folder for runs, numbers, table and picture.
    """
    from soar.cli import command_line
    from soar.experiments.figure5 import Figure5Config, reproduce_figure5
    from soar.experiments.simulated_run import SimulatedRunConfig
    from soar.improvement.rounds import ImproveConfig
    from soar.utils.progress import announce

    improving = ImproveConfig(episodes=episodes, trials=trials, workers=workers)
    run = SimulatedRunConfig(improving, fit, collect, demonstrations, teach, painted)
    config = Figure5Config(scenes, jobs, run)
    picture = reproduce_figure5(out, config, announce, command_line())
    print((out / "figure5.md").read_text())
    print(f"look at {picture}")
