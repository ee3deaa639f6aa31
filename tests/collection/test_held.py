"""Stations under an emergency stop, without a heartbeat, and in a dry run; and the terminal's keys."""

import os
import pty
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from soar.cli import main
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.collection.keys import operator_keys
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.robots.operation.guard import MotionGuard
from soar.rollout.callbacks import Callback
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig

TOYS = "python:soar.robots.toy_models:Toy"
MODELS = ModelsConfig(vlm=f"{TOYS}VLM", subgoals=f"{TOYS}Subgoals", policy=f"{TOYS}Policy")


class AtStep(Callback):
    """Calls a function once, in the middle of the second episode."""

    def __init__(self, function) -> None:
        self.function, self.steps = function, 0

    def on_step(self, station, step) -> None:
        self.steps += 1
        if self.steps == 150:
            self.function()


def wait_until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def store(tmp_path):
    open_store(tmp_path, create=True)


def status(folder: StatusFolder) -> str:
    return folder.status().activity if (folder.folder / "status.json").exists() else ""


def test_a_station_is_held_at_once_drops_its_episode_and_goes_on_when_released(tmp_path):
    folder = StatusFolder(tmp_path, "arm")
    station, job = StationConfig("arm", "toy"), CollectionJob(tmp_path, MODELS, episodes=3)
    stop = threading.Event()
    callback = AtStep(lambda: folder.request("emergency", "a test"))
    run = threading.Thread(
        daemon=True, target=run_lockstep, args=([station], job, stop, [callback])
    )
    run.start()
    wait_until(lambda: status(folder) == "held")
    steps = callback.steps
    folder.request("pause")  # neither this nor a wait releases it
    time.sleep(0.3)
    assert (callback.steps, status(folder)) == (steps, "held")
    assert "a test" in folder.status().doing
    folder.request("run")  # nor this
    folder.request("release")
    wait_until(lambda: "`soar resume`" in folder.status().doing)
    time.sleep(0.3)
    assert (callback.steps, status(folder)) == (steps, "held")  # a release moves nothing
    folder.request("run")
    run.join()
    kinds = [e["kind"] for e in folder.events()]
    assert kinds == ["held", "back"]
    assert len(list(open_store(tmp_path).query())) == 3
    assert steps == 150
    assert callback.steps == 150 + 200


def test_a_held_station_can_be_stopped_and_stays_held_after_a_restart(tmp_path):
    folder = StatusFolder(tmp_path, "arm")
    job = CollectionJob(tmp_path, MODELS, episodes=1)
    folder.request("emergency")
    for _ in range(2):
        stop = threading.Event()
        run = threading.Thread(
            daemon=True, target=run_lockstep, args=([StationConfig("arm", "toy")], job, stop)
        )
        run.start()
        wait_until(lambda: status(folder) == "held")
        stop.set()
        run.join()
    assert list(open_store(tmp_path).query()) == []


def test_a_stop_before_is_forgotten_at_a_start_and_an_emergency_stop_is_not(tmp_path):
    folder = StatusFolder(tmp_path, "arm")
    folder.request("stop")
    folder.request("emergency")
    run = threading.Thread(
        daemon=True,
        target=run_lockstep,
        args=(
            [StationConfig("arm", "toy")],
            CollectionJob(tmp_path, MODELS, episodes=1),
            stop := threading.Event(),
        ),
    )
    run.start()
    wait_until(lambda: status(folder) == "held")
    assert folder.command() == "run"
    stop.set()
    run.join()
    assert list(open_store(tmp_path).query()) == []


def test_a_station_that_asks_for_a_heartbeat_waits_for_one(tmp_path):
    folder = StatusFolder(tmp_path, "arm")
    station = replace(StationConfig("arm", "toy"), heartbeat_s=60.0)
    job = CollectionJob(tmp_path, MODELS, episodes=1)
    run = threading.Thread(
        daemon=True, target=run_lockstep, args=([station], job, threading.Event())
    )
    run.start()
    wait_until(lambda: status(folder) == "held")
    assert "no heartbeat" in folder.status().doing
    main(["attend", "--store", str(tmp_path)])
    run.join()
    assert len(list(open_store(tmp_path).query())) == 1


def test_the_commands_stop_and_release_all_or_some(tmp_path, capsys):
    job = CollectionJob(tmp_path, MODELS, episodes=2)
    run_lockstep([StationConfig(n, "toy") for n in ("a", "b")], job, threading.Event())
    main(["stop", "--store", str(tmp_path), "--emergency"])
    main(["resume", "--store", str(tmp_path)])
    main(["release", "--store", str(tmp_path), "--station", "a"])
    main(["resume", "--store", str(tmp_path)])
    main(["release", "--store", str(tmp_path), "--station", "a"])
    still = "still held by an emergency stop; `soar release` releases it"
    assert capsys.readouterr().out.strip().split("\n") == [
        *("a: emergency", "b: emergency"),
        *(f"a: {still}", f"b: {still}"),
        "a: released; `soar resume` lets it move again",
        *("a: run", f"b: {still}"),
        "no emergency stop holds an arm",
    ]
    guards = [MotionGuard(tmp_path / "stations" / name) for name in ("a", "b")]
    assert [bool(guard.reason()) for guard in guards] == [False, True]


def test_a_dry_run_prints_what_would_be_sent_and_stores_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("arm.yaml").write_text(
        "robot: soar.robots.toy:ToyRobot\nprocess: false\n"
        "tasks: [move the green block to the left side, move the green block to the right side]\n"
    )
    monkeypatch.setattr("soar.utils.clock.time.sleep", lambda _: None)
    models = ["--vlm", MODELS.vlm, "--subgoals", MODELS.subgoals, "--policy", MODELS.policy]
    options = ["--store", "s", "--station", "arm.yaml", "--episodes", "1", *models, "--dry-run"]
    main(["collect", *options])
    out = capsys.readouterr().out.split("\n")
    sent = [line for line in out if line.startswith("arm step")]
    assert len(sent) == 100
    assert sent[0].startswith("arm step   0: ")
    assert "gripper +1.000" in sent[0]
    assert "dry run of 1 episodes: nothing moved, nothing stored" in out
    assert not Path("s").exists()


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stream:
        yield ours, stream
    os.close(ours)


def test_keys_stop_release_and_beat(tmp_path, terminal, monkeypatch):
    ours, stream = terminal
    monkeypatch.setattr("soar.utils.keys._in_foreground", lambda _: True)
    folders = [StatusFolder(tmp_path, name) for name in ("a", "b")]
    emergencies = [f.folder / "emergency" for f in folders]
    with operator_keys(folders, stream):
        os.write(ours, b"x")
        wait_until(lambda: all((f.folder / "heartbeat").exists() for f in folders))
        assert not any(e.exists() for e in emergencies)
        os.write(ours, b" ")
        wait_until(lambda: all(e.exists() for e in emergencies))
        os.write(ours, b"c")  # nothing is released
        os.write(ours, b"r")
        wait_until(lambda: not any(e.exists() for e in emergencies))
        assert all(f.is_released for f in folders)
        os.write(ours, b"c")
        wait_until(lambda: not any(f.is_released for f in folders))
    import termios

    assert termios.tcgetattr(stream.fileno())[3] & termios.ICANON  # the terminal is as it was


def test_without_a_terminal_or_in_the_background_no_key_is_read(tmp_path, terminal):
    ours, stream = terminal
    folder = StatusFolder(tmp_path, "a")
    with operator_keys([folder], stream), open(os.devnull) as nothing:  # not this test's terminal
        os.write(ours, b" ")
        time.sleep(0.2)
        with operator_keys([folder], nothing):
            pass
    assert not folder.folder.exists()
