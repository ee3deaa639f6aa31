"""How long ten demonstrations take at the keys of `soar record`: a scripted person in a pseudo-terminal.

    python -m benchmarks.record --scene dev1 --demonstrations 10

Each key takes as long as in the keystroke-level model (Card, Moran and Newell 1983): .28 s for a key of an average
typist, and 1.35 s to think before a demonstration, a change of the gripper, and keeping it. The person
presses one key at a time, reacts to a picture after .25 s, and releases a key up to .1 s too early or too late. What
they aim for comes from the simulator's expert, who knows where things are: a person's sight isn't part of it. Keys go
through a terminal, with the delay and the rate at which terminals repeat a held key.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from soar.collection.recording import Recording, RecordingState
from soar.collection.status import StatusFolder
from soar.collection.terminal_view import TerminalView
from soar.data.store.lance import open_store
from soar.robots.operation.teleoperation import GRIPPER_STEPS, CommandKeys, HandSpeed, Keyboard
from soar.robots.simulated import SimRobot
from soar.rollout.contracts import robot_contract
from soar.rollout.station import Station
from soar.rollout.station_config import open_station, sim_stations
from soar.sim.expert.expert import Expert
from soar.types import Image
from soar.utils.clock import Clock, Metronome
from soar.utils.keys import listen
from soar.utils.trajectories import MotionConfig

KEY_S, THINK_S, REACTION_S, RELEASE_S = 0.28, 1.35, 0.25, 0.1
REPEAT_AFTER_S, REPEAT_S = 0.5, 0.033
"""Delay and period of a held key's repetition, which are those of many desktops."""
PERIOD_S = 0.2
MOST_TAPS = 3
"""Taps up to which a person taps; a longer way is covered with a held key."""
GIVES_UP_S = 90.0
KEYS = (("\x1b[A", "\x1b[B"), ("\x1b[D", "\x1b[C"), ("w", "s"), ("a", "d"))
"""Keys of the positive and the negative direction of forward, left, up and turn."""
FAR = MotionConfig(step_m=9.0, gain_m=9.0, turn_rad=9.0, noise_m=0.0, noise_rad=0.0)
"""Motion of an expert whose action is the whole way to its next waypoint."""
SPEED = HandSpeed()


class Person(TerminalView):
    """A view that looks at the simulator's state instead of the picture, and presses keys in a thread of its own."""

    def __init__(self, station: Station, keys: int, screen: int, seed: int) -> None:
        """Sit down at a terminal. `keys`: its other end; `screen`: the terminal."""
        super().__init__(os.fdopen(os.dup(screen), "w"))
        assert isinstance(station.simulation, SimRobot)
        self._world, self._keys = station.simulation.world, keys
        self._goals = {t.instruction: t.goal for t in station.simulation.scene.tasks}
        self._rng = np.random.default_rng(seed)
        self._running: Iterator[float] | None = None
        self._free_s = 0.0
        self._down = ("", 0.0, 0.0)
        self.pressed = 0
        threading.Thread(target=self._repeat, daemon=True).start()

    def show(self, image: Image, state: RecordingState) -> None:
        """Look at a picture, and go on when the keys before it are pressed."""
        super().show(image, state)
        if not state.running:
            self._running = None
        if time.monotonic() < self._free_s:
            return
        if self._running is None:
            self._running = self._demonstrate(state.task)
        self._free_s = time.monotonic() + REACTION_S + next(self._running, THINK_S)

    def _demonstrate(self, task: str) -> Iterator[float]:
        """Press the keys of a demonstration; yields the time that each action takes [s]."""
        yield self._press("\n", THINK_S)
        expert = Expert(self._world, self._goals[task], self._rng, 0.0, motion=FAR)
        is_open, started_s = True, time.monotonic()
        while time.monotonic() < started_s + GIVES_UP_S:
            action = expert.act()
            if expert.done:
                break
            if (action[6] >= 0.5) != is_open:
                is_open = not is_open
                yield self._press("g", THINK_S) + GRIPPER_STEPS * PERIOD_S
            elif motion := self._way(action[[0, 1, 2, 5]]):
                yield motion
        yield self._press("\n" if self._world.fulfilled(self._goals[task]) else "x", THINK_S)

    def _way(self, offset: np.ndarray) -> float:
        """Go along the longest axis of a way; returns the time, 0 where no key is worth it."""
        full = np.array([SPEED.step_m] * 3 + [SPEED.turn_rad])
        steps = offset / full
        axis = int(np.abs(steps).argmax())
        key, length = KEYS[axis][int(steps[axis] < 0)], float(abs(steps[axis]))
        tap = SPEED.tap_m / SPEED.step_m
        if (taps := round(length / tap)) <= MOST_TAPS:
            for n in range(taps):
                self._press(key, n * KEY_S)
            return taps * KEY_S
        # After the tap, the held key's first two steps are shorter than the full one.
        held = max(0.0, length - tap + 2 - 3 * tap) * PERIOD_S
        until_s = REPEAT_AFTER_S + held + self._rng.uniform(-RELEASE_S, RELEASE_S)
        now = time.monotonic() + REACTION_S
        self._press(key, 0.0)
        self._down = key, now + REPEAT_AFTER_S, now + until_s
        return until_s + PERIOD_S

    def _press(self, key: str, after_s: float) -> float:
        """Press a key once, after a time; returns the time with the key's."""
        self.pressed += 1
        threading.Timer(REACTION_S + after_s, os.write, (self._keys, key.encode())).start()
        return after_s + KEY_S

    def _repeat(self) -> None:
        while True:
            key, start_s, end_s = self._down
            if start_s <= time.monotonic() < end_s:
                os.write(self._keys, key.encode())
            time.sleep(REPEAT_S)


def record(scene: str, index: int, demonstrations: int, seed: int) -> None:
    """Record demonstrations of one task in this process's own terminal, and print what they took."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    threading.Thread(target=_drain, args=(ours,), daemon=True).start()
    clock = Clock()
    [config] = sim_stations(scene, 1, seed)
    with tempfile.TemporaryDirectory() as folder:
        store, status = open_store(Path(folder) / "store", create=True), StatusFolder(folder, "arm")
        station = open_station(config, clock, status.folder)
        keyboard = Keyboard(robot_contract(station.robot), SPEED)
        commands, person = CommandKeys(lambda hold: None), Person(station, ours, theirs, seed)
        metronome = Metronome(clock, PERIOD_S)

        def handle(key: str) -> None:
            keyboard.press(key)
            commands.press(key)

        recording = Recording(
            station, keyboard, store, status, commands, view=person, metronome=metronome
        )
        with os.fdopen(theirs) as terminal, listen(handle, terminal):
            started_s, cpu_s = time.monotonic(), time.process_time()
            recording.run([station.tasks[index]], demonstrations)
            took_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
        found = list(store.query())
        lengths = [e.length for e in found]
        print(f"task: {station.tasks[index].instruction}")
        print(f"{recording.kept} kept in {took_s:.0f} s, {recording.discarded} thrown away")
        print(f"truly done: {sum(bool(e.provenance.truth) for e in found)}")
        print(f"keys pressed, repetitions apart: {person.pressed}")
        print(
            f"control steps of a demonstration: {np.mean(lengths):.0f} ({min(lengths)} to {max(lengths)})"
        )
        print(f"control loop: {metronome.jitter}; {cpu_s:.0f} s of CPU time")
        station.robot.close()


def _drain(number: int) -> None:
    """Read what the terminal shows, which nobody looks at."""
    while True:
        os.read(number, 65536)


def main() -> None:
    """Run in a session of its own, whose terminal is the pseudo-terminal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scene", default="dev1")
    parser.add_argument("--task", type=int, default=0, help="index among the scene's tasks")
    parser.add_argument("--demonstrations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setsid()
    record(args.scene, args.task, args.demonstrations, args.seed)


if __name__ == "__main__":
    main()
