"""`soar fleet up`, `status`, `drain`, `launch` and `down`: many stations, and training, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Gt

from soar.errors import ConfigError

File = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="The fleet file.")]
_TRAINING = ("train", "improve", "subgoals")
"""First words of commands that train in several processes."""
Where = Annotated[str, tyro.conf.arg(help="Take only the stations at this place.")]


def up(
    fleet: File,
    episodes: Annotated[int, Ge(1)] | None = None,
    hours: Annotated[float, Gt(0)] | None = None,
    where: Where = "",
) -> None:
    """Run the stations of a fleet file (docs/fleet.md), with the engine that it names.

    Stations that are added to the file are started while it runs; `soar pause`, `resume` and `stop` act on its store.
    Ctrl-C ends all stations after their running episode, a second one at once. On Ray, stations and models live on
    when this process is killed, and the same command takes them over.

    Examples:
        soar fleet up lab.yaml
        soar fleet up lab.yaml --hours 12
        soar fleet up lab.yaml --where lab1          # without Ray, on each machine: its part of the fleet

    Args:
        fleet: the fleet file.
        episodes: number of episodes that this call stores, of all stations together.
        hours: duration after which no new episode begins.
        where: take only the stations at this place.
    """
    import contextlib
    import threading

    from soar.cli.collect import print_summary
    from soar.fleet import run
    from soar.rollout.console import ConsoleCallback
    from soar.utils.signals import stopping

    stop, file = threading.Event(), run.FleetFile(fleet, where)
    with contextlib.ExitStack() as stack:
        shown = (
            [stack.enter_context(ConsoleCallback(episodes))]
            if file.config.engine == "embedded"
            else []
        )
        stack.enter_context(stopping(stop))
        summary = run.up(file, stop, episodes, hours, shown)
    print_summary(summary, file.config.store)


def status(fleet: File) -> None:
    """Show what every station does, the success of each task, and what the engine knows.

    Example: `soar fleet status lab.yaml`.
    """
    from soar.cli.status import status as show
    from soar.fleet import control
    from soar.fleet.config import FleetConfig

    config = FleetConfig.read(fleet)
    for line in control.engine_lines(config):
        print(line)
    print()
    show(config.store)


def drain(fleet: File, where: Where = "") -> None:
    """End all stations of a fleet after their running episodes, wait for that, then end its models.

    Example: `soar fleet drain lab.yaml`.
    """
    from soar.fleet import control
    from soar.fleet.config import FleetConfig

    config = FleetConfig.read(fleet)
    for line in control.drain(config.at(where) if where else config, where):
        print(line)


def launch(
    fleet: File,
    command: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(help="A command that trains, after `--`."),
    ],
) -> None:
    """Run a soar command that trains, in the fleet's training processes, with the engine of the fleet file.

    Ray's processes are on the cluster's machines, and see the same folders; the embedded engine's are on this machine.
    Each takes its part of every batch, so that losses are those of one process with the same seed and batch size. The
    same command continues from the last saved state.

    Examples:
        soar fleet launch lab.yaml -- train gcbc --store /data/demos --out /data/first
        soar fleet launch lab.yaml -- improve --out /data/run --scenes 1

    Args:
        fleet: the fleet file, whose `training` says how many processes there are, where, and with what.
        command: the command's words after "soar".
    """
    from soar.cli import run_command
    from soar.fleet.config import FleetConfig
    from soar.fleet.training import launch as launch_command

    if not command or command[0] not in _TRAINING:
        raise ConfigError(
            f"no command that trains after the fleet file; valid: -- {', '.join(_TRAINING)} ..."
        )
    launch_command(FleetConfig.read(fleet), command, run_command)


def down(fleet: File, where: Where = "") -> None:
    """End a fleet at once: running episodes are dropped, what is stored stays.

    The embedded engine's fleet is ended on the machine where it runs.

    Example: `soar fleet down lab.yaml`.
    """
    from soar.fleet import control
    from soar.fleet.config import FleetConfig

    ended = control.down(FleetConfig.read(fleet), where)
    if not ended:
        raise ConfigError(f"{fleet}: nothing of this fleet is running")
    print(f"ended: {', '.join(ended)}")
