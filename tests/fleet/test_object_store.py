"""A fleet of the embedded engine whose store is in object storage, which may be away for a while."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.test_run import MODELS, wait_until

from object_storage import Gate
from soar import checkpoint as checkpoints
from soar.cli import main
from soar.collection.config import CollectionSummary
from soar.collection.status import StatusFolder
from soar.data.store import index, steps
from soar.data.store.lance import open_store
from soar.errors import ConfigError, StoreError
from soar.exchange.hub.push import push_to_objects
from soar.fleet.run import FleetFile, up
from soar.registry import policy_spec
from soar.types import EpisodeSummary
from soar.utils.objects import ObjectPath, lance_options, local_part


class Lab:
    """A fleet file with a store at a URL, and its running command in a thread."""

    def __init__(self, folder: Path, url: str) -> None:
        self.file, self.url, self.store = folder / "fleet.yaml", url, local_part(url)
        self.results: list[CollectionSummary] = []
        self._thread = threading.Thread(target=self._up)
        self._episodes: int | None = None
        self.stop = threading.Event()

    def write(self, *names: str, station: str = "robot: toy", models: str = MODELS) -> None:
        rows = [f"  - station: {{name: {n}, {station}, seed: {i}}}\n" for i, n in enumerate(names)]
        self.file.write_text(f"store: {self.url}\nstations:\n{''.join(rows)}{models}")

    def start(self, episodes: int | None = None) -> None:
        self._episodes = episodes
        self._thread.start()

    def _up(self) -> None:
        self.results.append(up(FleetFile(self.file), self.stop, self._episodes))

    def end(self) -> CollectionSummary:
        """Wait for the command's end."""
        self._thread.join(120)
        [result] = self.results
        return result

    def close(self) -> None:
        self.stop.set()
        if self._thread.ident:
            self._thread.join(120)

    def activity(self, station: str) -> str:
        return self.folder(station).status().activity

    def folder(self, station: str) -> StatusFolder:
        return StatusFolder(self.store, station)

    def events(self, station: str) -> list[str]:
        return [e["kind"] for e in self.folder(station).events()]

    def episodes(self) -> list[EpisodeSummary]:
        return list(open_store(self.store, read_only=True).query())

    def goes_on(self, *stations: str, more: int = 2) -> None:
        """Wait until each station has begun some more episodes, thus stored all but the last one."""
        before = {s: self._count(s) for s in stations}
        wait_until(lambda: all(self._count(s) >= n + more for s, n in before.items()))

    def _count(self, station: str) -> int:
        try:
            return self.folder(station).status().episodes
        except ConfigError:
            return 0

    def assert_whole(self) -> None:
        """All episodes can be read, none is there twice, and none has a wrong label."""
        store, found = open_store(self.store), self.episodes()
        assert len({(e.provenance.station, e.provenance.started_s) for e in found}) == len(found)
        assert len({(e.provenance.station, e.provenance.seed) for e in found}) == len(found)
        for summary in found:
            episode = store.load(summary.id)
            assert len(episode) == summary.length
            assert (episode.verdict.outcome == "success") == episode.provenance.truth


@pytest.fixture
def lab(bucket: str, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, f"{bucket}/lab")
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lance tries once, where it would for seconds."""

    def options(path: Any) -> dict[str, str] | None:
        found = lance_options(path)
        return found and found | {"client_max_retries": "0", "client_retry_timeout": "1"}

    monkeypatch.setattr(index, "lance_options", options)
    monkeypatch.setattr(steps, "lance_options", options)


def soar(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    main([*map(str, words)])
    return " ".join(capsys.readouterr().out.split())


def test_the_commands_of_a_fleet_act_on_a_store_at_a_url(lab: Lab, capsys) -> None:
    lab.write("a", "b")
    lab.start()
    lab.goes_on("a", "b", more=1)
    assert soar(capsys, "pause", "--store", lab.url) == "a: pause b: pause"
    wait_until(lambda: lab.activity("a") == lab.activity("b") == "paused")
    text = soar(capsys, "fleet", "status", lab.file)
    assert all(word in text for word in ("runs as process", "paused", "move the green block"))
    assert soar(capsys, "fleet", "drain", lab.file) == "a: ended b: ended drained"
    found = lab.episodes()
    assert lab.end().episodes == len(found) == len({e.provenance.seed for e in found})
    name = found[0].provenance.config_hash
    assert lab.url in (ObjectPath(lab.url) / "configs" / f"{name}.yaml").read_bytes().decode()


@pytest.mark.slow
def test_while_the_storage_is_away_arms_wait_and_obey(lab: Lab, gate: Gate, impatient, capsys):
    lab.write("a", "b")
    lab.start()
    lab.goes_on("a")
    gate.shut()
    wait_until(lambda: lab.activity("a") == "waiting")
    assert lab.url in lab.folder("a").status().doing
    soar(capsys, "pause", "--store", lab.url, "--station", "b")
    text = soar(capsys, "status", "--store", lab.url)
    assert "waiting" in text
    assert "can't be" in text
    gate.state = "open"
    lab.goes_on("a")
    wait_until(lambda: lab.activity("b") == "paused")
    soar(capsys, "resume", "--store", lab.url)
    lab.goes_on("b")
    soar(capsys, "stop", "--store", lab.url)
    assert lab.end().episodes == len(lab.episodes())
    events = [kind for kind in lab.events("a") if kind != "stuck"]
    assert (events.count("store"), lab.end().dropped) == (1, 0)
    assert "back" in events[events.index("store") :]
    lab.assert_whole()


@pytest.mark.slow
@pytest.mark.parametrize("patience", ["impatient", "lab"])
def test_a_commit_whose_answer_is_lost_is_made_once(
    lab: Lab, gate: Gate, patience: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(patience)
    lab.write("a")
    lab.start()
    for lost in range(3):
        lab.goes_on("a")
        gate.state = "deaf"
        wait_until(lambda n=lost: gate.swallowed > n)
        gate.state = "open"
    lab.goes_on("a")
    lab.stop.set()
    assert lab.end().episodes == len(lab.episodes())
    lab.assert_whole()


@pytest.mark.slow
def test_a_killed_station_goes_on_after_the_storage_is_back(lab: Lab, gate: Gate) -> None:
    lab.write("a", "b", station="robot: toy, realtime: true")
    lab.start(episodes=24)
    lab.goes_on("a", "b")
    gate.shut()
    os.kill(lab.folder("a").status().pid, signal.SIGKILL)
    wait_until(lambda: "crash" in lab.events("a") or lab.activity("b") == "waiting")
    wait_until(lambda: lab.activity("b") == "waiting")
    gate.state = "open"
    result = lab.end()
    assert (result.episodes, result.broken) == (24, ())
    counts = Counter(e.provenance.station for e in lab.episodes())
    assert counts == {"a": 12, "b": 12}
    lab.assert_whole()


@pytest.mark.slow
def test_what_cannot_be_stored_at_a_stop_is_stored_by_the_next_command(lab, gate, impatient):
    lab.write("a", "b", station="robot: toy, realtime: true")
    threading.Thread(target=_stop_without_storage, args=(lab, gate)).start()
    with pytest.raises(StoreError, match=r"kept in .*, from where"):
        up(FleetFile(lab.file), lab.stop)
    gate.state = "open"
    before = len(lab.episodes())
    lab.stop.clear()
    lab.start(episodes=2)
    kept_and_new = lab.end().episodes
    assert kept_and_new == len(lab.episodes()) - before > 2
    lab.assert_whole()


def _stop_without_storage(lab: Lab, gate: Gate) -> None:
    lab.goes_on("a", "b")
    gate.shut()
    wait_until(lambda: lab.activity("a") == lab.activity("b") == "waiting")
    lab.stop.set()


@pytest.mark.slow
def test_what_a_run_at_a_url_promotes_is_taken_between_episodes(lab: Lab, tmp_path: Path) -> None:
    run = f"{lab.url}-run"
    record: dict[str, Any] = {"models": {"policy": "gcbc", "subgoals": "none"}, "rounds": []}
    (ObjectPath(run) / "run.json").write_bytes(json.dumps(record).encode())
    lab.write("a", "b", models=MODELS.replace("python:soar.robots.toy_models:ToyPolicy", run))
    lab.start()
    lab.goes_on("a", "b")
    first = checkpoints.load(policy_spec("gcbc").folder)
    weights = {name: value * 1.01 for name, value in first.weights.items()}
    new = checkpoints.save(tmp_path / "new", replace(first, weights=weights))
    push_to_objects(tmp_path / "new", f"{run}/train/round-1")
    record["rounds"] = [{"index": 1, "promoted": True}]
    (ObjectPath(run) / "run.json").write_bytes(json.dumps(record).encode())
    wait_until(lambda: {e.provenance.checkpoint for e in lab.episodes()} == {first.id, new})
    lab.stop.set()
    lab.end()
    for station in ("a", "b"):
        ids = [e.provenance.checkpoint for e in lab.episodes() if e.provenance.station == station]
        assert ids == sorted(ids, key=[first.id, new].index)
        assert {*ids} == {first.id, new}
