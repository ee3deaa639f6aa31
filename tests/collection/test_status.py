import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from soar.cli import main
from soar.collection.lease import held, station_lease
from soar.collection.status import (
    StationStatus,
    StatusFolder,
    beat_all,
    request_all,
    status_folders,
)
from soar.errors import ConfigError, FileError
from soar.utils.notices import Webhook
from soar.watch.stations import _request as request_page

STATUS = StationStatus("arm1", "3", "collecting", 10.0, 20.0, os.getpid(), "fold the cloth", 5)


def test_a_shown_status_can_be_read(tmp_path):
    status = replace(STATUS, missing=("lemon",), duty_cycle=0.97)
    StatusFolder(tmp_path, "arm1").show(status)
    [status_folder] = status_folders(tmp_path)
    assert status_folder.status() == status


def test_a_station_runs_while_its_lease_is_held_whatever_process_has_its_id(tmp_path):
    status_folder = StatusFolder(tmp_path, "arm1")
    status_folder.show(STATUS)  # of this process, as after a restart on another machine
    assert not status_folder.runs()
    with held(station_lease(tmp_path, "arm1"), "arm1", lambda: None):
        assert status_folder.runs()
    assert not status_folder.runs()


def test_a_command_lasts_until_the_next_one(tmp_path):
    status_folder = StatusFolder(tmp_path, "arm1")
    assert status_folder.command() == "run"
    for command in ("pause", "stop"):
        status_folder.request(command)
        assert StatusFolder(tmp_path, "arm1").command() == command
    status_folder.request("run")
    assert status_folder.command() == "run"
    for word in ("dance", "emergency"):
        (status_folder.folder / "wish").write_text(word)
        assert status_folder.command() == "run"


@pytest.mark.parametrize("way", ["page", "command", "keys"])
def test_an_emergency_stop_holds_every_arm_although_one_cannot_be_reached(
    tmp_path, monkeypatch, capsys, way
):
    folders = [StatusFolder(tmp_path, name) for name in ("arm1", "arm2", "arm3")]
    for folder in folders:
        folder.show(replace(STATUS, station=folder.station))
    delivered = []

    def away(folder, name, text):
        if folder.name == "arm1":
            raise FileError("s3://b/arm1 can't be used: connection refused")
        delivered.append((folder.name, all((f.folder / "emergency").exists() for f in folders)))

    monkeypatch.setattr("soar.collection.status.deliver", away)
    problem = "'emergency' didn't reach arm1: s3://b/arm1 can't be used: connection refused"
    if way == "command":
        with pytest.raises(SystemExit):
            main(["stop", "--store", str(tmp_path), "--emergency"])
        assert problem in " ".join(capsys.readouterr().err.split())
    else:
        ask = request_page if way == "page" else request_all
        with pytest.raises(FileError, match=problem):
            ask(folders, "emergency")
    assert delivered == [("arm2", True), ("arm3", True)]  # first all arms of this machine
    with pytest.raises(FileError, match="the heartbeat didn't reach arm1"):
        beat_all(folders)
    assert all((f.folder / "heartbeat").exists() for f in folders)


def test_a_wrong_name_hides_no_arm_that_an_emergency_stop_did_not_reach(
    tmp_path, monkeypatch, capsys
):
    def away(*_):
        raise FileError("connection refused")

    StatusFolder(tmp_path, "arm1").show(STATUS)
    monkeypatch.setattr("soar.collection.status.deliver", away)
    with pytest.raises(SystemExit):
        main(["stop", "--store", str(tmp_path), "--emergency", "--station", "arm1", "arm2"])
    said = " ".join(capsys.readouterr().err.split())
    assert "'emergency' didn't reach arm1: connection refused; no station 'arm2'" in said


def test_events_are_kept_in_order(tmp_path):
    status_folder = StatusFolder(tmp_path, "arm1")
    status_folder.note("robot fault", "motor 3")
    status_folder.note("missing", "the lemon", person=True)
    assert [(e["kind"], e["message"]) for e in status_folder.events()] == [
        ("robot fault", "motor 3"),
        ("missing", "the lemon"),
    ]


def test_events_of_several_threads_are_each_written_once(tmp_path):
    status_folder = StatusFolder(tmp_path, "arm1")

    def note(thread: int) -> None:
        for i in range(100):
            status_folder.note("model down", f"{thread}-{i}", person=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(4)))
    messages = [e["message"] for e in status_folder.events()]
    assert len(messages) == len(set(messages)) == 400


def test_an_unavailable_webhook_raises_nothing(tmp_path):
    folder = StatusFolder(tmp_path, "arm1", [Webhook("http://127.0.0.1:9/")])
    folder.note("missing", "the lemon", person=True)
    folder.settle()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_status_folder_that_cannot_be_written_raises_nothing(tmp_path):
    tmp_path.chmod(0o500)
    StatusFolder(tmp_path, "arm1").show(STATUS)


def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="letters, digits"):
        StatusFolder(tmp_path, "../arm1")


def test_a_damaged_status_is_named(tmp_path):
    status_folder = StatusFolder(tmp_path, "arm1")
    status_folder.folder.mkdir(parents=True)
    (status_folder.folder / "status.json").write_text('{"missing": []}')
    with pytest.raises(ConfigError, match="station is missing"):
        status_folder.status()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", '"x"', "null", "[" * 10**5, "{", '{"station": 3}',
        '{"station": "a", "scene": "", "activity": "paused", "started_s": 1e300, "updated_s": 0, "pid": 1}',
        '{"station": "a", "scene": "", "activity": "paused", "started_s": 0, "updated_s": 0, "pid": 1e99}',
        '{"station": "a", "scene": "", "activity": "paused", "started_s": 0, "updated_s": 0, "pid": -1}',
    ],
)  # fmt: skip
def test_a_malformed_status_is_one_line(tmp_path, text):
    status_folder = StatusFolder(tmp_path, "arm1")
    status_folder.folder.mkdir(parents=True)
    (status_folder.folder / "status.json").write_text(text)
    with pytest.raises(ConfigError, match=r"status\.json"):
        status_folder.status()


@pytest.mark.parametrize(
    "line",
    [
        "[]", "3", "{}", '{"time_s": "now", "station": "a", "kind": "back", "message": ""}',
        '{"time_s": NaN, "station": "a", "kind": "back", "message": ""}', "{" * 10**5,
        '{"time_s": 1e300, "station": "a", "kind": "back", "message": ""}',
        '{"time_s": 1, "station": "a", "kind": "back", "message": {}}',
    ],
)  # fmt: skip
def test_a_malformed_event_is_one_line(tmp_path, line):
    status_folder = StatusFolder(tmp_path, "arm1")
    status_folder.note("back", "fine")
    with (status_folder.folder / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=r"events\.jsonl is damaged"):
        status_folder.events()
