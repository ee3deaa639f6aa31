"""`soar record`: demonstrations by a person or a script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

from soar.errors import ConfigError
from soar.rollout.station_config import StationConfig, open_station, sim_stations

if TYPE_CHECKING:
    from soar.collection.recording import Recording, View
    from soar.collection.status import StatusFolder
    from soar.data.store.lance import LanceStore
    from soar.robots.operation.teleoperation import CommandKeys, Teleoperator
    from soar.rollout.station import Station
    from soar.types import Task
    from soar.utils.clock import Clock


def record(
    store: Path,
    task: tuple[str, ...] = (),
    station: StationConfig | None = None,
    scene: str = "1",
    seed: Annotated[int, Ge(0)] = 0,
    device: str = "keyboard",
    script: str = "",
    episodes: Annotated[int, Ge(1)] | None = None,
    page: bool = False,
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8700,
) -> None:
    """Record demonstrations by a person into an episode store, on any station, real or simulated.

    In the terminal, Enter starts a demonstration and then keeps it, x throws it away, n takes the next task, q ends.
    The arrows move the hand as the picture shows, w and s up and down, a and d turn it, g closes and opens the gripper.
    The space bar stops the arm at once, r releases it, then c lets it move. Time stands still while no key is pressed.
    A simulated table is set anew for each demonstration. With --page all of this takes place in the browser, at the
    printed address; without it `soar watch` shows the picture there, too.

    Each step notes who acted, and `soar train --store S` learns from S as from any demonstrations.

    Examples:
        soar record --store demos --scene 1 --task "put the green block in the wooden bowl" --episodes 10
        soar record --store demos --scene 1 --page
        soar record --store demos --station arm1.yaml --device leader:ws://leader:8765
        soar record --store demos --scene dev1 --script my_script:make --episodes 20

    Args:
        store: the episode store's folder; created if there is none.
        task: instructions, also of a new skill; by default the station's tasks in turn.
        station: station file (docs/operations.md); without it a simulated arm in `scene`.
        scene: 1 to 10, dev1 to dev12, or a YAML file.
        seed: seed of the simulated table.
        device: "keyboard", "gamepad" (the extra `gamepad`), or "leader:ws://HOST:PORT", a second arm behind `soar robot
            host` that a person moves by hand. With each of them the terminal's keys start, keep and stop.
        script: in place of a person: package.module:function, which takes an instruction and returns a function from
            an observation to an action, or to None at the end; or a file with an action in each row (.csv, .npy).
        episodes: number of demonstrations after which to end; with a script 1 by default.
        page: keys and picture in the browser instead of the terminal.
        host: address of the page; 0.0.0.0 for every network of this machine.
        port: port of the page; another one where it is in use.
    """
    if not script and not page and not sys.stdin.isatty():
        raise ConfigError("a person records in a terminal; valid without one: --page, --script")
    config = station or sim_stations(scene, 1, seed)[0]
    recording = None
    try:
        with ExitStack() as stack:
            address = (host, port) if page and not script else None
            recording, tasks = _open_recording(stack, store, config, task, device, script, address)
            recording.run(tasks, episodes or (1 if script else None))
    finally:
        if recording is not None:
            _print_result(recording, store)


def _open_recording(
    stack: ExitStack,
    store: Path,
    config: StationConfig,
    instructions: tuple[str, ...],
    device: str,
    script: str,
    address: tuple[str, int] | None,
) -> tuple[Recording, list[Task]]:
    """Open store, station, device or script, and terminal or page; return the recording and its tasks."""
    from soar.collection.live import LivePictures
    from soar.collection.recording import Recording
    from soar.collection.status import StatusFolder
    from soar.collection.unstored import spare_folder
    from soar.data.store.lance import open_store
    from soar.robots.operation.devices import Scripted, open_device
    from soar.robots.operation.teleoperation import CommandKeys
    from soar.rollout.contracts import robot_contract
    from soar.rollout.station import PAPER_EPISODE
    from soar.utils.clock import Clock, Metronome

    clock, opened = Clock(), open_store(store, create=True)
    folder = StatusFolder(store, config.name)
    commands = CommandKeys(lambda word: folder.request(word, "space bar"))
    place = _open_station(stack, config, opened, folder, clock, commands)
    tasks, contract = _tasks(instructions, place), robot_contract(place.robot)
    teleoperator: Teleoperator = (
        Scripted(script) if script else open_device(device, contract, commands.give)
    )
    stack.callback(teleoperator.close)
    live = LivePictures(store, PAPER_EPISODE.length)
    stack.callback(live.close)
    view: View | None = None
    if address:
        view = _open_page(stack, teleoperator, commands, folder, store, tasks, address)
    elif not script:
        view = _open_terminal(stack, teleoperator, commands, folder, store)
    paced = not script or config.keeps_period
    made = Recording(
        place,
        teleoperator,
        opened,
        folder,
        commands,
        view=view,
        metronome=Metronome(clock, contract.period_s) if paced else None,
        callback=live,
        spare=spare_folder(opened),
    )
    return made, tasks


def _open_station(
    stack: ExitStack,
    config: StationConfig,
    store: LanceStore,
    folder: StatusFolder,
    clock: Clock,
    commands: CommandKeys,
) -> Station:
    """Open a station for this process alone, and store what an earlier one couldn't store."""
    from soar.collection.lease import station_held
    from soar.collection.sharing import shared
    from soar.collection.unstored import restore

    stack.enter_context(shared(store.path, [config.name]))
    stack.enter_context(station_held(config, store.path, lambda: commands.give("quit")))
    restore(store, config.name)
    place = open_station(config, clock, folder.folder)
    stack.callback(place.robot.close)
    return place


def _open_terminal(
    stack: ExitStack,
    teleoperator: Teleoperator,
    commands: CommandKeys,
    folder: StatusFolder,
    store: Path,
) -> View:
    """Take the terminal's keys and its screen. Raises ConfigError: the command runs in the background."""
    from soar.collection.terminal_view import TerminalView
    from soar.robots.operation.teleoperation import COMMAND_HELP, MOTION_HELP, Keyboard
    from soar.utils.keys import listen

    if not stack.enter_context(listen(_key_handler(teleoperator, commands, folder), sys.stdin)):
        raise ConfigError(
            "a person records in a terminal's foreground; valid elsewhere: --page, --script"
        )
    motion = MOTION_HELP if isinstance(teleoperator, Keyboard) else _device_help(teleoperator)
    help_lines = [*filter(None, [motion]), COMMAND_HELP, f"picture: soar watch {store}"]
    return stack.enter_context(TerminalView(sys.stderr, help_lines).open())


def _open_page(
    stack: ExitStack,
    teleoperator: Teleoperator,
    commands: CommandKeys,
    folder: StatusFolder,
    store: Path,
    tasks: list[Task],
    address: tuple[str, int],
) -> View:
    """Serve the page in which a person records, and print its address."""
    from soar.watch.app import PageConfig
    from soar.watch.place import open_place
    from soar.watch.recording import RecordingPage

    page = RecordingPage(
        _key_handler(teleoperator, commands, folder),
        commands.choose,
        [task.instruction for task in tasks],
        _device_help(teleoperator),
    )
    served = stack.enter_context(page.serve(open_place(store), PageConfig(*address)))
    print(f"record in the browser: {served}", flush=True)
    return page


def _key_handler(
    teleoperator: Teleoperator, commands: CommandKeys, folder: StatusFolder
) -> Callable[[str], None]:
    from soar.collection.keys import attend
    from soar.robots.operation.teleoperation import Keyboard

    def handle(key: str) -> None:
        if isinstance(teleoperator, Keyboard):
            teleoperator.press(key)
        commands.press(key)
        attend([folder])

    return handle


def _device_help(teleoperator: Teleoperator) -> str:
    from soar.robots.operation.devices import Gamepad

    return Gamepad.HELP if isinstance(teleoperator, Gamepad) else ""


def _tasks(instructions: tuple[str, ...], station: Station) -> list[Task]:
    """Return the tasks to record: the station's where it has them, else those of the instruction alone."""
    from soar.collection.recording import task_named

    named = [task_named(station, i) for i in instructions if i.strip()]
    chosen = named or list(station.tasks)
    if not chosen:
        raise ConfigError(f"station {station.name} has no tasks; name one with --task")
    return chosen


def _print_result(recording: Recording, store: Path) -> None:
    print(f"{recording.kept} demonstrations stored in {store}, {recording.discarded} thrown away")
