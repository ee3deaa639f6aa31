"""A fleet on Ray with its store in object storage, steered from a machine that shares no folder: `make test-ray`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import test_ray
from tests.fleet.test_ray import STATIONS, Fleet, Machines, assert_whole, soar, wait_until

from object_storage import Gate, new_bucket, s3_environment
from soar.utils import objects

pytestmark = test_ray.pytestmark
machines = test_ray.machines


@pytest.fixture(scope="module")
def gate(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The way to an S3 in the environment of all processes, and the folder of local files of the fleet's machines."""
    made = Gate(s3)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment(made.address).items():
            patch.setenv(name, value)
        patch.setenv("SOAR_CACHE", str(tmp_path_factory.mktemp("machines")))
        objects._opened.cache_clear()
        yield made
    made.close()


@pytest.fixture
def fleet(gate: Gate, machines: Machines, tmp_path: Path, monkeypatch) -> Iterator[Fleet]:
    for lab in STATIONS.values():
        machines.add(lab)
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "here"))
    made = Fleet(tmp_path, machines, f"{new_bucket(gate.address)}/lab")
    made.start()
    yield made
    if made.up.poll() is None:
        made.up.kill()
    made.up.wait()


def test_a_fleet_on_ray_with_a_store_in_object_storage(fleet: Fleet, gate: Gate, tmp_path) -> None:
    fleet.goes_on("arm1", "arm2")
    assert not list((tmp_path / "here").rglob(".shared"))  # its stations are elsewhere
    text = fleet.run("status")
    assert "policy-0: on " in text
    assert "collecting" in text
    for command, activity in (("pause", "paused"), ("resume", "collecting")):
        soar(command, "--store", fleet.url, "--station", "arm1").communicate(timeout=300)
        wait_until(lambda wanted=activity: fleet.activity("arm1") == wanted)  # type: ignore[misc]
    os.kill(fleet.pid("arm1"), signal.SIGKILL)
    fleet.goes_on("arm1", "arm2")
    assert "crash" in fleet.events("arm1")
    gate.shut()
    time.sleep(15)
    gate.state = "open"
    fleet.goes_on("arm1", "arm2")
    assert_whole(fleet.store)
    assert "drained" in fleet.run("drain")
    assert fleet.up.wait(timeout=120) == 0
    assert {fleet.activity(name) for name in STATIONS} == {"stopped"}
    assert_whole(fleet.store)
