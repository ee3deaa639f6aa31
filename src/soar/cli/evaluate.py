"""`soar evaluate` and `soar compare`: success rates with intervals, and whether one policy beats another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge

from soar.cli.options import FLAT, OUT, saved_config
from soar.errors import ConfigError
from soar.evaluation.protocol import EvalConfig
from soar.evaluation.results import FIRST_SEED
from soar.rollout.station_config import StationConfig
from soar.utils.config import content_hash
from soar.utils.files import public_name
from soar.utils.progress import print_table, printable

if TYPE_CHECKING:
    from soar.evaluation.results import EvalSetting, Evaluation
    from soar.evaluation.runner import EvalSpec

_LONGEST_NAME = 200
"""Largest number of bytes of a folder's name (file systems: 255); a longer one ends in a hash."""


def evaluate(
    config: Annotated[EvalConfig, FLAT],
    scenes: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--scene"])] = ("1",),
    station: StationConfig | None = None,
    judge: str = "person",
    out: Annotated[Path | None, OUT] = None,
    workers: Annotated[int, Ge(0)] = 0,
    video_size: Annotated[int, Ge(0)] = 128,
) -> None:
    """Measure how often a policy succeeds, from starts that are the same for every policy.

    A trial is 100 control steps (paper: 20 for each of 5 subgoals), and a success if the task is done at its end, by
    the simulator's strict predicates; "ever" counts tasks that were done after any step. The same command resumes an
    interrupted evaluation. A larger --trials adds trials, and with "bridge" or "broad" scenes.

    Examples:
        soar evaluate --scene 1 --trials 50                          # the whole compact system
        soar evaluate --scene 1 --trials 50 --subgoals expert        # the policy's own ceiling
        soar evaluate --scene bridge --trials 50 --subgoals expert   # held-out pretraining scenes
        soar evaluate --station arm1.yaml --trials 10                # a real robot; asks you
        soar evaluate --station metaworld.yaml --judge truth         # a third-party simulator

    Args:
        config: the policy and its trials.
        scenes: 1 to 10, dev1 to dev12, YAML files; or "bridge" or "broad" for one trial of each task in --trials
            random unseen scenes.
        station: station file of a real robot, at which you set the table before every trial.
        judge: with a station: "person", who is asked after every trial, a VLM as in `soar vlm`, or "truth" with a
            third-party simulator (`simulator: true`), whose info["success"] counts.
        out: folder of the result; by default runs/evaluate/NAME, where NAME describes the evaluation.
        workers: number of processes; 0 is one for each core.
        video_size: width of each trial's video in pixels; 0 for none.
    """
    import os

    from soar.evaluation.protocol import station_setting
    from soar.evaluation.runner import evaluate as run
    from soar.evaluation.tables import write_results

    _refuse_options_of_others(config, scenes, station, judge)
    if station is None:
        spec, setting = _simulated(config, scenes)
        folder = out or Path("runs/evaluate") / _name(setting, config, scenes)
    else:
        setting = station_setting(config, [station], judge)
        judged = [] if judge == "person" else ["judge", judge]
        folder = out or Path("runs/evaluate") / _name(setting, config, [station.name], *judged)
    with ExitStack() as stack:
        stack.enter_context(saved_config(evaluate, folder))
        if station is not None:
            spec = _on_station(stack, config, station, judge, folder)
        evaluation = run(
            spec, setting, folder, workers=workers or os.cpu_count() or 1, video_size=video_size
        )
        write_results(evaluation)
    _show(evaluation, folder)


def sequences(
    config: Annotated[EvalConfig, FLAT],
    scenes: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--scene"])] = ("1",),
    length: Annotated[int, Ge(1)] = 5,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Measure how many tasks in a row a policy does in a scene that is never reset, as in CALVIN.

    Each sequence begins at a start of an evaluation; further tasks are drawn among those that are possible then, and a
    failure ends it. The same command resumes, and a larger --trials adds sequences.

    Example: `soar evaluate sequences --scene dev1 --trials 20`.

    Args:
        config: the policy, and with `--trials` the number of sequences in each scene.
        scenes: 1 to 10, dev1 to dev12, YAML files.
        length: most tasks in a row.
        out: folder of the result; by default runs/sequences/NAME, where NAME describes the evaluation.
    """
    from rich.table import Table

    from soar.evaluation.plots import format_rate
    from soar.evaluation.sequences import evaluate_sequences, rates

    spec, setting = _simulated(config, scenes)
    folder = out or Path("runs/sequences") / _name(
        setting, config, scenes, *([] if length == 5 else ["length", str(length)])
    )
    with saved_config(sequences, folder):
        found = rates(evaluate_sequences(spec, setting, folder, length), length)
    table = Table("tasks in a row", f"share of {found.sequences} sequences")
    for number, share in enumerate(found.at_least, 1):
        table.add_row(str(number), format_rate(share))
    print_table(table)
    print(f"mean: {found.mean:.2f} of {length} tasks in a row; {printable(public_name(folder))}")


def compare(
    before: Annotated[Path, tyro.conf.Positional],
    after: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
) -> None:
    """Compare two evaluations start by start: whether the second policy is better or was just lucky.

    Prints, for each task and overall, both success rates on the shared starts, how many of these only the second
    policy (won) and only the first one (lost) solved, the difference with its 95 % bootstrap interval, and McNemar's
    exact p.

    Example: `soar compare runs/evaluate/gcbc-... runs/evaluate/mine-...`

    Args:
        before: folder of the first evaluation.
        after: folder of the second.
        out: folder for comparison.json and comparison.png; by default `after`.
    """
    from soar.evaluation.results import compare as pair
    from soar.evaluation.results import open_evaluation
    from soar.evaluation.tables import compared_systems, comparison_table, write_comparison

    comparison = pair(open_evaluation(before), open_evaluation(after))
    write_comparison(comparison, out or after)
    print(f"{printable(compared_systems(comparison))}\n")
    print_table(comparison_table(comparison))


def _show(evaluation: Evaluation, folder: Path) -> None:
    from soar.evaluation.tables import rates_table

    print_table(rates_table(evaluation))
    if not evaluation.finished:
        print("\nsome trials have no verdict; the same command makes them again")
    print(
        f"\n{printable(public_name(folder))}: evaluation.json, trials.jsonl, summary.json, plot.png, grid.mp4"
    )


def _simulated(config: EvalConfig, names: Sequence[str]) -> tuple[EvalSpec, EvalSetting]:
    """Protocol in simulated scenes; a regime stands for `trials` random scenes with one trial of each task.

    Raises:
        ConfigError: there are scenes beside a regime, or there is no such scene.
    """
    from soar.evaluation.protocol import sim_protocol
    from soar.sim.scenes.catalog import load_scene
    from soar.sim.scenes.regimes import RANDOM_REGIMES

    random = [name in RANDOM_REGIMES for name in names]
    if any(random) and not all(random):
        raise ConfigError(
            f"--scenes {' '.join(names)} mixes random scenes, which have one trial each, with others, which have "
            f"--trials; valid: either of them, each in its own command"
        )
    if any(random):
        seeds = range(config.first_seed, config.first_seed + config.trials)
        names = [f"{regime}-{seed}" for regime in names for seed in seeds]
        config = replace(config, trials=1)
    return sim_protocol(config, [load_scene(name) for name in names])


def _refuse_options_of_others(
    config: EvalConfig, scenes: Sequence[str], station: StationConfig | None, judge: str
) -> None:
    """Raise ConfigError for an option that is given and has no effect in a scene, or at a station."""
    if station is None:
        if judge != "person":
            raise ConfigError(
                "--judge is for --station; in a scene the simulator's predicates judge"
            )
        return
    if tuple(scenes) != ("1",):
        raise ConfigError("--scenes is for simulated scenes; a station's file names its tasks")
    if config.first_seed != FIRST_SEED:
        raise ConfigError("--first-seed is for simulated scenes; a station's starts count from 1")


def _on_station(
    stack: ExitStack, config: EvalConfig, station: StationConfig, judge: str, folder: Path
) -> EvalSpec:
    """Return how trials run on a real station, which this process alone drives until `stack` ends."""
    from soar.collection.attended import attended
    from soar.evaluation.operator import ConsoleOperator
    from soar.evaluation.protocol import station_spec
    from soar.evaluation.simulators import SimulatorEnvs
    from soar.evaluation.stations import StationEnvs
    from soar.registry import load_vlm
    from soar.tasks.success_detector import VLMSuccessDetector

    if judge == "truth":
        return station_spec(config, SimulatorEnvs([station]))
    detector = None if judge == "person" else VLMSuccessDetector(load_vlm(judge))
    present = stack.enter_context(attended([station], folder))
    envs = StationEnvs(
        [station],
        ConsoleOperator(folder / "overlay.png", present.keys.paused),
        detector,
        judge == "person",
        folder / "starts",
        folders=present.folders,
    )
    return station_spec(config, envs)


def _name(setting: EvalSetting, config: EvalConfig, scenes: Sequence[str], *further: str) -> str:
    """Return the name of an evaluation's folder: the policy, the scenes, and each option that isn't the default."""
    words = [setting.policy, setting.checkpoint[:8], setting.subgoals, "scene", *scenes]
    if config.tasks:
        words += ["tasks", *sorted(set(config.tasks))]
    if config.first_seed != FIRST_SEED:
        words += ["seed", str(config.first_seed)]
    if config.steps_per_subgoal:
        words += ["steps", str(config.steps_per_subgoal)]
    words += further
    name = "".join(c if c.isalnum() or c in "-." else "-" for c in "-".join(words))
    if len(name.encode()) > _LONGEST_NAME:
        beginning = name.encode()[: _LONGEST_NAME - 13].decode(errors="ignore")
        name = f"{beginning}-{content_hash([*words])}"
    return name
