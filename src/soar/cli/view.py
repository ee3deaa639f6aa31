"""`soar data view` and `follow`: episodes and running stations in Rerun."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from soar.cli.data import Name, Where, find_episode, open_readable


def view(
    name: Name, store: Where, out: Path | None = None, critic: str = "", show: bool = False
) -> None:
    """Write an episode for the viewer Rerun: images, subgoals, states, actions, verdict. Needs the extra `rerun`.

    Examples:
        soar data view 3f2a --store S --show
        soar data view 3f2a --store S --out episode.rrd --critic runs/critic

    Args:
        name: the episode's id, or the beginning or end of it.
        store: the store's folder.
        out: file to write; EPISODE.rrd by default.
        critic: folder of a critic, whose value of each action is written as well.
        show: open the file in the viewer.
    """
    from soar.watch.rerun_view import log_episode, new_recording

    source = open_readable(store)
    id = find_episode(source, name).id
    out = out or Path(f"{id}.rrd")
    with new_recording(id) as recording:
        recording.save(out)
        count = log_episode(recording, source, id, critic)
    print(f"{out}: {count} frames; to see it: {_VIEWER} {out}")
    if show:
        _show(str(out))


def follow(
    station: Annotated[str, tyro.conf.Positional],
    store: Where,
    out: Path | None = None,
    connect: str = "",
) -> None:
    """Show a running station in the viewer Rerun: its newest step a few times a second. Needs the extra `rerun`.

    Ctrl-C ends it, not the station.

    Examples:
        soar data follow arm1 --store S
        soar data follow arm1 --store S --connect rerun+http://workstation:9876/proxy

    Args:
        station: name of the station.
        store: the store's folder.
        out: file to write to, instead of showing it.
        connect: address of a viewer that is open already, as it prints it.
    """
    from soar.cli.status import chosen_folders
    from soar.watch.rerun_view import follow_station, new_recording

    chosen_folders(store, [station])
    with new_recording(station) as recording, contextlib.suppress(KeyboardInterrupt):
        if out:
            recording.save(out)
        elif connect:
            recording.connect_grpc(connect)
        else:
            recording.spawn(memory_limit="10%")
        follow_station(recording, store, station)
    print(f"{out} is written" if out else "stopped")


_VIEWER = "python -m rerun"


def _show(file: str) -> None:
    """Open a recording in the viewer, which outlives this process."""
    import subprocess

    subprocess.Popen([sys.executable, *_VIEWER.split()[1:], file], start_new_session=True)
