"""`soar watch`: stations, episodes and results in the browser."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le


def watch(
    folder: Annotated[Path, tyro.conf.Positional],
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8700,
    token: str = "",
    labels: Path | None = None,
    critic: str = "",
    show: bool = False,
) -> None:
    """Serve a page that shows every station live, steers them, and labels episodes. Ctrl-C ends it, not the stations.

    Whoever opens the printed address may pause, stop and label. On this machine anyone may look without it; on other
    addresses looking needs the token, too. The page reads files beside the store and never talks to a robot.

    Examples:
        soar watch /data/kitchen
        soar watch runs/lab --show
        SOAR_TOKEN=... soar watch /data/kitchen --host 0.0.0.0 --token SOAR_TOKEN

    Args:
        folder: folder of an episode store, or of a run (of `soar improve` or `soar demo`).
        host: address to listen at; 0.0.0.0 for every network of this machine.
        port: port; 0 for any that is free.
        token: environment variable that holds the token; by default a new one each time.
        labels: CSV file of the labels, as `soar vlm calibrate --labels` reads it; STORE/labels.csv by default.
        critic: folder of a critic, whose value is drawn along each episode.
        show: open the page in the browser.
    """
    import webbrowser

    from soar.errors import ConfigError
    from soar.watch.app import PageConfig, serve_page
    from soar.watch.place import open_place

    if token and not os.environ.get(token, "").strip():
        raise ConfigError(f"the environment variable {token} isn't set")
    config = PageConfig(host, port, os.environ[token].strip()) if token else PageConfig(host, port)

    def on_ready(address: str) -> None:
        print(f"watch it: {address}", flush=True)
        if show:
            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):
        serve_page(open_place(folder, labels, critic), config, on_ready)
    print("stopped")
