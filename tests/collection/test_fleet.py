import threading
from dataclasses import replace
from pathlib import Path

import pytest

from soar.collection.collector import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.rollout.models import ModelsConfig, PromotionWatcher
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.utils.config import load

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
TOY_POLICY = Path(TOYS.policy)
SHORT = CollectionConfig(episode=EpisodeConfig(2, 12))


def job(folder: Path, **changes: object) -> CollectionJob:
    return replace(CollectionJob(folder / "store", TOYS, SHORT, episodes=4), **changes)  # type: ignore[arg-type]


def test_simulated_stations_work_in_lockstep_in_processes_of_their_own(tmp_path):
    stations = [StationConfig(f"arm{i}", "toy", seed=i, process=True) for i in range(2)]
    summary = run_fleet(stations, job(tmp_path))
    assert (summary.episodes, summary.broken) == (4, ())
    store = open_store(tmp_path / "store")
    assert sorted(s.provenance.station for s in store.query()) == ["arm0", "arm0", "arm1", "arm1"]
    assert all(s.provenance.truth is not None for s in store.query())


def test_real_time_stations_run_apart_and_share_the_store(tmp_path):
    stations = [StationConfig(f"arm{i}", "toy", seed=i, realtime=True) for i in range(2)]
    episode_config = CollectionConfig(episode=EpisodeConfig(1, 3))
    summary = run_fleet(stations, job(tmp_path, episodes=2, config=episode_config))
    assert summary.episodes == 2
    store = open_store(tmp_path / "store")
    assert {s.provenance.station for s in store.query()} == {"arm0", "arm1"}


def test_a_fleet_that_is_told_to_stop_stops(tmp_path):
    stop = threading.Event()
    stop.set()
    summary = run_fleet([StationConfig("one", "toy")], job(tmp_path), stop=stop)
    assert summary.episodes == 0


def test_what_a_run_promoted_is_picked_up(tmp_path, monkeypatch):
    run, names = Run(tmp_path), replace(TOYS, policy=str(tmp_path), subgoals=str(tmp_path))
    record = RunRecord("t", ("1",), 2, 0.0, models={"policy": "gcbc", "subgoals": "compact@12"})
    run.write(record)
    assert names.with_promoted() == replace(TOYS, policy="gcbc", subgoals="compact@12")
    toys, loaded = TOYS.load(), list[str]()
    for role in ("policy", "subgoals"):

        def load(name: str, toy: object = getattr(toys, role)) -> object:
            loaded.append(name)
            return toy

        monkeypatch.setattr(f"soar.rollout.models.load_{role}", load)
    pick_up, models = PromotionWatcher(names), toys
    assert pick_up(models) is models
    for made in (run.train_folder(1), run.subgoals_folder(1)):
        made.mkdir(parents=True)
        (made / "checkpoint.json").touch()
    assert pick_up(models) is models, "a candidate isn't in force"
    run.write(record.with_round(RoundRecord(1, "done", promoted=True)))
    assert pick_up(models) is not models
    assert loaded == [str(run.train_folder(1)), f"{run.subgoals_folder(1)}@12"]
    assert pick_up(models) is not None
    assert len(loaded) == 2


def test_models_come_from_a_file(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("vlm: chat:qwen@http://localhost:8000/v1\nthreshold: 0.6\n")
    assert load(ModelsConfig, path) == ModelsConfig(
        "chat:qwen@http://localhost:8000/v1", threshold=0.6
    )
    path.write_text("brain: big\n")
    with pytest.raises(
        ConfigError, match=r"unknown key .brain.; valid keys are vlm, subgoals, policy, detector, threshold"
    ):
        load(ModelsConfig, path)


def test_a_simulated_scene_is_collected_from(tmp_path):
    stations = [StationConfig("one", options={"scene": "1"})]
    episode_config = CollectionConfig(episode=EpisodeConfig(1, 5))
    summary = run_fleet(stations, job(tmp_path, episodes=2, config=episode_config))
    assert (summary.episodes, summary.dropped) == (2, 0)
    store = open_store(tmp_path / "store")
    first, _ = store.query()
    assert (first.provenance.scene, first.provenance.regime) == ("1", "soar")
    assert first.provenance.truth is not None
    assert store.load(first.id).images.shape == (6, 256, 256, 3)
