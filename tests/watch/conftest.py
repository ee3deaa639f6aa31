"""The session's finished run is shared; tests that change something get a copy of it."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.report.conftest import run as finished_run  # noqa: F401

from soar.collection.lease import held, station_lease
from soar.collection.status import StationStatus, StatusFolder
from soar.improvement.run import Run
from soar.watch.app import make_page
from soar.watch.place import Place, open_place

TOKEN = "a token of the tests"
HERE = "http://127.0.0.1:8700"


@pytest.fixture
def place(finished_run: Run, tmp_path: Path) -> Place:  # noqa: F811
    shutil.copytree(finished_run.folder, tmp_path / "toy")
    return open_place(tmp_path / "toy")


@pytest.fixture
def looker(place: Place) -> TestClient:
    """A page without the token."""
    return TestClient(make_page(place, TOKEN), base_url=HERE)


@pytest.fixture
def client(place: Place) -> TestClient:
    """A page with the token."""
    client = TestClient(make_page(place, TOKEN), base_url=HERE)
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


@pytest.fixture
def arm(place: Place) -> Iterator[StatusFolder]:
    """A station that collects in this process."""
    folder, now = StatusFolder(place.store, "arm 1"), time.time()
    folder.show(
        StationStatus("arm 1", "toy", "collecting", now, now, os.getpid(), "fold <b>it</b>")
    )
    with held(station_lease(place.store, "arm 1"), "the station", lambda: None):
        yield folder
