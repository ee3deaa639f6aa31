"""Improvement on real stations: interleaved evaluation by a person or the success detector, stored demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from soar.collection.attended import attended
from soar.evaluation.interleaved import Entry, evaluate_interleaved
from soar.evaluation.operator import ConsoleOperator, Operator
from soar.evaluation.protocol import station_setting
from soar.evaluation.results import TrialKey
from soar.evaluation.stations import StationEnvs
from soar.experiments.learning import goal_renderer, plan_learning, stored_demonstrations
from soar.experiments.run_config import RunConfig, evaluation_of
from soar.improvement.collecting import collect_round
from soar.improvement.rounds import Candidate, OnMessage, Stages, improve
from soar.improvement.run import Run, RunRecord
from soar.pretraining.keypoint_samples import other_scene_samples
from soar.promotion import promoted_models
from soar.registry import load_policy, load_subgoals, load_vlm, subgoals_spec
from soar.rollout.checked_models import CheckedPolicy, CheckedSubgoals
from soar.rollout.console import ConsoleCallback
from soar.rollout.station_config import station_tasks


def improve_on_stations(
    folder: str | Path,
    config: RunConfig,
    *,
    command: str = "",
    on_message: OnMessage = lambda text: None,
    operator: Operator | None = None,
) -> RunRecord:
    """Collect, learn, evaluate before and after, interleaved, promote or keep; resumes a run in `folder`.

    Args:
        folder: the run's folder.
        config: configuration, with stations.
        command: command line that repeats the run.
        on_message: called with a few words before each stage and each trial.
        operator: the person who attends evaluations; None asks at the terminal.

    Raises:
        CheckpointError: a model is missing.
        ConfigError: the method doesn't apply, or the folder holds a run with other settings.
    """
    run, stations = Run(Path(folder)), config.stations
    scenes = tuple(dict.fromkeys(s.scene_info.name for s in stations))
    config = replace(config, scenes=scenes)
    tasks = [task for station in stations for task in station_tasks(station)]
    learning = plan_learning(config, tasks, on_message)
    subgoals = promoted_models(config.subgoals)[1]
    renders = learning.reaches_images and subgoals_spec(subgoals).is_compact
    regenerate = goal_renderer(subgoals) if renders else None
    demonstrations = stored_demonstrations(learning, run, regenerate, on_message)
    stages = Stages(
        scenes=scenes,
        collect=partial(_collect, config),
        evaluate=partial(_evaluate, config, run, operator, on_message),
        teacher=config.teacher.policy,
        interleaved=True,
        finetune_subgoals=learning.finetuning(other_scene_samples),
        train=learning.cotraining(demonstrations, regenerate),
    )
    return improve(run, config, stages, command=command, on_message=on_message)


def _collect(config: RunConfig, run: Run, round: int, policy: str, subgoals: str) -> None:
    """Collect on all stations at the same time."""
    amount = config.collect.amount(config.episodes * len(config.stations))
    models, how = config.collecting(policy, subgoals)
    with ConsoleCallback(*amount) as console:
        collect_round(run, round, config.stations, models, how, amount, [console])


def _evaluate(
    config: RunConfig,
    run: Run,
    operator: Operator | None,
    on_message: OnMessage,
    candidates: Sequence[Candidate],
) -> None:
    """Evaluate all candidates, interleaved in an order that the person isn't told."""
    options = config.station_trials
    vlm = load_vlm(config.collect.vlm)
    generators = {
        name: None if name == "none" else CheckedSubgoals(load_subgoals(name))
        for name in {candidate.subgoals for candidate in candidates}
    }
    entries = [
        Entry(
            CheckedPolicy(load_policy(candidate.policy)),
            generators[candidate.subgoals],
            station_setting(evaluation_of(config, candidate), config.stations, options.judge),
            candidate.folder,
        )
        for candidate in candidates
    ]

    def on_trial(number: int, total: int, key: TrialKey) -> None:
        on_message(f"trial {number} of {total} at {key.scene}: {key.instruction}")

    with attended(config.stations, run.store) as present:
        overlay = run.folder / "start-overlay.png"
        envs = StationEnvs(
            config.stations,
            operator or ConsoleOperator(overlay, present.keys.paused),
            config.models.load_detector(vlm),
            person_judges=options.judge == "person",
            starts=run.folder / "starts" if options.starts == "set" else None,
            vlm=vlm,
            folders=present.folders,
        )
        evaluate_interleaved(entries, envs, seed=options.seed, on_trial=on_trial)
