"""Demonstrations by a person at the keys of a pseudo-terminal, by scripts, by a gamepad and by a leader arm."""

import contextlib
import ctypes
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.cli import main
from soar.collection.recording import Recording
from soar.collection.status import StatusFolder
from soar.contract.contract import WIDOWX, ActionNumbers, Contract, Gripper, Numbers
from soar.contract.convert import apply, decode
from soar.data.store.lance import open_store
from soar.errors import ConfigError, RobotFault
from soar.robots.operation.devices import Gamepad, LeaderArm, Scripted
from soar.robots.operation.guard import (
    GuardedRobot,
    MotionGuard,
    release_motion,
    resume_motion,
    stop_motion,
)
from soar.robots.operation.teleoperation import GRIPPER_STEPS, Command, CommandKeys, Hand, Keyboard
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.rollout.station import Station
from soar.tasks.grammar import parse_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.types import Observation, Query

TASK = "move the green block to the left side"
JOINTS = ActionNumbers(space="joints", joints=("a", "b"), reference="absolute")
JOINT_ARM = Contract(action=JOINTS, state=Numbers(space="joints", joints=("a", "b")))


class Person:
    """A `soar record` in a pseudo-terminal, whose keys a test presses."""

    def __init__(self, *arguments: str) -> None:
        self.terminal, theirs = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.screen = ""
        environment = {**os.environ, "COLORTERM": "truecolor", "COLUMNS": "120", "LINES": "40"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "soar", "record", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def press(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def press_until(self, key: str, text: str) -> None:
        """Press a key once in each control step, until a text is shown."""
        for step in range(1, 1 + int(text.split()[1])):
            self.press(key)
            self.wait_for(f"step {step} ")

    def look(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.terminal], [], [], left)[0]:
                try:
                    self.screen = (
                        self.screen + os.read(self.terminal, 65536).decode(errors="ignore")
                    )[-60000:]
                except OSError:  # the process has ended
                    return

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 90
        while text not in self.screen:
            assert time.monotonic() < end, self.screen[-2000:]
            self.look(0.1)
        self.screen = ""

    def end(self) -> int:
        end = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end
            self.look(0.1)
        self.look(0.1)
        assert termios.tcgetattr(self.terminal) == self.before
        return self.process.returncode


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "arm.yaml"
    path.write_text("robot: toy\n")
    return path


@contextlib.contextmanager
def person(*arguments: str) -> Iterator[Person]:
    one = Person(*arguments)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        os.close(one.terminal)


def test_a_person_records_discards_and_ends_by_keys_in_a_terminal(toy, tmp_path):
    with person("--store", "s", "--station", "arm.yaml", "--task", TASK, "fold the cloth") as one:
        one.wait_for("ready: Enter starts")
        one.press("\n")
        one.wait_for("recording: ")
        one.press_until("\x1b[A", "step 2 ")
        one.press("x")
        one.wait_for("1 thrown away")
        one.press("\n")
        one.wait_for("recording: ")
        one.press_until("\x1b[D", "step 3 ")
        one.press("w")
        one.wait_for("step 4 ")
        one.press("g")
        one.wait_for("step 7 ")  # the gripper closes meanwhile
        one.press(" ")
        one.wait_for("held: ")
        one.press("s")
        for _ in range(3):  # so many control steps later it still hasn't moved
            one.wait_for("held: ")
        one.press("r")
        one.wait_for("held: released")
        one.press("c")
        one.wait_for("recording: ")
        one.press("\n")
        one.wait_for("1 kept")
        one.press("n")
        one.wait_for("fold the cloth")
        one.press("q")
        assert one.end() == 0
        assert "1 demonstrations stored in s, 1 thrown away" in one.screen
    (summary,) = open_store(tmp_path / "s").query(Query(outcomes=("success",)))
    episode = open_store(tmp_path / "s").load(summary.id)
    assert (summary.instruction, summary.provenance.checkpoint) == (TASK, "person")
    assert set(episode.actors) == {"person"}
    assert summary.interventions == len(episode)
    assert episode.verdict.judge == "person"
    assert episode.provenance.truth is False
    left, up = episode.states[-1, 1:3] - episode.states[0, 1:3]
    assert left > 0.02
    assert up > 0.005
    assert episode.actions[-1, 6] == 0


def test_a_pause_waits_between_demonstrations_and_a_stop_ends_the_recording(toy, tmp_path):
    folder = StatusFolder(tmp_path / "s", "arm")
    with person("--store", "s", "--station", "arm.yaml", "--task", TASK) as one:
        one.wait_for("ready: Enter starts")
        one.press("\n")
        one.wait_for("recording: ")
        folder.request("pause")
        one.press_until("w", "step 1 ")
        one.press("\n")
        one.wait_for("paused: `soar resume` goes on   step 0   1 kept")
        assert folder.status().activity == "paused"
        one.press("\n")  # starts nothing
        one.wait_for("paused: ")
        folder.request("run")
        one.wait_for("ready: Enter starts")
        assert folder.status().activity == "collecting"
        folder.request("stop")
        assert one.end() == 0
        assert "1 demonstrations stored in s, 0 thrown away" in one.screen


def test_the_terminal_is_as_before_after_a_signal(toy):
    with person("--store", "s", "--station", "arm.yaml") as one:
        one.wait_for("ready: Enter starts")
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 128 + signal.SIGTERM
        assert "\x1b[?1049l" in one.screen


def test_a_second_signal_ends_it_also_while_nobody_reads_the_terminal(toy):
    with person("--store", "s", "--station", "arm.yaml") as one:
        one.wait_for("ready: Enter starts")
        time.sleep(1)  # it is stuck in writing a picture
        for _ in range(2):
            one.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert one.process.wait(15) in (128 + signal.SIGTERM, -signal.SIGTERM)
        assert termios.tcgetattr(one.terminal) == one.before


def test_a_script_and_a_file_record_with_the_simulators_verdict(toy, tmp_path, capsys):
    Path("wave_arm.py").write_text(
        "import numpy as np\n"
        "def make(instruction):\n"
        "    steps = iter([np.array([0, 0.02, 0, 0, 0, 0, 1])] * 4)\n"
        "    return lambda observation: next(steps, None)\n"
        "def nothing(instruction):\n"
        "    return lambda observation: None\n"
    )
    np.savetxt("actions.csv", np.tile([0, 0, -0.01, 0, 0, 0, 1], (5, 1)), delimiter=",")
    for script, count in (("wave_arm:make", "2"), ("actions.csv", "1")):
        where = ["--store", "s", "--station", "arm.yaml", "--task", TASK]
        main(["record", *where, "--script", script, "--episodes", count])
    found = list(open_store(tmp_path / "s").query())
    assert [e.length for e in found] == [4, 4, 5]
    assert {(e.verdict.outcome, e.provenance.checkpoint) for e in found} == {("failure", "expert")}
    assert len({e.provenance.seed for e in found}) == 3
    assert "2 demonstrations stored" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["record", *where, "--script", "wave_arm:nothing"])
    assert "ended without an action" in capsys.readouterr().err


class Overloaded(ToyRobot):
    """An arm with one fault, after which its first recoveries fail, too."""

    def __init__(self, failing: int, folder: Path | None = None) -> None:
        super().__init__()
        self.failing, self.folder = failing, folder
        self.executed = self.looks = 0

    def execute(self, action):
        self.executed += 1
        if self.executed == 3:
            if self.folder:
                stop_motion(self.folder, "space bar")
            raise RobotFault("motor 3 reports an overload")
        return super().execute(action)

    def recover(self):
        self.failing -= 1
        if self.failing >= 0:
            raise RobotFault("still broken")

    def observe(self):
        if self.folder and (self.folder / "emergency").exists():
            self.looks += 1
            if self.looks == 3:
                release_motion(self.folder)
                resume_motion(self.folder)
        return super().observe()


def recording_with(folder: StatusFolder, robot: ToyRobot) -> Recording:
    actions = folder.folder.parent / "actions.csv"
    actions.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(actions, np.tile([0, 0, -0.01, 0, 0, 0, 1], (5, 1)), delimiter=",")
    store = open_store(folder.folder.parent.parent / "s", create=True)
    guard, task = MotionGuard(folder.folder), parse_instruction(TASK)
    guarded = GuardedRobot(SafeRobot(robot), guard)
    place = Station(
        "arm", guarded, (task,), UncertaintyProposer((task,)), "toy", "dev", guard=guard
    )
    commands = CommandKeys(lambda hold: None)
    return Recording(place, Scripted(str(actions)), store, folder, commands)


def test_a_recovery_that_fails_is_the_next_fault_in_a_row(tmp_path):
    task = parse_instruction(TASK)
    recording = recording_with(StatusFolder(tmp_path / "one", "arm"), Overloaded(failing=1))
    recording.run([task], 2)
    assert recording.kept == 2
    recording = recording_with(StatusFolder(tmp_path / "two", "arm"), Overloaded(failing=2))
    with pytest.raises(RobotFault, match="still broken"):
        recording.run([task], 2)


def test_a_recovery_waits_while_a_person_holds_the_arm(tmp_path):
    folder = StatusFolder(tmp_path, "arm")
    robot = Overloaded(failing=0, folder=folder.folder)
    recording = recording_with(folder, robot)
    recording.run([parse_instruction(TASK)], 1)
    assert (recording.kept, robot.failing, robot.looks) == (1, -1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "in a terminal; valid without one: --page, --script"),
        (["--script", "none.csv"], "none.csv holds no actions"),
        (["--script", "wave"], "valid: package.module:function"),
    ],
)
def test_wrong_options_are_one_line(toy, options, message, capsys):
    with pytest.raises(SystemExit):
        main(["record", "--store", "s", "--station", "arm.yaml", *options])
    assert message in capsys.readouterr().err


def test_an_arm_driven_by_joints_needs_a_leader_or_a_script():
    with pytest.raises(ConfigError, match="a leader arm, or a script"):
        Hand(JOINT_ARM)


def test_a_held_key_moves_faster_than_taps_and_keys_of_one_step_add_up():
    keyboard, seen = Keyboard(WIDOWX), ToyRobot().observe()
    steps = []
    for _ in range(4):
        keyboard.press("up")
        keyboard.press("a")
        steps.append(keyboard.act(seen))
    forward, turn = np.array([s[0] for s in steps if s is not None]), steps[0]
    assert np.allclose(forward, [0.008, 0.016, 0.024, 0.025])
    assert turn is not None
    assert turn[5] > 0
    assert keyboard.act(seen) is None
    keyboard.press("g")
    closing = [keyboard.act(seen) for _ in range(GRIPPER_STEPS + 1)]
    assert [a is not None and a[6] for a in closing] == [0.0] * GRIPPER_STEPS + [False]


class Leader:
    """A leader arm that stands still."""

    contract: Contract | None = None

    def __init__(self, state, contract=None) -> None:
        self.state, self.contract = np.array(state, np.float32), contract

    def observe(self) -> Observation:
        return replace(ToyRobot().observe(), state=self.state)

    def close(self) -> None:
        pass


def test_a_leaders_pose_is_followed_by_deltas_or_by_joints():
    seen = ToyRobot().observe()
    goal = seen.state + np.array([0.1, 0, -0.02, 0, 0, 7.0, -1], np.float32)
    action = LeaderArm(Leader(goal), WIDOWX).act(seen)
    assert action is not None
    assert np.allclose(action, [0.1, 0, -0.02, 0, 0, 7.0 - 2 * np.pi, 0], atol=1e-6)
    joints = replace(seen, state=np.zeros(3, np.float32))
    followed = LeaderArm(Leader([1, 2, 0.5], JOINT_ARM), JOINT_ARM).act(joints)
    assert followed is not None
    assert np.allclose(followed, [1, 2, 0.5])
    with pytest.raises(ConfigError, match="the same numbers"):
        LeaderArm(Leader([1, 2, 0.5], JOINT_ARM), WIDOWX)


@pytest.mark.parametrize("rotation", ["none", "yaw", "rotvec", "rpy"])
@pytest.mark.parametrize("gripper", [Gripper(), Gripper(1, 0), None])
def test_a_leader_is_followed_in_every_convention_that_the_limits_take(rotation, gripper):
    turn: Any = "left" if rotation == "rotvec" else "angles_added"
    contract = Contract(ActionNumbers(rotation=rotation, turn=turn, gripper=gripper))
    SafeRobot(ToyRobot(), contract=contract)
    poses = [[0.3, 0, 0.1, 0, 0, 0, 1], [0.31, 0, 0.1, 0.2, 0.1, 0.5, 0.25]]
    own, leading = np.array(poses, np.float32)
    action = LeaderArm(Leader(leading), contract).act(replace(ToyRobot().observe(), state=own))
    assert action is not None
    assert action.shape == (contract.action.dim,)
    now, goal = (decode(s.astype(np.float64), contract.state) for s in (own, leading))
    led = apply(action.astype(np.float64), now, contract.action)
    assert led.motion == pytest.approx(goal.motion, abs=1e-6)
    if rotation in ("rotvec", "rpy"):
        assert led.rotation == pytest.approx(goal.rotation, abs=1e-6)
    if rotation == "yaw":
        assert action[3] == pytest.approx(0.5)
    if gripper:
        assert led.opening == pytest.approx(0.25)


@pytest.mark.parametrize("angle", ["rad", "deg"])
def test_a_leader_past_half_a_turn_is_followed_there(angle):
    action = ActionNumbers(reference="absolute", wrap="continuous", angle=angle)
    contract = Contract(action, Numbers(wrap="continuous"))
    leader = Leader([0.3, 0, 0.1, 0, 0, 3.6, 1])
    seen = replace(ToyRobot().observe(), state=np.array([0.3, 0, 0.1, 0, 0, 3.5, 1], np.float32))
    told = LeaderArm(leader, contract).act(seen)
    assert told is not None
    assert told[5] == pytest.approx(3.6 if angle == "rad" else np.rad2deg(3.6), abs=1e-3)


def test_a_file_that_holds_no_actions_is_refused(tmp_path):
    path = tmp_path / "script.npy"
    with zipfile.ZipFile(tmp_path / "several.npz", "w") as archive:
        archive.writestr("a.npy", b"")
    for data in (b"", (tmp_path / "several.npz").read_bytes(), b"x,y"):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"script\.npy holds no actions"):
            Scripted(str(path))
    np.save(path, np.zeros(3, [("x", "f4")]))
    with pytest.raises(ConfigError, match=r"script\.npy holds no actions"):
        Scripted(str(path))
    np.save(path, np.zeros((3, 7)))
    assert Scripted(str(path)).actor == "expert"


def test_a_script_that_fails_or_returns_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad_script.py").write_text(
        "def none(instruction): pass\ndef fails(instruction): return lambda observation: 1 / 0\n"
    )
    with pytest.raises(ConfigError, match="must return a function"):
        Scripted("bad_script:none").reset(TASK)
    script = Scripted("python:bad_script:fails")
    script.reset(TASK)
    with pytest.raises(ConfigError, match="bad_script:fails: ZeroDivisionError"):
        script.act(ToyRobot().observe())


@pytest.fixture
def sdl():
    """SDL with a virtual controller, and functions that move its sticks and press its buttons."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame = pytest.importorskip("pygame", reason="pip install 'soar-robot[gamepad]'")
    libraries = (Path(pygame.__file__).parents[1] / "pygame_ce.libs").glob("libSDL2-2*")
    path = next(libraries, None)
    if path is None:
        pytest.skip("pygame-ce without its own SDL")
    library = ctypes.CDLL(str(path))
    library.SDL_JoystickFromInstanceID.restype = ctypes.c_void_p
    library.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
    library.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
    pygame.display.init()
    pygame.joystick.init()
    assert library.SDL_JoystickAttachVirtual(1, 6, 15, 0) == 0
    yield library
    pygame.quit()


def test_a_gamepad_moves_the_hand_and_gives_commands(sdl):
    given: list[Command] = []
    pad = Gamepad(WIDOWX, given.append)
    stick, seen = sdl.SDL_JoystickFromInstanceID(0), ToyRobot().observe()
    pad.act(seen)
    sdl.SDL_JoystickSetVirtualAxis(stick, 1, -32768)  # left stick forward
    sdl.SDL_JoystickSetVirtualAxis(
        stick, 0, 3000
    )  # and a little to the right, within the dead zone
    action = pad.act(seen)
    assert action is not None
    assert np.allclose(action, [0.025, 0, 0, 0, 0, 0, 1])
    sdl.SDL_JoystickSetVirtualAxis(stick, 1, 0)
    assert pad.act(seen) is None
    for button in (0, 6, 1, 9, 10):  # A, Start, B, both shoulders
        sdl.SDL_JoystickSetVirtualButton(stick, button, 1)
    action = pad.act(seen)
    assert action is not None
    assert action[6] == 0
    assert sorted(given) == ["discard", "emergency", "enter"]
    pad.close()


def test_without_a_gamepad_the_message_says_so():
    pytest.importorskip("pygame")
    with pytest.raises(ConfigError, match="there is no gamepad"):
        Gamepad(WIDOWX, lambda _: None)


def test_a_stop_acts_at_once_and_other_commands_wait():
    held: list[str] = []
    commands = CommandKeys(held.append)
    for key in " rc\nxq":
        commands.press(key)
    assert held == ["emergency", "release", "continue"]
    assert [commands.next() for _ in range(4)] == ["enter", "discard", "quit", None]
