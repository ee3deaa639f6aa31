"""Pictures of running stations, and a list of tasks that changes while they run."""

import threading
import time
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.collection.live import (
    PERIOD_S,
    LivePictures,
    encode_picture,
    picture_time,
    read_picture,
    touch_watched,
)
from soar.collection.status import StatusFolder
from soar.data.store.images import decode
from soar.data.store.lance import open_store
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.callbacks import Callback
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig, Station
from soar.rollout.station_config import StationConfig, open_station
from soar.types import Observation, Proposal, Step, Subgoal

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
SHORT = CollectionConfig(episode=EpisodeConfig(2, 12))


def station(folder: Path) -> Station:
    (folder / "stations/one").mkdir(parents=True)
    return open_station(StationConfig("one", "toy"))


def step(index: int, image: np.ndarray) -> Step:
    observation = Observation(image, ToyRobot(0).observe().state, float(index))
    action = np.zeros(7, np.float32)
    return Step(index, observation, action, action, Subgoal(image, 0))


def test_pictures_are_published_only_while_somebody_watches(tmp_path: Path) -> None:
    open_store(tmp_path, create=True)
    arm, image = station(tmp_path), np.full((480, 640, 3), 128, np.uint8)
    live = LivePictures(tmp_path, 100)
    try:
        live.on_step(arm, step(3, image))
        time.sleep(3 * PERIOD_S)
        assert read_picture(tmp_path, "one") is None
        touch_watched(tmp_path)
        end = time.monotonic() + 5
        while not picture_time(tmp_path, "one") and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        live.close()
    picture = read_picture(tmp_path, "one")
    assert picture is not None
    assert (picture.step, picture.steps) == (3, 100)
    shown = decode(b64decode(picture.image))
    assert shown.shape == (240, 320, 3), "reduced by a whole factor, as wide as it was"
    assert abs(int(shown.mean()) - 128) < 2
    assert picture.subgoal == picture.image
    assert encode_picture(image[:128, :128, ::-1]), "another order of colors, as cameras have it"


def test_watching_does_not_stand_in_the_way_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    touch_watched(tmp_path / "store")
    open_store(tmp_path / "store", create=True)
    touch_watched(tmp_path / "store")
    assert (tmp_path / "store/stations/watched").exists()


def test_a_damaged_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "stations/one").mkdir(parents=True)
    (tmp_path / "stations/one/live.json").write_text('{"task": 3')
    assert read_picture(tmp_path, "one") is None


class _Operator(Callback):
    """Asks for other tasks when the first episode begins."""

    def __init__(self, folder: StatusFolder, *requests: tuple[str, ...]) -> None:
        self.folder, self.requests, self.tried = folder, list(requests), list[str]()

    def on_start(self, station: Station, proposal: Proposal) -> None:
        self.tried.append(proposal.task.instruction)
        if self.requests:
            self.folder.request_tasks(self.requests.pop(0))


def test_a_persons_list_of_tasks_counts_from_the_next_episode_on(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", StatusFolder(tmp_path / "store", "arm")
    operator = _Operator(folder, INSTRUCTIONS[1:], ("fly to the moon",), ())
    stop = threading.Event()
    job = CollectionJob(store, TOYS, replace(SHORT, overlap=False), episodes=4)
    run_fleet([StationConfig("arm", "toy")], job, stop=stop, callbacks=[operator])
    assert set(operator.tried[1:3]) == {INSTRUCTIONS[1]}
    assert folder.status().tasks == INSTRUCTIONS, "an empty list is the station's own"
    told = [e["message"] for e in folder.events() if e["kind"] == "tasks"]
    assert len(told) == 3
    assert "no task 'fly to the moon'" in told[1]
    assert len(list(open_store(store).query())) == 4
