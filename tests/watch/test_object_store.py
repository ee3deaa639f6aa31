"""The page of a store in object storage, on another machine than its stations': one with a cache of its own."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.watch.conftest import HERE, TOKEN

from object_storage import s3_environment
from soar.cli import main
from soar.collection import sharing
from soar.collection.lease import InUse, held, station_lease
from soar.collection.live import LivePicture
from soar.collection.sharing import shared
from soar.collection.status import StationStatus, StatusFolder
from soar.data.store.lance import open_store
from soar.errors import FileError
from soar.robots.toy import ToyRobot
from soar.types import Episode, Provenance, Verdict
from soar.utils import objects
from soar.utils.config import to_plain
from soar.utils.files import local_path, write_json
from soar.utils.objects import ObjectPath, local_part
from soar.vlm.labels import read_labels
from soar.watch.app import make_page
from soar.watch.place import open_place
from soar.watch.stations import stations


@pytest.fixture
def url(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sharing, "_PERIOD_S", 0.05)
    monkeypatch.setattr(sharing, "_WATCHED_PERIOD_S", 0.05)
    return f"{bucket}/lab"


def episode() -> Episode:
    robot = ToyRobot()
    seen = [robot.observe() for _ in range(2)]
    return Episode(
        instruction="move the green block to the left side",
        actions=seen[0].state[None],
        commanded=seen[0].state[None],
        images=np.stack([o.image for o in seen]),
        states=np.stack([o.state for o in seen]),
        times_s=np.array([0.0, 0.2]),
        subgoals=(),
        verdict=Verdict("success", 0.6),
        provenance=Provenance("arm1", "soar", "toy", 0, time.time()),
    )


def until(what: Callable[[], object]) -> None:
    ends_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Go on as another machine, with a cache of its own."""
    monkeypatch.setenv("SOAR_CACHE", str(folder))
    monkeypatch.setattr(socket, "gethostname", lambda: folder.name)


def test_a_page_elsewhere_shows_and_steers_the_stations_of_a_store_at_a_url(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = open_store(url, create=True).append(episode())
    arm, now = StatusFolder(local_part(url), "arm1"), time.time()
    with shared(local_part(url), ["arm1"]), held(arm.folder / "lease.json", "it", lambda: None):
        arm.show(StationStatus("arm1", "toy", "collecting", now, now, os.getpid()))
        write_json(arm.folder / "live.json", to_plain(LivePicture("fold it", 1, 2, now, "")))
        machine(monkeypatch, tmp_path / "page")
        place = open_place(local_path(url))
        values = stations(place).values
        assert values
        until(lambda: values().get("station arm1", {}).get("activity") == "collecting")
        until(
            lambda: values().get("picture arm1", {}).get("task") == "fold it"
        )  # files come one by one
        until(lambda: (arm.folder.parent / "watched").exists())
        page = TestClient(make_page(place, TOKEN), base_url=HERE)
        page.headers["Authorization"] = f"Bearer {TOKEN}"
        assert page.post("/api/stations/arm1/pause").status_code == 200
        until(lambda: arm.command() == "pause")
        arm.request("run")  # at its machine
        until(lambda: values()["station arm1"]["command"] == "run")
        page.post("/api/fleet/emergency")
        until(lambda: arm.is_stopped)
        page.post("/api/fleet/resume")
        page.post("/api/fleet/release")
        until(lambda: arm.is_released)
        until(lambda: values()["station arm1"]["command"] == "released")
        page.post("/api/fleet/resume")
        until(lambda: not arm.is_released)
        assert not arm.is_stopped
        page.post("/api/stations/arm1/tasks", json={"tasks": ["fold it"]})
        until(arm.requested_tasks)
        assert page.post(f"/api/episodes/{id}/label", json={"label": "success"}).status_code == 200
        assert read_labels(ObjectPath(url) / "labels.csv") == {id: True}
        assert page.get("/api/page").json()["name"] == "lab"
        with pytest.raises(InUse), held(station_lease(place.store, "arm1"), "it", lambda: None):
            pass


def test_a_machine_that_takes_a_station_over_knows_what_was_asked_and_who_holds_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(url, create=True)
    store = local_part(url)
    with shared(store, ["arm1"]), held(station_lease(store, "arm1"), "it", lambda: None):
        StatusFolder(store, "arm1").request_tasks(["fold it"])
        until((ObjectPath(url) / "stations/arm1/tasks.json").exists)
        machine(monkeypatch, tmp_path / "other")
        there = local_part(url)
        with (
            shared(there, ["arm1"]),
            pytest.raises(InUse),
            held(station_lease(there, "arm1"), "it", lambda: None),
        ):
            pass
    with shared(there, ["arm1"]), held(station_lease(there, "arm1"), "it", lambda: None):
        assert StatusFolder(there, "arm1").requested_tasks() == ("fold it",)


def test_what_is_asked_at_the_stations_machine_goes_before_what_comes_from_elsewhere(
    bucket: str, tmp_path: Path
) -> None:
    arm, there = StatusFolder(tmp_path, "arm1"), ObjectPath(f"{bucket}/lab/stations/arm1")
    station = sharing._Station(arm.folder, there)
    emergency, stop = arm.folder / "emergency", there / "emergency"
    station.look()
    arm.request("emergency", "the page")
    station.look()
    stop.unlink()  # `soar release` elsewhere
    (there / "wish").write_bytes(b"pause")
    arm.request("emergency", "space bar, a second later")
    arm.request("stop")
    station.look()
    assert emergency.exists()
    assert b"space bar" in stop.read_bytes()
    assert (arm.command(), (there / "wish").read_bytes()) == ("stop", b"stop")
    arm.request("release")
    stop.write_bytes(b"elsewhere")  # while it was released here
    station.look()
    assert emergency.read_text() == "elsewhere"
    stop.unlink()
    station.look()
    assert not emergency.exists()
    station.close()


@pytest.mark.parametrize("cause", [FileError("the storage is away"), KeyboardInterrupt()])
def test_a_stop_that_was_not_delivered_is_kept_and_delivered_later(
    url: str, monkeypatch: pytest.MonkeyPatch, cause: BaseException
) -> None:
    open_store(url, create=True)
    arm, there = StatusFolder(local_part(url), "arm1"), ObjectPath(url) / "stations/arm1"
    stop = arm.folder / "emergency"
    (there / "status.json").write_bytes(b"{}")
    write = sharing._write

    def fails(*_: Any) -> None:
        raise cause

    monkeypatch.setattr(sharing, "_write", fails)
    with contextlib.suppress(FileError, KeyboardInterrupt):
        arm.request("emergency", "the page")
    monkeypatch.setattr(sharing, "_write", write)
    sharing.fetch_stations(arm.folder.parent.parent)
    assert stop.exists()
    assert b"the page" in (there / "emergency").read_bytes()
    arm.request("release")
    sharing.fetch_stations(arm.folder.parent.parent)
    assert not stop.exists()
    assert not (there / "emergency").exists()
    (there / "emergency").write_bytes(b"elsewhere")
    sharing.fetch_stations(arm.folder.parent.parent)
    (there / "emergency").unlink()  # released elsewhere
    sharing.fetch_stations(arm.folder.parent.parent)
    assert not stop.exists()


def test_a_stop_at_a_station_that_begins_during_a_look_from_here_stays(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(url, create=True)
    arm, there = StatusFolder(local_part(url), "arm1"), ObjectPath(url) / "stations/arm1"
    (there / "status.json").write_bytes(b"{}")
    station, before = sharing._Station(arm.folder, there), ObjectPath.read_bytes

    def begins(path: ObjectPath) -> bytes:
        if not arm.is_stopped:
            station.look()
            arm.request("emergency", "space bar")
        return before(path)

    monkeypatch.setattr(ObjectPath, "read_bytes", begins)
    sharing.fetch_stations(arm.folder.parent.parent)
    assert arm.is_stopped
    station.close()


def test_a_look_from_here_keeps_no_station_from_beginning(url: str) -> None:
    folder, there = local_part(url) / "stations" / "arm1", ObjectPath(url) / "stations/arm1"
    station, mirror = sharing._Station(folder, there), sharing._Mirror(folder, there)
    looking, stop = threading.Event(), threading.Event()

    def look() -> None:
        with mirror._changing():
            looking.set()
            stop.wait(0.05)

    thread = threading.Thread(target=look)
    thread.start()
    looking.wait()
    assert not station.look()  # nobody watches
    assert sharing._is_served(folder)
    thread.join()
    station.close()


@pytest.mark.slow
def test_a_command_to_another_machine_fails_while_the_storage_is_away(url: str, gate: Any) -> None:
    open_store(url, create=True)
    here, there = (StatusFolder(local_part(url), name) for name in ("arm1", "arm2"))
    with shared(local_part(url), ["arm1"]):
        gate.shut()
        here.request("emergency")
        assert (here.folder / "emergency").exists()
        with pytest.raises(FileError, match="can't be used"):
            there.request("pause")
        here.request("run")
        here.request("pause")
        gate.state = "open"
        wish = ObjectPath(url) / "stations/arm1/wish"
        until(lambda: wish.exists() and wish.read_bytes() == b"pause")


@contextlib.contextmanager
def silent_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Object storage that takes connections and never answers, on a machine that knows no store yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in s3_environment(address).items():
            monkeypatch.setenv(name, value)
        machine(monkeypatch, tmp_path)
        monkeypatch.setattr("soar.utils.objects._QUICK_S", 0.1)
        yield


@pytest.mark.parametrize(
    ("command", "file"), [("stop --emergency", "emergency"), ("attend", "heartbeat")]
)
def test_what_is_asked_reaches_the_arms_here_before_a_storage_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str, file: str
) -> None:
    with silent_storage(tmp_path, monkeypatch):
        store = local_part("s3://b/lab")
        arms = [StatusFolder(store, name) for name in ("arm1", "arm2")]
        for arm in arms:
            arm.show(StationStatus(arm.station, "1", "collecting", 10.0, 20.0, 1))
        (store / "store.json").write_text("{}")  # known here
        asked_before = []

        def opened(*bucket: Any) -> Any:
            if (
                threading.current_thread() is threading.main_thread()
            ):  # not what an earlier test left
                asked_before.append(all((arm.folder / file).exists() for arm in arms))
            return request(*bucket)

        request = objects._opened
        request.cache_clear()
        monkeypatch.setattr(objects, "_opened", opened)
        with pytest.raises(SystemExit):
            main([*command.split(), "--store", "s3://b/lab"])
    assert asked_before
    assert all(asked_before)
    assert "didn't reach arm1, arm2" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("command", ["stop --emergency", "stop", "pause", "release", "attend"])
def test_a_storage_that_never_answers_is_given_up_in_one_line_also_for_a_store_that_is_new_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str, known: bool
) -> None:
    with silent_storage(tmp_path, monkeypatch):
        objects._opened.cache_clear()
        if known:
            local_part("s3://b/lab").mkdir(parents=True)
            (local_part("s3://b/lab") / "store.json").write_text("{}")
        begun_s = time.monotonic()
        with pytest.raises(SystemExit):
            main([*command.split(), "--store", "s3://b/lab"])
    assert time.monotonic() - begun_s < 20
    said = capsys.readouterr().err
    assert "s3://b/lab" in said
    assert "can't be used" in " ".join(said.split())
    assert said.count("\n") == 1
