import threading
from dataclasses import replace
from pathlib import Path

from soar.collection.collector import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import open_store
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig

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
