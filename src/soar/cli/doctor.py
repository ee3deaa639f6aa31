"""`soar doctor`: everything checked before a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from soar.doctor.findings import CheckResult

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[bold red]failed[/]"}


def doctor(
    store: Path,
    station: tuple[Path, ...] = (),
    scene: str = "1",
    stations: int = 1,
    episodes: int | None = None,
    models: Path | None = None,
    vlm: str | None = None,
    subgoals: str | None = None,
    policy: str | None = None,
    move: bool = True,
) -> None:
    """Check everything before a run, and say what to do about what isn't right.

    Takes the words of the `soar collect` that is planned. Homes each arm and moves it 3 cm along each
    axis inside its box (--no-move: it holds still), looks whether the camera follows and the period can
    be kept, asks the VLM about what the robots see, lets the subgoal generator imagine and the policy
    act, and looks at store and disk. Stores nothing. Exits with 1 when something failed.

    Example: `soar doctor --store s --station arm1.yaml arm2.yaml --models models.yaml --episodes 1000`.

    Args:
        store: the episode store's folder; need not exist.
        station: station files (see docs/operations.md); left out, simulated ones in `scene`.
        scene: 1 to 10, dev1 to dev4, or a YAML file.
        stations: how many simulated stations.
        episodes: whether the disk has room for so many.
        models: a YAML file with `vlm`, `subgoals`, `policy` and `threshold`.
        vlm: which VLM, as in `soar vlm`; overrides the file.
        subgoals: which subgoal generator; "none" with a policy that follows words.
        policy: which policy: a name, a checkpoint's folder, or a run's folder.
        move: move the arms.
    """
    import rich
    from rich.live import Live

    from soar.cli.collect import override, plan_for
    from soar.collection.fleet import ModelsConfig
    from soar.doctor.checks import CheckConfig, run_checks
    from soar.rollout.station_config import read_station, sim_stations
    from soar.utils.config import load
    from soar.utils.progress import console

    configs = [read_station(p) for p in station] or sim_stations(scene, stations)
    names = override(
        load(ModelsConfig, models) if models else ModelsConfig(), vlm, subgoals, policy
    )
    checkup = CheckConfig(store, configs, names, plan_for(configs, names), episodes, move)
    findings: list[CheckResult] = []
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for finding in run_checks(checkup):
            findings.append(finding)
            live.update(_table(findings), refresh=console.is_terminal)
    rich.print(_table(findings))
    failed, warnings = (sum(f.health == h for f in findings) for h in ("failed", "warning"))
    print(f"\n{len(findings)} checks: {failed} failed, {warnings} warnings")
    if failed:
        sys.exit(1)


def _table(findings: list[CheckResult]) -> Table:
    """One row for each finding, its advice below what was found."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        advice = f"\n[italic]{escape(finding.advice)}" if finding.advice else ""
        table.add_row(_MARKS[finding.health], escape(finding.name), escape(finding.what) + advice)
    return table
