"""Real signals to long commands: they end in seconds with one line, lose nothing finished and leave no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soar.data.store.lance import open_store

STORE = Path(__file__).parents[1] / "formats" / "made_by_975160d" / "store"
LIMIT_S = 300.0
"""Time limit in seconds of what takes a few seconds on a machine that isn't busy."""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def session(leader: int) -> list[str]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[3] == str(leader) and fields[0] not in "ZX":
            found.append(stat.parent.name)
    return found


class Command:
    """A running command in a session of its own."""

    def __init__(self, *words: str, folder: Path) -> None:
        default = ["env", "--default-signal=HUP"]  # under nohup it would be ignored
        self.process = subprocess.Popen(
            [*default, sys.executable, "-m", "soar", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            start_new_session=True,
        )

    def ended(self) -> tuple[int, str]:
        """Exit code and output; fails if a process of the command is left."""
        output, _ = self.process.communicate(timeout=LIMIT_S)
        until(lambda: not session(self.process.pid))
        assert "Traceback" not in output
        return self.process.returncode, output


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def begin(*words: str) -> Command:
        commands.append(Command(*words, folder=tmp_path))
        return commands[-1]

    yield begin
    for command in commands:
        for pid in session(command.process.pid):
            os.kill(int(pid), signal.SIGKILL)
        command.process.wait()


@pytest.mark.parametrize(
    ("words", "began", "number", "kept"),
    [
        (
            "evaluate --scene 1 --trials 200 --steps-per-subgoal 50 --workers 2 --out out",
            "out/evaluation.json",
            signal.SIGINT,
            "finished trials are kept, and the same command continues",
        ),
        (
            f"train gcbc --store {STORE} --out out --preset debug --fit.steps 1000000",
            "out/config.yaml",
            signal.SIGTERM,
            "the last saved state is kept, and the same command continues from it",
        ),
        (
            "sim demos --store out --episodes 100000 --workers 2",
            "out/store.json",
            signal.SIGHUP,
            "stored demonstrations are kept, and the same command continues",
        ),
    ],
)
def test_a_signal_ends_a_long_command_with_one_line_that_says_what_is_kept(
    words, began, number, kept, tmp_path, start
):
    command = start(*words.split())
    until((tmp_path / began).exists)
    time.sleep(1)
    os.killpg(command.process.pid, number)
    code, output = command.ended()
    assert code == 128 + number
    assert output.strip().splitlines()[-1] == f"soar: interrupted; {kept}"


LAB = {
    "models.yaml": "vlm: python:soar.robots.toy_models:ToyVLM\n"
    "subgoals: python:soar.robots.toy_models:ToySubgoals\n"
    "policy: python:soar.robots.toy_models:ToyPolicy\n",
    "arm1.yaml": "robot: toy\nrealtime: true\nprocess: true\n",
    "arm2.yaml": "robot: toy\nrealtime: true\nprocess: true\nseed: 1\n",
}
COLLECT = "collect --store store --station arm1.yaml arm2.yaml --models models.yaml --hours 1"


@pytest.mark.parametrize(
    ("numbers", "steps", "code"),
    [
        ([signal.SIGINT], 5, 0),
        ([signal.SIGHUP, signal.SIGTERM], 10_000, 128 + signal.SIGTERM),  # 33 minutes
    ],
    ids=["Ctrl-C", "a lost connection, then systemd"],
)
def test_a_signal_ends_a_fleet_after_its_episodes_and_a_second_one_at_once(
    numbers, steps, code, tmp_path, start
):
    for name, text in LAB.items():
        (tmp_path / name).write_text(text)
    length = ("--episode.num-subgoals=1", f"--episode.steps-per-subgoal={steps}")
    command = start(*COLLECT.split(), *length)
    folders = [tmp_path / "store" / "stations" / name for name in ("arm1", "arm2")]
    until(lambda: all((f / "status.json").exists() for f in folders))
    for number in numbers:
        os.killpg(command.process.pid, number)
        time.sleep(0.2)
    assert command.ended()[0] == code
    store = open_store(tmp_path / "store")
    assert all(len(store.load(s.id)) == s.length for s in store.query())
