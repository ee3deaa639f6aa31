"""`soar robot host`: a robot served to soar on another machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from soar.errors import ConfigError


def host(
    robot: Annotated[str, tyro.conf.Positional] = "",
    options: str = "{}",
    port: Annotated[int, Ge(0), Le(65535)] = 8765,
    bind: str = "127.0.0.1",
    watchdog: Annotated[float, Ge(0)] = 3.0,
    copy: Path | None = None,
) -> None:
    """Serve a robot to a station on another machine, whose file says `robot: remote`, `options: {url: ws://HOST:8765}`.

    The host is one file that needs no soar: --copy writes it and its adapters for Gymnasium and LeRobot into a folder,
    for a machine or a Python (3.8 or newer) of its own: `python robot_host.py my_arm:make`. It holds the arm when the
    client is silent or gone. At an address other than this machine's own, SOAR_ROBOT_KEY must hold a key.

    Examples:
        soar robot host own_robot:make --options '{"seed": 1}'
        soar robot host --copy /media/usb

    Args:
        robot: package.module:function, gym, or lerobot.
        options: arguments of that function, as JSON.
        port: port to listen at; 0 for any free one.
        bind: address to listen at.
        watchdog: number of control periods without an action after which the arm is held; 0 for never.
        copy: folder for the host's files; serves nothing.
    """
    from soar.robots.host import robot_host

    folder = Path(robot_host.__file__).parent
    if copy is not None:
        copy.mkdir(parents=True, exist_ok=True)
        for name in ("robot_host.py", *robot_host.BESIDE.values()):
            print(shutil.copy(folder / name, copy))
        return
    if not robot:
        raise ConfigError("name a robot: package.module:function, gym or lerobot; or --copy FOLDER")
    try:
        json.loads(options)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--options is no JSON ({error}); valid: '{{\"port\": 1}}'") from error
    arguments = ["--options", options, "--port", str(port), "--bind", bind]
    robot_host.main([robot, *arguments, "--watchdog", str(watchdog)])
