"""A fleet on a Ray cluster of three nodes on this machine, with what may go wrong.

The tests follow one fleet, one after another, as starting Ray takes long: `make test-ray`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest

from soar.cli import main
from soar.collection.sharing import fetch_stations
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.errors import ConfigError, StoreError
from soar.types import EpisodeSummary
from soar.utils.objects import local_part
from two_processes import assert_same_training, fill, training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SOAR_RAY" not in os.environ, reason="takes minutes: make test-ray"),
]

PATIENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_worker_register_timeout_seconds": "400",
    "RAY_agent_register_timeout_ms": "400000",
    "RAY_raylet_start_wait_time_s": "400",
    "RAY_num_prestart_python_workers": "0",
}
"""Settings of Ray for a busy machine, where a process may take a minute to start."""


class Machines:
    """Nodes of a cluster: a head, which has the models, and labs that can leave and come back."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self.nodes: dict[str, Any] = {}
        self._start(num_cpus=2, resources={"gpus": 1}, include_dashboard=False)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, lab: str) -> None:
        self.nodes[lab] = self._start(num_cpus=1, resources={lab: 1})

    def remove(self, lab: str) -> None:
        self.cluster.remove_node(self.nodes.pop(lab))

    def _start(self, **node: Any) -> Any:
        return self.cluster.add_node(object_store_memory=100_000_000, **_ports(), **node)


def _ports() -> dict[str, int]:
    """Ports of a node's own processes."""
    with contextlib.ExitStack() as stack:
        names = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")
        taken = [stack.enter_context(socket.create_server(("", 0))) for _ in names]
        return {f"{n}_port": s.getsockname()[1] for n, s in zip(names, taken, strict=True)}


def _start_raylet(start: Callable[..., None]) -> Callable[..., None]:
    """Return a node's start that notes its agent's port, for which Ray waits 15 s, at times too short here."""
    persist_port = import_module("ray._raylet").persist_port

    def started(node: Any, *args: Any) -> None:
        name = "dashboard_agent_listen_port"
        persist_port(node._session_dir, node._node_id, name, getattr(node._ray_params, name))
        start(node, *args)

    return started


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    pytest.importorskip("ray", reason="needs the extra: pip install 'soar-robot[ray]'")
    patch = pytest.MonkeyPatch()
    for name, value in PATIENT.items():
        patch.setenv(name, value)
    import ray
    from ray._private.node import Node

    patch.setattr(Node, "start_raylet", _start_raylet(Node.start_raylet))
    made = Machines()
    yield made
    ray.shutdown()
    made.cluster.shutdown()
    patch.undo()


def soar(*words: str | Path, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command."""
    command = [sys.executable, "-m", "soar", *map(str, words)]
    return subprocess.Popen(command, text=True, stdout=stdout, stderr=subprocess.STDOUT)


def wait_until(what: Callable[[], object], limit_s: float = 300) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "took too long"
        time.sleep(0.2)


def episodes(store: Path, station: str | None = None) -> list[EpisodeSummary]:
    """Episodes of a store so far, oldest first; none while it can't be read."""
    try:
        found = list(open_store(store, read_only=True).query())
    except StoreError:
        return []
    return [s for s in found if station in (None, s.provenance.station)]


def assert_whole(store: Path) -> None:
    """All episodes of a store can be read, none is there twice, and none has a wrong label."""
    opened, found = open_store(store), episodes(store)
    seeds = [(s.provenance.station, s.provenance.started_s) for s in found]
    assert len(set(seeds)) == len(found)
    for summary in found:
        episode = opened.load(summary.id)
        assert len(episode) == summary.length
        outcome = episode.verdict.outcome
        assert outcome == "unknown" or (outcome == "success") == episode.provenance.truth
    assert found


STATIONS = {"arm1": "lab1", "arm2": "lab2"}


class Fleet:
    """A fleet file and its running command."""

    def __init__(self, folder: Path, machines: Machines, url: str = "") -> None:
        self.file, self.url, self.machines = folder / "fleet.yaml", url, machines
        self.store = local_part(url) if url else folder / "store"
        self.up: Any = None
        self.log = folder / "up.log"
        self.write(STATIONS)

    def write(self, stations: dict[str, str]) -> None:
        rows = "\n".join(
            f"  - {{station: {{name: {name}, robot: toy, seed: {i}}}, where: {where}}}"
            for i, (name, where) in enumerate(stations.items())
        )
        self.file.write_text(
            f"""
store: {self.url or "store"}
engine: ray
address: {self.machines.address}
stations:
{rows}
models:
  vlm: python:soar.robots.toy_models:ToyVLM
  subgoals: python:soar.robots.toy_models:ToySubgoals
  policy: python:soar.robots.toy_models:ToyPolicy
replicas:
  vlm: {{where: gpus}}
  subgoals: {{where: gpus}}
  policy: {{where: gpus, timeout_s: 20}}
collection:
  episode: {{num_subgoals: 2, steps_per_subgoal: 12}}
  backoff: {{initial_s: 0.2, max_s: 2}}
"""
        )

    def start(self) -> None:
        with self.log.open("a") as log:
            self.up = soar("fleet", "up", self.file, stdout=log)

    def run(self, *words: str) -> str:
        process = soar("fleet", *words, self.file)
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0, text
        return text

    def folder(self, station: str) -> StatusFolder:
        fetch_stations(self.store)
        return StatusFolder(self.store, station)

    def pid(self, station: str) -> int:
        return self.folder(station).status().pid

    def activity(self, station: str) -> str:
        try:
            return self.folder(station).status().activity
        except ConfigError:
            return ""

    def events(self, station: str) -> list[str]:
        return [e["kind"] for e in self.folder(station).events()]

    def goes_on(self, *stations: str, more: int = 2) -> None:
        """Wait until each station has stored some more episodes."""
        before = {s: len(episodes(self.store, s)) for s in stations}
        wait_until(lambda: all(len(episodes(self.store, s)) >= n + more for s, n in before.items()))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, machines: Machines):
    for lab in STATIONS.values():
        machines.add(lab)
    made = Fleet(tmp_path_factory.mktemp("fleet"), machines)
    made.start()
    yield made
    if made.up.poll() is None:
        made.up.kill()
    made.up.wait()


def test_stations_collect_on_their_machines_with_the_models_of_another(fleet):
    fleet.goes_on("arm1", "arm2")
    text = fleet.run("status")
    assert "policy-0: on " in text
    assert "toy-policy" in text
    assert fleet.pid("arm1") != fleet.pid("arm2")


def test_a_killed_station_starts_again(fleet):
    os.kill(fleet.pid("arm1"), signal.SIGKILL)
    fleet.goes_on("arm1", "arm2")
    assert "crash" in fleet.events("arm1")
    assert_whole(fleet.store)


def test_the_models_may_be_gone_for_a_while(fleet):
    import ray

    if not ray.is_initialized():
        ray.init(fleet.machines.address, log_to_driver=False, logging_level="ERROR")
    [space] = {a["namespace"] for a in ray.util.list_named_actors(all_namespaces=True)}
    for role in ("vlm", "subgoals", "policy"):
        ray.kill(ray.get_actor(f"{role}-0", space), no_restart=False)
    fleet.goes_on("arm1", "arm2")
    assert "broken" not in fleet.events("arm1") + fleet.events("arm2")
    assert_whole(fleet.store)


def test_a_machine_leaves_and_comes_back(fleet):
    fleet.machines.remove("lab2")
    fleet.goes_on("arm1")
    before = len(episodes(fleet.store, "arm2"))
    time.sleep(2)
    assert len(episodes(fleet.store, "arm2")) == before
    fleet.machines.add("lab2")
    fleet.goes_on("arm2")
    assert_whole(fleet.store)


def test_the_command_is_killed_and_started_again(fleet):
    pids = [fleet.pid(name) for name in STATIONS]
    fleet.up.kill()
    fleet.up.wait()
    fleet.goes_on("arm1", "arm2")
    fleet.start()
    wait_until(lambda: fleet.log.read_text().count("arm2: started") == 2)
    fleet.goes_on("arm1", "arm2")
    assert [fleet.pid(name) for name in STATIONS] == pids


def test_while_the_store_is_away_the_arms_wait(fleet):
    names = list(STATIONS)
    away = fleet.store.with_name("away")
    fleet.store.rename(away)
    time.sleep(10)
    wait_until(lambda: _comes_back(fleet.store, away))
    fleet.goes_on(*names)
    assert_whole(fleet.store)


def _comes_back(store: Path, away: Path) -> bool:
    """Put a store back in its place, without the status files that were written there meanwhile."""
    shutil.rmtree(store, ignore_errors=True)
    try:
        away.rename(store)
    except OSError:
        return False  # another one was written just now
    return True


def test_a_station_is_added_while_the_fleet_runs(fleet):
    fleet.machines.add("lab3")
    fleet.write({**STATIONS, "arm3": "lab3"})
    fleet.goes_on("arm3")


def test_one_station_is_paused_and_the_fleet_drained(fleet):
    folder = StatusFolder(fleet.store, "arm1")
    folder.request("pause")
    wait_until(lambda: fleet.activity("arm1") == "paused")
    text = fleet.run("drain")
    assert "drained" in text
    assert fleet.up.wait(timeout=120) == 0
    assert "episodes stored" in fleet.log.read_text()
    assert {fleet.activity(name) for name in STATIONS} == {"stopped"}
    assert_whole(fleet.store)
    assert "nothing of this fleet is running" in soar("fleet", "down", fleet.file).communicate()[0]


def test_two_processes_of_ray_train_have_the_losses_of_one(tmp_path, machines):
    machines.add("trainer")
    fill(tmp_path / "store")
    main(training(tmp_path / "store", tmp_path / "one"))
    file = tmp_path / "fleet.yaml"
    file.write_text(
        f"{{store: fleet, engine: ray, address: '{machines.address}', "
        "training: {count: 2, where: trainer, resources: {CPU: 0.5}}, "
        "stations: [{station: {name: arm, robot: toy}}]}"
    )
    words = ("fleet", "launch", file, "--", *training(tmp_path / "store", tmp_path / "two"))
    text, _ = soar(*words).communicate(timeout=600)
    assert len(set(re.findall(r"pid=(\d+)\)\S* checkpoint", text))) == 1  # Ray shows it twice
    assert_same_training(tmp_path / "one", tmp_path / "two")
