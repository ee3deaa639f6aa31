"""Checks of the machine."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import SCHEMA, open_store
from soar.doctor.machine import (
    EpisodeSize,
    check_disk,
    check_notices,
    check_rendering,
    check_store,
    episode_size,
)
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.utils.notices import Slack, Webhook

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)


def test_rendering_works_on_this_machine():
    assert check_rendering().health == "ok"


def test_failed_rendering_comes_with_the_package_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    result = check_rendering()
    assert result.health == "failed"
    assert "libegl1" in result.advice


def test_checking_a_store_leaves_it_unchanged(tmp_path):
    assert check_store(tmp_path / "new" / "store").what.endswith("will be created")
    assert not (tmp_path / "new").exists()
    open_store(tmp_path / "store", create=True)
    before = sorted(p.name for p in (tmp_path / "store").iterdir())
    assert check_store(tmp_path / "store").what == f"0 episodes, schema {SCHEMA}, writable"
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == before


def test_a_store_of_another_schema_and_another_folder_fail(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    assert check_store(tmp_path).health == "failed"
    open_store(tmp_path / "store", create=True)
    about = tmp_path / "store" / "store.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"schema": 9}))
    result = check_store(tmp_path / "store")
    assert result.health == "failed"
    assert "schema 9" in result.what


def test_a_read_only_folder_fails(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert check_store(tmp_path / "store").health == "failed"


@pytest.mark.parametrize(
    ("episodes", "health"), [(None, "ok"), (10, "ok"), (90, "warning"), (101, "failed")]
)
def test_free_space_is_compared_with_the_need(tmp_path, monkeypatch, episodes, health):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert check_disk(tmp_path, EpisodeSize(1e6, "measured"), episodes).health == health
    assert check_disk(tmp_path / "not" / "there", None, episodes).health == "warning"


def test_the_estimated_size_of_an_episode_is_close_to_the_measured_one(tmp_path):
    job = CollectionJob(tmp_path / "store", TOYS, CollectionConfig(), episodes=1)
    run_fleet([StationConfig("arm", "toy")], job)
    episode = next(iter(open_store(job.store).query()))
    images = list(open_store(job.store).images(episode.id, list(range(0, 101, 10))))
    measured = episode_size(job.store, images, EpisodeConfig())
    estimated = episode_size(tmp_path / "none", images, EpisodeConfig())
    assert measured is not None
    assert estimated is not None
    assert 0.7 < estimated.bytes / measured.bytes < 1.1
    assert episode_size(tmp_path / "none", [], EpisodeConfig()) is None


def test_a_webhook_gets_a_test_message():
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    assert check_notices("arm", Webhook(url)).health == "ok"
    [message] = received
    assert json.loads(message).items() >= {"station": "arm", "kind": "test"}.items()
    server.server_close()
    assert check_notices("arm", Webhook(url)).health == "warning"
    assert check_notices("arm", Slack("$SOAR_NO_SUCH")).health == "warning"
