"""`soar improve`: rounds of autonomous improvement, in simulation or on real stations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from soar.cli.options import FLAT, OUT, PRESET, changed, default_of
from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig
from soar.utils.config import load
from soar.utils.files import public_name


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    config = RunConfig(stations=given["station"])
    if given["models"]:
        m = load(ModelsConfig, given["models"])
        if m.proposer != ModelsConfig.proposer:
            raise ConfigError(
                f"{given['models']}: rounds propose the stations' own tasks, not '{m.proposer}'; collect with "
                "`soar collect`, and learn from the store with `soar train`"
            )
        collect = replace(config.collect, vlm=m.vlm, detector=m.detector, threshold=m.threshold)
        config = replace(config, policy=m.policy, subgoals=m.subgoals, collect=collect)
    return {"config": config}


@default_of(_defaults)
def improve(
    out: Annotated[Path, OUT],
    config: Annotated[RunConfig, FLAT],
    station: Annotated[tuple[StationConfig, ...], PRESET] = (),
    models: Annotated[Path | None, PRESET] = None,
) -> None:
    """Run rounds: evaluate, collect, learn, evaluate from the same starts, promote or keep.

    With the compact models the generator and the policy learn from all collected episodes, failures included; with
    --method hindsight the policy imitates successes, as in the paper. docs/improvement.md lists the other methods.

    Several GPUs, or processes of a CPU, train together under `accelerate launch`, `torchrun` or `soar fleet launch`;
    the first process does everything else.

    Everything lands in one folder, and the same command resumes it. `soar watch OUT` shows it live in the browser,
    `soar report OUT` makes a page of it.

    On real stations, trials before and after learning are interleaved, and the person who judges them isn't told which
    is which.

    Examples:
        soar improve --out runs/scene1 --scenes 1 --episodes 200 --trials 20
        soar improve --out runs/lab --station arm1.yaml arm2.yaml --models models.yaml --trials 10
        soar improve --out runs/again --config runs/scene1/config.yaml

    Args:
        out: the run's folder.
        config: configuration of the run.
        station: station files (see docs/operations.md); without them, simulated stations in `scenes`.
        models: YAML file with defaults of vlm, subgoals, policy, detector and threshold.
    """
    from soar.cli import command_line
    from soar.experiments.simulated_run import improve_in_simulation
    from soar.experiments.station_run import improve_on_stations
    from soar.improvement.rounds import await_beginning
    from soar.improvement.run import Run
    from soar.utils.hardware import is_main_process
    from soar.utils.progress import announce

    _refuse_without_effect(config)
    await_beginning(Run(out))
    run = improve_on_stations if config.stations else improve_in_simulation
    record = run(out, config, command=command_line(), on_message=announce)
    if not is_main_process():
        return
    for done in record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"report: soar report {public_name(out)}")


def _refuse_without_effect(config: RunConfig) -> None:
    """Raise ConfigError for an option that is given and has no effect, on real stations or in simulation."""
    if not config.stations:
        if given := changed(config.station_trials):
            raise ConfigError(f"--station-trials.{given[0]} is for --station; there is none")
        return
    names = dict.fromkeys(s.scene_info.name for s in config.stations)
    given = [
        f"collect.{n}" for n in ("stations", "seed", "questions") if n in changed(config.collect)
    ]
    if config.scenes not in (RunConfig().scenes, (*names,)):  # the latter as a run keeps them
        given.append("scenes")
    if given:
        raise ConfigError(
            f"--{given[0]} is for simulated stations; with --station, the station's file says it"
        )
