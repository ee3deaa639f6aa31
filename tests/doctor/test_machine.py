"""The doctor knows whether there is a place to store things, and whether it is large enough."""

import shutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from soar.collection.collector import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import open_store
from soar.doctor.machine import (
    EpisodeSize,
    check_disk,
    check_rendering,
    check_store,
    check_webhook,
    episode_size,
)
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)


def test_a_machine_that_runs_these_tests_renders():
    assert check_rendering().health == "ok"


def test_rendering_that_fails_comes_with_what_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    finding = check_rendering()
    assert finding.health == "failed"
    assert "libegl1" in finding.advice


def test_a_store_is_looked_into_and_nothing_is_left_behind(tmp_path):
    assert check_store(tmp_path / "new" / "store").what.endswith("will be made")
    assert not (tmp_path / "new").exists()
    open_store(tmp_path / "store", create=True)
    before = sorted(p.name for p in (tmp_path / "store").iterdir())
    assert check_store(tmp_path / "store").what == "0 episodes, schema 1, writable"
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == before


def test_another_schema_and_another_folder_are_no_stores(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    assert check_store(tmp_path).health == "failed"
    open_store(tmp_path / "store", create=True)
    about = tmp_path / "store" / "store.json"
    about.write_text(
        about.read_text().replace('"schema":1', '"schema":9').replace('"schema": 1', '"schema": 9')
    )
    finding = check_store(tmp_path / "store")
    assert finding.health == "failed"
    assert "schema 9" in finding.what


def test_a_folder_that_takes_no_files_is_found(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert check_store(tmp_path / "store").health == "failed"


@pytest.mark.parametrize(
    ("episodes", "health"), [(None, "ok"), (10, "ok"), (90, "warning"), (101, "failed")]
)
def test_the_disk_is_compared_with_what_is_needed(tmp_path, monkeypatch, episodes, health):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert check_disk(tmp_path, EpisodeSize(1e6, "measured"), episodes).health == health
    assert check_disk(tmp_path / "not" / "there", None, episodes).health == "warning"


def test_an_episodes_size_is_measured_and_its_estimate_is_close(tmp_path):
    job = CollectionJob(tmp_path / "store", TOYS, CollectionConfig(), episodes=1)
    run_fleet([StationConfig("arm", "toy")], job)
    episode = next(iter(open_store(job.store).query()))
    images = list(open_store(job.store).images(episode.id, list(range(0, 101, 10))))
    measured = episode_size(job.store, images, EpisodeConfig())
    guessed = episode_size(tmp_path / "none", images, EpisodeConfig())
    assert measured is not None
    assert guessed is not None
    assert 0.7 < guessed.bytes / measured.bytes < 1.1
    assert episode_size(tmp_path / "none", [], EpisodeConfig()) is None


def test_a_webhook_gets_a_test_message():
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    assert check_webhook("arm", url).health == "ok"
    assert b'"kind": "test"' in taken[0]
    server.server_close()
    assert check_webhook("arm", url).health == "warning"
    assert check_webhook("arm", "nonsense").health == "warning"
