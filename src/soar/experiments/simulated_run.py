"""Improvement in simulation: simulated stations, demonstrations made when missing, evaluation by the true state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from soar.data.generated_goals import regenerated_goals
from soar.data.mixture import Source
from soar.evaluation.protocol import sim_protocol
from soar.evaluation.runner import evaluate
from soar.experiments.learning import (
    Learning,
    goal_renderer,
    plan_learning,
    stored_demonstrations,
)
from soar.experiments.run_config import RunConfig, evaluation_of
from soar.improvement.collecting import collect_round
from soar.improvement.rounds import (
    Candidate,
    FinetuneStage,
    ImproveConfig,
    OnMessage,
    Stages,
    TrainStage,
    improve,
)
from soar.improvement.run import Run, RunRecord
from soar.policies.gcbc import GCBCConfig
from soar.pretraining.keypoint_samples import other_scene_samples
from soar.pretraining.weights import DemonstrationSet, demonstrations, demonstrations_folder
from soar.rollout.callbacks import Callback
from soar.rollout.console import ConsoleCallback
from soar.rollout.station_config import sim_stations, station_tasks
from soar.sim.scenes.catalog import load_scene
from soar.subgoals.compact.generator import load_compact
from soar.training.policy import PolicyTrainConfig


def improve_in_simulation(
    folder: str | Path,
    config: RunConfig,
    *,
    command: str = "",
    on_message: OnMessage = lambda text: None,
) -> RunRecord:
    """Evaluate, collect, learn, evaluate from the same starts; resumes a run in `folder`.

    Args:
        folder: the run's folder.
        config: configuration.
        command: command line that repeats the run.
        on_message: called with a few words before each stage.

    Raises:
        CheckpointError: a packaged model is missing.
        ConfigError: there is no such scene, the method doesn't apply, or the folder holds a run with other settings.
    """
    run, began = Run(Path(folder)), time.monotonic()
    finetunes, trains = learning_of(config, run, on_message)
    stages = Stages(
        scenes=tuple(load_scene(s).name for s in config.scenes),
        collect=partial(collect_in_simulation, config),
        evaluate=partial(evaluate_in_simulation, config),
        teacher=config.teacher.policy,
        finetune_subgoals=finetunes,
        train=trains,
        preparation_s=time.monotonic() - began,
    )
    return improve(run, config, stages, command=command, on_message=on_message)


def learning_of(
    config: RunConfig, run: Run, on_message: OnMessage
) -> tuple[FinetuneStage | None, TrainStage | None]:
    """Return the stages that fine-tune the subgoal generator and train the policy, None where it stays as it is.

    Raises:
        ConfigError: there is no such scene, or the method doesn't apply.
    """
    stations = [sim_stations(s, 1, questions=config.collect.questions)[0] for s in config.scenes]
    tasks = [task for station in stations for task in station_tasks(station)]
    learning = plan_learning(config, tasks, on_message)
    regenerate = goal_renderer() if learning.reaches_images else None
    if isinstance(config.demonstrations, int):
        kept = _made_demonstrations(learning, config.demonstrations, on_message)
    else:
        kept = stored_demonstrations(learning, run, regenerate, on_message)
    return learning.finetuning(other_scene_samples), learning.cotraining(kept, regenerate)


def bridge_demonstrations(
    requested: DemonstrationSet, recipe: PolicyTrainConfig, generated_goals: float
) -> Source:
    """Return demonstrations of the *bridge* regime, with generated goals for policies that reach images.

    The goals are kept beside the demonstrations. `generated_goals`: share of the samples that get one.
    """
    source = Source("pretraining", demonstrations(requested), 1.0, recipe.goals)
    if not generated_goals or not isinstance(recipe.policy, GCBCConfig):
        return source
    generator, seed = load_compact(), requested.first_seed
    name = f"{requested.episodes}-{requested.resolution}-{generator.name.split()[-1]}.npz"
    path = demonstrations_folder(seed) / "painted" / name
    goals = regenerated_goals(
        source.frames, generator.generate_from_futures, generated_goals, seed, path
    )
    return replace(source, generated_goals=goals)


def _made_demonstrations(learning: Learning, count: int, on_message: OnMessage) -> Source | None:
    config, recipe = learning.config, learning.recipe
    if recipe is None:
        return None
    on_message(f"demonstrations for co-training: {count} of the bridge regime")
    requested = DemonstrationSet(count, resolution=recipe.policy.resolution, workers=config.workers)
    share = config.generated_goals if learning.reaches_images else 0.0
    return bridge_demonstrations(requested, recipe, share)


def collect_in_simulation(
    config: RunConfig,
    run: Run,
    round: int,
    policy: str,
    subgoals: str,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Collect in each scene, with a line for every episode."""
    options = config.collect
    models, how = config.collecting(policy, subgoals)
    amount = options.amount(config.episodes)
    for scene in config.scenes:
        stations = sim_stations(scene, options.stations, options.seed, options.questions)
        with ConsoleCallback(*amount) as console:
            collect_round(run, round, stations, models, how, amount, [console, *callbacks])


def evaluate_in_simulation(config: ImproveConfig, candidates: Sequence[Candidate]) -> None:
    """Evaluate candidates one after another, from starts that are the same for all."""
    for candidate in candidates:
        spec, setting = sim_protocol(
            evaluation_of(config, candidate), [load_scene(s) for s in config.scenes]
        )
        evaluate(spec, setting, candidate.folder, workers=config.workers)
