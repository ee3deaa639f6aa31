"""A fleet of the embedded engine, and one of an engine of threads, which is started again as Ray's is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from soar.collection.lease import held
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.fleet.control import down, drain, engine_lines
from soar.fleet.run import FleetFile, collection_job, fleet_lease, run_stations, up
from soar.fleet.station_run import StationRun, StationTask
from soar.robots.toy_models import ToyPolicy

MODELS = """
models:
  vlm: python:soar.robots.toy_models:ToyVLM
  subgoals: python:soar.robots.toy_models:ToySubgoals
  policy: python:soar.robots.toy_models:ToyPolicy
collection: {episode: {num_subgoals: 1, steps_per_subgoal: 3}, backoff: {initial_s: 0.01}}
"""


def write(folder: Path, *names: str) -> Path:
    rows = [f"  - station: {{name: {n}, robot: toy, seed: {i}}}\n" for i, n in enumerate(names)]
    file = folder / "fleet.yaml"
    file.write_text(f"store: store\nstations:\n{''.join(rows)}{MODELS}")
    return file


def stored(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for summary in open_store(folder / "store").query():
        counts[summary.provenance.station] = counts.get(summary.provenance.station, 0) + 1
    return counts


def wait_until(what) -> None:
    until = time.monotonic() + 120
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_fleet_collects_and_each_episode_names_a_file_that_repeats_it(tmp_path):
    summary = up(FleetFile(write(tmp_path, "a", "b")), threading.Event(), episodes=4)
    assert (summary.episodes, summary.broken) == (4, ())
    assert stored(tmp_path) == {"a": 2, "b": 2}
    first = next(open_store(tmp_path / "store").query())
    again = FleetFile(tmp_path / "store" / "configs" / f"{first.provenance.config_hash}.yaml")
    assert [s.station.name for s in again.config.stations] == ["a", "b"]


def test_a_station_is_added_while_it_runs_and_all_are_drained(tmp_path):
    file = FleetFile(write(tmp_path, "a"))
    results = []
    thread = threading.Thread(target=lambda: results.append(up(file, threading.Event())))
    thread.start()
    try:
        wait_until(lambda: (tmp_path / "store" / "store.json").exists() and stored(tmp_path))
        assert "runs as process" in engine_lines(file.config)[0]
        write(tmp_path, "a", "b")
        wait_until(lambda: "b" in stored(tmp_path))
    finally:
        lines = list(drain(FleetFile(tmp_path / "fleet.yaml").config))
        thread.join(60)
    assert lines == ["a: ended", "b: ended", "drained"]
    assert results[0].episodes == sum(stored(tmp_path).values())
    assert engine_lines(file.config) == ["embedded: no `soar fleet up` is running"]


def test_a_fleet_that_still_loads_its_models_is_drained_once_it_has_begun(tmp_path, monkeypatch):
    loading, gate, stop = (threading.Event() for _ in range(3))

    class Slow(ToyPolicy):
        def __init__(self) -> None:
            loading.set()
            gate.wait(60)

    monkeypatch.setattr("soar.robots.toy_models.ToyPolicy", Slow)
    file = FleetFile(write(tmp_path, "a"))
    lines: list[str] = []
    running = threading.Thread(target=up, args=(file, stop))
    draining = threading.Thread(target=lambda: lines.extend(drain(file.config)))
    running.start()
    try:
        assert loading.wait(60)
        draining.start()
        draining.join(0.3)
        assert draining.is_alive()
        gate.set()
        draining.join(60)
        assert lines[-1] == "drained"
        assert not engine_lines(file.config)[0].startswith("embedded: runs")
    finally:
        gate.set()
        stop.set()
        running.join(60)


def test_a_fleet_runs_once_and_a_mistake_in_its_file_leaves_it_as_it_is(tmp_path, caplog):
    file = FleetFile(write(tmp_path, "a"))
    collection_job(file.config, None, None)
    with (
        held(fleet_lease(file.config.store), "the fleet", lambda: None),
        pytest.raises(ConfigError, match="is in use by process"),
    ):
        up(file, threading.Event(), episodes=1)
    (tmp_path / "fleet.yaml").write_text("stations: 3")
    assert file.added({"a"}) == []
    assert "the fleet goes on as it is" in caplog.text
    assert down(file.config) == []


class Threads:
    """An engine that runs stations in threads."""

    def __init__(self) -> None:
        self.tasks: dict[str, StationTask] = {}
        self.runs: dict[str, StationRun] = {}

    def start_station(self, station, task) -> None:
        self.tasks[task.station.name] = task
        self.runs[task.station.name] = StationRun(task)

    def lose(self, name: str) -> None:
        """Start a station again, as after the loss of its process."""
        self.runs[name].stop()
        wait_until(lambda: self.runs[name].ended())
        self.runs[name] = StationRun(self.tasks[name], again=True)

    def ended(self, stations):
        found = {name: self.runs[name].ended() for name in stations}
        return {name: result for name, result in found.items() if result is not None}

    def stop(self, stations) -> None:
        for name in stations:
            self.runs[name].stop()


def test_a_station_that_is_lost_collects_what_is_left_of_its_share(tmp_path):
    file, engine = FleetFile(write(tmp_path, "a", "b")), Threads()
    job = collection_job(file.config, 40, None)
    lost = threading.Timer(0.1, lambda: engine.lose("a"))
    lost.start()
    summary = run_stations(engine, file, job, threading.Event())
    lost.join()
    wait_until(lambda: len(engine.ended(["a", "b"])) == 2)
    assert stored(tmp_path) == {"a": 20, "b": 20}
    assert summary.episodes <= 40
    events = StatusFolder(tmp_path / "store", "a").events()
    assert [e["kind"] for e in events if e["kind"] not in ("stuck", "back")] == ["crash"]


def test_a_lost_station_that_was_stopped_stays_so(tmp_path):
    file = FleetFile(write(tmp_path, "a"))
    job = collection_job(file.config, None, None)
    folder = StatusFolder(job.store, "a")
    folder.request("stop")
    run = StationRun(StationTask(file.config.stations[0].station, job, time.time()), again=True)
    wait_until(run.ended)
    assert folder.command() == "stop"
    assert stored(tmp_path) == {}


def test_four_losses_in_a_row_without_an_episode_break_a_station(tmp_path):
    file = FleetFile(write(tmp_path, "a"))
    job = collection_job(file.config, None, None)
    folder = StatusFolder(job.store, "a")
    begun = time.time()
    for _ in range(3):
        folder.note("crash", "its process was lost")
    run = StationRun(StationTask(file.config.stations[0].station, job, begun), again=True)
    wait_until(run.ended)
    assert run.ended().broken == ("a",)  # type: ignore[union-attr]
    assert folder.status().activity == "broken"


def test_without_ray_or_a_cluster_one_line_says_what_to_do(tmp_path):
    pytest.importorskip("ray")
    file = write(tmp_path, "a")
    file.write_text(file.read_text() + "engine: ray\naddress: 127.0.0.1:9\n")
    with pytest.raises(ConfigError, match=r"start one with `ray start --head`"):
        up(FleetFile(file), threading.Event(), episodes=1)
