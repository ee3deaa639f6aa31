import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.collection.lease import InUse, held, robot_held
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig
from soar.utils.files import write_json


def nothing() -> None:
    """Do nothing."""


def test_a_lease_has_one_holder_and_is_free_afterwards(tmp_path):
    path = tmp_path / "lease.json"
    match = f"station 'one' is in use by process {os.getpid()} on"
    with held(path, "station 'one'", nothing):  # noqa: SIM117
        with pytest.raises(ConfigError, match=match), held(path, "station 'one'", nothing):
            pass
    with held(path, "station 'one'", nothing):
        pass
    assert not path.exists()


def test_a_killed_holder_on_this_machine_loses_its_lease_at_once(tmp_path):
    path = tmp_path / "lease.json"
    code = (
        "import sys, time; from pathlib import Path; from soar.collection.lease import held\n"
        "with held(Path(sys.argv[1]), 'x', lambda: None): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match=f"process {holder.pid}"), held(path, "x", nothing):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with held(path, "x", nothing):
        pass


def test_a_lease_outlives_the_absence_of_its_store(tmp_path):
    store, away = tmp_path / "store", tmp_path / "away"
    path, lost = store / "lease.json", threading.Event()
    with held(path, "x", lost.set, duration_s=0.6):
        store.rename(away)
        assert not lost.wait(0.5)
        assert not store.exists()
        away.rename(store)
        assert not lost.wait(0.5)
        path.unlink()  # as where another holder took it meanwhile, and has ended
        assert not lost.wait(0.5)
        assert path.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("expires_s", []), ("expires_s", None), ("pid", "x"), ("pid", -1), ("host", {}), ("token", 1)],
)
def test_a_damaged_lease_is_free(tmp_path, key, value):
    lease = {"token": "a", "host": "elsewhere", "pid": 1, "process": "1", "expires_s": 9e9}
    write_json(tmp_path / "lease.json", {**lease, key: value})
    with held(tmp_path / "lease.json", "x", nothing):
        pass


@pytest.mark.parametrize(("expires_s", "free"), [(0.0, True), (1e11, False)])
def test_a_lease_of_another_machine_is_free_when_it_has_expired(tmp_path, expires_s, free):
    path = tmp_path / "lease.json"
    lease = {"token": "a", "host": "elsewhere", "pid": 1, "process": "1", "expires_s": expires_s}
    write_json(path, lease)
    refused = contextlib.nullcontext() if free else pytest.raises(ConfigError, match="on elsewhere")
    with refused, held(path, "x", nothing):
        pass


def test_a_holder_renews_its_lease_and_notices_a_takeover(tmp_path):
    path, lost = tmp_path / "lease.json", threading.Event()
    with held(path, "x", lost.set, duration_s=0.12):
        first = json.loads(path.read_text())["expires_s"]
        while json.loads(path.read_text())["expires_s"] == first:
            pass
        other = {**json.loads(path.read_text()), "token": "other"}
        write_json(path, other)
        while not lost.wait(0.2):  # a renewal at the same moment replaces it
            write_json(path, other)
    assert path.exists()


def test_a_robot_has_one_lease_whatever_its_station_is_called():
    first, second, other = (
        StationConfig(name, "lab:arm", {"port": port}, ("push it",))
        for name, port in (("a", 1), ("b", 1), ("c", 2))
    )
    match = f"the robot of station 'b' is in use by process {os.getpid()}; end that one first"
    with robot_held(first), robot_held(other):  # noqa: SIM117
        with pytest.raises(InUse, match=match), robot_held(second):
            pass
    with robot_held(second):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_is_kept_from_a_robot(tmp_path):
    code = (
        "import os; os.setuid(65534); from soar.collection.lease import robot_held\n"
        "from soar.rollout.station_config import StationConfig\n"
        "with robot_held(StationConfig('a', 'lab:arm', {'port': 3}, ('push it',))):\n"
        "    print('held', flush=True); input()"
    )
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", f"import soar.rollout.station_config\n{code}"]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        config = StationConfig("a", "lab:arm", {"port": 3}, ("push it",))
        match = f"in use by process {other.pid} of user 65534"
        with pytest.raises(InUse, match=match), robot_held(config):
            pass
        other.kill()
        other.wait()
    with robot_held(config):
        pass


def test_a_station_that_collects_already_is_refused(tmp_path):
    toys = "python:soar.robots.toy_models:Toy"
    models = ModelsConfig(f"{toys}VLM", f"{toys}Subgoals", f"{toys}Policy")
    job = CollectionJob(Path(tmp_path), models, CollectionConfig(), 1)
    open_store(tmp_path, create=True)
    lease = tmp_path / "stations" / "one" / "lease.json"
    match = r"station 'one' of .* is in use by process"
    with held(lease, "x", nothing), pytest.raises(ConfigError, match=match):
        run_fleet([StationConfig("one", "toy")], job)
