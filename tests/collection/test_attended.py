"""Stations whose trials a person attends have the emergency stop, the heartbeat and the leases of a collection."""

from __future__ import annotations

import json
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soar.cli import main
from soar.collection.attended import attended
from soar.collection.lease import InUse
from soar.rollout.station_config import StationConfig
from soar.utils.keys import Keys

ARM = StationConfig("arm", "soar.robots.toy:ToyRobot", tasks=("move the block to the left side",))


def activity(place: Path) -> str:
    return str(json.loads((place / "stations" / "arm" / "status.json").read_text())["activity"])


def test_attended_stations_are_stopped_and_released_as_in_collection(tmp_path: Path) -> None:
    with attended([ARM], tmp_path) as present:
        assert activity(tmp_path) == "evaluating"
        emergency = present.folders["arm"] / "emergency"
        main(["stop", "--store", str(tmp_path), "--emergency"])
        assert emergency.exists()
        main(["release", "--store", str(tmp_path)])
        assert not emergency.exists()
        main(["attend", "--store", str(tmp_path)])
        assert (present.folders["arm"] / "heartbeat").exists()
    assert activity(tmp_path) == "stopped"


def test_an_arm_that_another_program_drives_is_refused(tmp_path: Path) -> None:
    other = StationConfig("other", ARM.robot, tasks=ARM.tasks)
    with (
        attended([ARM], tmp_path / "a"),
        pytest.raises(InUse, match="the robot of station 'other' is in use by process"),
        attended([other], tmp_path / "b"),
    ):
        pass
    with attended([other], tmp_path / "b"):
        pass


@pytest.fixture
def terminal() -> Iterator[tuple[int, Any]]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stream:
        yield ours, stream
    os.close(ours)


def test_a_question_reads_lines_and_its_answer_is_a_key(
    terminal: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stream = terminal
    monkeypatch.setattr("soar.utils.keys._in_foreground", lambda _: True)
    pressed: list[str] = []
    keys = Keys(pressed.append, stream)
    with keys as listening:
        assert listening
        with keys.paused():
            os.write(ours, b"y \n")
            assert stream.readline() == "y \n"
            assert pressed == []
        assert pressed == ["\n"]


def test_a_key_whose_handler_fails_is_not_the_last_one(
    terminal: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stream = terminal
    monkeypatch.setattr("soar.utils.keys._in_foreground", lambda _: True)
    second = threading.Event()

    def handle(key: str) -> None:
        if key == "x":
            raise RuntimeError("anything")
        second.set()

    with Keys(handle, stream):
        os.write(ours, b"x ")
        assert second.wait(10)
