"""`soar demo`: autonomous improvement in one scene, in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from soar.cli.options import FLAT, OUT, PRESET, default_of
from soar.experiments.demo import MINUTES, SCENE, demo_config
from soar.experiments.run_config import RunConfig


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"config": demo_config(given["scene"], given["minutes"])}


@default_of(_defaults)
def demo(
    config: Annotated[RunConfig, FLAT],
    scene: Annotated[str, PRESET] = SCENE,
    minutes: Annotated[float, PRESET] = MINUTES,
    out: Annotated[Path | None, OUT] = None,
) -> None:
    """Watch simulated robots propose tasks, try them and judge themselves, and a policy learn from it.

    It measures a policy that follows instructions alone, lets the whole system practice autonomously, trains the policy
    on what was judged a success, measures it again from the same starts, and writes one page with the results. A page
    in the browser shows all of it live; its address is printed. Ctrl-C stops at any time; the same command resumes.

    Examples: `soar demo`, `soar demo --scene 3 --minutes 60`.

    Args:
        config: the run of improvement at its largest; what this machine can't do in time is reduced.
        scene: 1 to 10, dev1 to dev12, or a YAML file.
        minutes: duration; the machine is measured first, and more minutes mean more trials, episodes and training.
        out: the run's folder; by default runs/demo-SCENE-MINUTES.
    """
    from soar.cli import command_line
    from soar.experiments.demo import run_demo
    from soar.utils.progress import announce

    scenes = "-".join(Path(s).stem for s in config.scenes)
    folder = out or Path("runs") / f"demo-{scenes}-{minutes:g}"
    result = run_demo(folder, config, minutes, announce, command_line())
    for done in result.record.rounds:
        print(f"round {done.index}: {done.decision}")
    print(f"report     {result.report}")
    print(f"again      soar watch {folder}")
