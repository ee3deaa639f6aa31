import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet, shares
from soar.collection.retry import Backoff
from soar.collection.status import StatusFolder
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, StoreError
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.types import Action

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
SHORT = CollectionConfig(episode=EpisodeConfig(2, 12))


def job(folder: Path, **changes: object) -> CollectionJob:
    return replace(CollectionJob(folder / "store", TOYS, SHORT, episodes=4), **changes)  # type: ignore[arg-type]


def test_simulated_stations_run_in_lockstep_in_separate_processes(tmp_path):
    stations = [StationConfig(f"arm{i}", "toy", seed=i, process=True) for i in range(2)]
    summary = run_fleet(stations, job(tmp_path))
    assert (summary.episodes, summary.broken) == (4, ())
    store = open_store(tmp_path / "store")
    assert sorted(s.provenance.station for s in store.query()) == ["arm0", "arm0", "arm1", "arm1"]
    assert all(s.provenance.truth is not None for s in store.query())


def test_real_time_stations_run_separately_and_share_the_store(tmp_path):
    stations = [StationConfig(f"arm{i}", "toy", seed=i, realtime=True) for i in range(2)]
    short = CollectionConfig(episode=EpisodeConfig(1, 3))
    summary = run_fleet(stations, job(tmp_path, episodes=2, config=short))
    assert summary.episodes == 2
    store = open_store(tmp_path / "store")
    assert {s.provenance.station for s in store.query()} == {"arm0", "arm1"}


def test_an_episode_whose_disk_is_gone_after_its_commit_is_stored_once(tmp_path, monkeypatch):
    append, gone = LanceStore.append, list[str]()

    def commit_and_fail(self, episode):
        id = append(self, episode)
        if len(gone) < 2:
            gone.append(id)
            raise StoreError("gone")
        return id

    monkeypatch.setattr(LanceStore, "append", commit_and_fail)
    quick = replace(SHORT, backoff=Backoff(initial_s=0.01))
    assert run_fleet([StationConfig("arm", "toy")], job(tmp_path, config=quick)).episodes == 4
    started = [s.provenance.started_s for s in open_store(tmp_path / "store").query()]
    assert len(gone) == 2
    assert len(set(started)) == len(started) == 4


def test_a_fleet_can_be_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    summary = run_fleet([StationConfig("one", "toy")], job(tmp_path), stop=stop)
    assert summary.episodes == 0


def test_episodes_of_a_simulated_scene_are_collected(tmp_path):
    stations = [StationConfig("one", options={"scene": "1"})]
    short = CollectionConfig(episode=EpisodeConfig(1, 5))
    summary = run_fleet(stations, job(tmp_path, episodes=2, config=short))
    assert (summary.episodes, summary.dropped) == (2, 0)
    store = open_store(tmp_path / "store")
    first, _ = store.query()
    assert (first.provenance.scene, first.provenance.regime) == ("1", "soar")
    assert first.provenance.truth is not None
    assert store.load(first.id).images.shape == (6, 256, 256, 3)


class Crashing(ToyRobot):
    """An arm whose process dies in the middle of its second episode, once or at every start."""

    def __init__(self, marker: str, always: bool = False) -> None:
        super().__init__(0)
        self.marker, self.always, self.steps = Path(marker), always, 0

    def execute(self, action: Action) -> Action:
        self.steps += 1
        if self.always or (self.steps == 5 and not self.marker.exists()):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(action)


def crashing_station(marker: Path, **options: object) -> StationConfig:
    options = {"marker": str(marker), **options}
    robot = f"{__name__}:Crashing"
    tasks = INSTRUCTIONS
    return StationConfig("crashing", robot, options, tasks, process=False)


def test_a_killed_station_is_restarted_with_what_is_left_of_its_share(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    quick = replace(SHORT, episode=EpisodeConfig(1, 3), backoff=Backoff(initial_s=0.01))
    stations = [
        crashing_station(tmp_path / "crashed"),
        StationConfig("other", "toy", realtime=True),
    ]
    summary = run_fleet(stations, job(tmp_path, episodes=5, config=quick))
    assert (tmp_path / "crashed").exists()
    assert (summary.episodes, summary.broken) == (5, ())
    stored = Counter(s.provenance.station for s in open_store(tmp_path / "store").query())
    assert stored == {"crashing": 3, "other": 2}


def test_a_station_that_always_crashes_is_given_up_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    quick = replace(SHORT, episode=EpisodeConfig(1, 3), backoff=Backoff(initial_s=0.01))
    stations = [
        crashing_station(tmp_path / "crashed", always=True),
        StationConfig("other", "toy", realtime=True),
    ]
    summary = run_fleet(stations, job(tmp_path, episodes=2, config=quick))
    assert (summary.episodes, summary.broken) == (1, ("crashing",))
    kinds = [e["kind"] for e in StatusFolder(tmp_path / "store", "crashing").events()]
    assert kinds == ["crash"] * 3 + ["broken"]


def test_a_stop_ends_all_stations_after_their_episode(tmp_path):
    stop = threading.Event()
    stations = [StationConfig(f"arm{i}", "toy", seed=i, realtime=True) for i in range(2)]
    threading.Timer(1.0, stop.set).start()
    run_fleet(stations, job(tmp_path, episodes=None), stop=stop)
    assert not multiprocessing.active_children()


def test_exactly_as_many_episodes_as_asked_are_shared_out():
    assert shares(1, 2) == [1, 0]
    assert shares(7, 3) == [3, 2, 2]
    assert shares(None, 2) == [None, None]


def test_a_process_whose_models_need_no_torch_never_imports_it():
    """It would take two seconds of each station's and each worker's start."""
    code = (
        "import sys, soar.collection.fleet, soar.evaluation.runner; print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_stations_of_one_name_are_refused(tmp_path):
    stations = [StationConfig("arm", "toy", realtime=True)] * 2
    with pytest.raises(ConfigError, match="two stations are named 'arm'"):
        run_fleet(stations, job(tmp_path))
    assert not (tmp_path / "store").exists()
