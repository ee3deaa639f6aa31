"""`soar demo`: autonomous improvement in one scene, in minutes."""

from __future__ import annotations

from pathlib import Path

import tyro

from soar.experiments.demo import DemoConfig


def demo(config: tyro.conf.OmitArgPrefixes[DemoConfig], out: Path | None = None) -> None:
    """Watch simulated arms propose tasks, try them, judge themselves, and improve.

    Success before, autonomous collection, learning from it, success after from the same starts, and one page
    with the results. Ctrl-C stops at any time; the same command resumes.

    Examples: `soar demo`, `soar demo --scene 3 --minutes 60`.

    Args:
        config: scene and duration.
        out: the run's folder; runs/demo-SCENE-MINUTES by default.
    """
    from soar.cli import command_line
    from soar.experiments.demo import run_demo
    from soar.utils.progress import announce

    folder = out or Path("runs") / f"demo-{Path(config.scene).stem}-{config.minutes:g}"
    shown = run_demo(folder, config, announce, command_line())
    for done in shown.record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"report     {shown.report}")
    print(f"episodes   soar data ls --store {folder / 'store'}")
