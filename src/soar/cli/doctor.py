"""`soar doctor`: checks before a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from soar.cli.collect import StationOptions, models_default
from soar.cli.options import FLAT, PRESET, default_of
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import episode_config
from soar.utils.progress import console, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from soar.doctor.results import CheckResult

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[bold red]failed[/]"}


@default_of(models_default)
def doctor(
    store: Path,
    stations: Annotated[StationOptions, FLAT],
    use: Annotated[ModelsConfig, FLAT],
    models: Annotated[Path | None, PRESET] = None,
    episodes: Annotated[int, Ge(1)] | None = None,
    move: bool = True,
) -> None:
    """Check everything before a run, with advice for what isn't right.

    Takes the options of the planned `soar collect`. Homes each arm, moves it 3 cm along and turns it by 0.15 rad about
    each axis inside its box, closes and opens its gripper (--no-move: it holds still), checks that the camera follows
    and the period can be kept, asks the VLM about what the robots see, generates subgoals, lets the policy act, and
    checks store and disk. Stores nothing. Exits with 1 when a check failed.

    Example: `soar doctor --store s --station arm1.yaml arm2.yaml --models models.yaml --episodes 1000`.

    Args:
        store: the episode store's folder; need not exist.
        stations: the stations.
        use: the models.
        models: YAML file with defaults of vlm, subgoals, policy and threshold.
        episodes: number of episodes that the disk should have room for.
        move: move the arms.
    """
    from rich.live import Live

    from soar.doctor.checks import CheckConfig, run_checks

    configs = stations.configs
    episode = episode_config(configs, use.subgoals)
    results: list[CheckResult] = []
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for result in run_checks(CheckConfig(store, configs, use, episode, episodes, move)):
            results.append(result)
            live.update(_table(results), refresh=console.is_terminal)
    print_table(_table(results))
    failed, warnings = (sum(r.health == h for r in results) for h in ("failed", "warning"))
    print(f"\n{len(results)} checks: {failed} failed, {warnings} warnings")
    if failed:
        sys.exit(1)


def _table(results: list[CheckResult]) -> Table:
    """One row for each result, its advice below."""
    from rich.table import Table

    from soar.utils.progress import literal

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for result in results:
        advice = f"\n[italic]{literal(result.advice)}" if result.advice else ""
        table.add_row(_MARKS[result.health], literal(result.name), literal(result.what) + advice)
    return table
