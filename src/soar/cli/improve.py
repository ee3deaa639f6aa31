"""`soar improve`: rounds of autonomous improvement, in simulation or on real stations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from soar.experiments.run_config import RunConfig


def improve(
    out: Path,
    config: Annotated[RunConfig, tyro.conf.arg(name="")],
    station: tuple[Path, ...] = (),
    models: Path | None = None,
) -> None:
    """Evaluate, collect, learn, evaluate from the same starts, promote or keep: R rounds.

    With the compact models the subgoal generator and the policy learn from all collected episodes, failures included; with
    --method hindsight the policy imitates successes, as in the paper.

    Everything lands in one folder, and the same command resumes it. `soar report OUT` makes a page of it.

    On real stations trials before and after learning are interleaved, and the person who judges them isn't told which
    is which.

    Examples: `soar improve --out runs/scene1 --scenes 1 --episodes 200 --trials 20`;
    `soar improve --out runs/lab --station arm1.yaml arm2.yaml --models models.yaml --trials 10`.

    Args:
        out: the run's folder.
        config: configuration of the run.
        station: station files (see docs/operations.md); without them, simulated ones in `scenes`.
        models: YAML file with `vlm`, `subgoals`, `policy` and `threshold`.
    """
    from soar.cli import command_line
    from soar.collection.fleet import ModelsConfig
    from soar.experiments.simulated_run import improve_in_simulation
    from soar.experiments.station_run import improve_on_stations
    from soar.rollout.station_config import read_station
    from soar.utils.config import load
    from soar.utils.progress import announce

    if station:
        config = replace(config, stations=tuple(map(read_station, station)))
    if models:
        m = load(ModelsConfig, models)
        collect = replace(config.collect, vlm=m.vlm, threshold=m.threshold)
        config = replace(config, policy=m.policy, subgoals=m.subgoals, collect=collect)
    run = improve_on_stations if config.stations else improve_in_simulation
    record = run(out, config, command=command_line(), on_message=announce)
    for done in record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"report: soar report {out}")
