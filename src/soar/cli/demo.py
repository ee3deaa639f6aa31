"""`soar demo`: robots get better by themselves, in one scene, while you watch."""

from __future__ import annotations

from pathlib import Path

import tyro

from soar.experiments.demo import DemoConfig


def demo(config: tyro.conf.OmitArgPrefixes[DemoConfig], out: Path | None = None) -> None:
    """Watch simulated arms propose tasks, try them, judge themselves, and come back better.

    Success before, autonomous collection, learning from it, success after from the same starts, and one page
    that tells the story. Ctrl-C whenever you like: the same command goes on.

    Examples: `soar demo`, `soar demo --scene 3 --minutes 60`.

    Args:
        config: which scene, and how long.
        out: the run's folder; runs/demo-SCENE-MINUTES when left out.
    """
    from soar.cli import command_line
    from soar.experiments.demo import run_demo
    from soar.utils.progress import announce

    folder = out or Path("runs") / f"demo-{Path(config.scene).stem}-{config.minutes:g}"
    shown = run_demo(folder, config, announce, command_line())
    for done in shown.record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"look at    {shown.report}")
    print(f"episodes   soar data ls --store {folder / 'store'}")
