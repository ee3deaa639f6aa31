"""The Ray engine: stations and models as actors of a cluster, which places them, and starts them again after a loss.

All actors are detached and found by name, so that they outlive the process that made them: another `soar fleet up`
takes over those that are there. What is known of a fleet is in its store and in Ray, nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from soar.collection.config import CollectionSummary
from soar.errors import ConfigError, ModelUnavailable, SoarError
from soar.fleet.config import ROLES, FleetConfig, FleetStation, Placement, Replicas, Role
from soar.fleet.model_server import ModelFacts, ModelServer
from soar.fleet.served_models import Replicated, ServedModels
from soar.fleet.station_run import StationRun, StationTask
from soar.registry import ENDPOINTS, SERVED
from soar.rollout.models import ModelsConfig
from soar.utils.objects import local_part, object_of
from soar.utils.terminal import log_to_terminal

log = logging.getLogger(__name__)

_CALL_S = 10.0
"""Time limit of a call that no model answers, in seconds."""
_LOAD_S = 600.0
"""Time limit of placing a replica and loading its model, in seconds."""


class StationActor:
    """A station in an actor. Ray starts it again after a loss, with the same arguments."""

    def __init__(self, task: StationTask) -> None:
        import ray

        log_to_terminal()
        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._run = StationRun(_here(task), again=again)

    def report(self) -> str:
        """Return its machine."""
        return f"on {socket.gethostname()}"

    def stop(self) -> None:
        """End after the running episode."""
        self._run.stop()

    def ended(self) -> CollectionSummary | None:
        """Return the result; None while it runs."""
        return self._run.ended()


class RayReplicas:
    """One station's access to the replicas of a model: it asks one, and after a failure the next."""

    def __init__(
        self, namespace: str, role: Role, count: int, timeout_s: float, station: str
    ) -> None:
        self._namespace, self._role = namespace, role
        self._count, self._timeout_s = count, timeout_s
        self._number = crc32(station.encode()) % count
        """Number of the replica that it asks."""

    def facts(self, name: str) -> ModelFacts:
        """See `Replicated.facts`."""
        found: ModelFacts = self._call("facts", _LOAD_S, name)
        return found

    def answer(self, name: str, requests: Sequence[Any]) -> list[Any]:
        """See `Replicated.answer`."""
        found: list[Any] = self._call("answer", self._timeout_s, name, list(requests))
        return found

    def _call(self, method: str, timeout_s: float, *args: Any) -> Any:
        import ray

        reply, name = None, f"{self._role}-{self._number}"
        try:
            reply = getattr(_actor(name, self._namespace), method).remote(*args)
            value = ray.get(reply, timeout=timeout_s)
        except (ray.exceptions.RayError, LookupError) as error:
            self._number = (self._number + 1) % self._count
            if reply is not None:
                ray.cancel(reply)
            raise ModelUnavailable(
                f"replica {name} doesn't answer ({type(error).__name__})"
            ) from error
        if isinstance(value, SoarError):
            raise value
        return value


class Cluster:
    """A fleet's actors in a Ray cluster."""

    def __init__(self, config: FleetConfig, identity: str) -> None:
        """Connect.

        Args:
            config: the fleet.
            identity: that of its store, after which the actors' namespace is named.

        Raises:
            ConfigError: Ray isn't installed, or there is no cluster.
        """
        self.config, self.namespace = config, f"soar-{identity}"
        self._ray = connect(config.address, self.namespace)

    def start_replicas(self) -> None:
        """Start the replicas that aren't there, and let them load their models.

        Raises:
            SoarError: a model can't be loaded, or no machine has the resources.
        """
        names = _model_names(self.config.models)
        waiting = []
        for role, replicas in self._served().items():
            for number in range(replicas.count):
                name = f"{role}-{number}"
                actor = self._start(name, ModelServer, replicas, role, replicas.largest_batch)
                waiting.append((name, actor.facts.remote(names[role])))
        for name, reply in waiting:
            try:
                facts = self._ray.get(reply, timeout=_LOAD_S)
            except self._ray.exceptions.RayError as error:
                raise ConfigError(
                    f"replica {name} doesn't start ({type(error).__name__}); `ray status` shows which "
                    "resources are missing"
                ) from None
            if isinstance(facts, SoarError):
                raise facts

    def _served(self) -> dict[Role, Replicas]:
        """Return the settings of the models that have replicas, by role."""
        names, found = _model_names(self.config.models), {}
        for role in ROLES:
            replicas, kind = self.config.replicas.of(role), names[role].partition(":")[0]
            if replicas.count and kind not in ("none", *ENDPOINTS, *SERVED):
                found[role] = replicas
        return found

    def _replicated(self, station: str) -> dict[Role, Replicated]:
        """Return a station's way to the replicas."""
        return {
            role: RayReplicas(self.namespace, role, r.count, r.timeout_s, station)
            for role, r in self._served().items()
        }

    def start_station(self, station: FleetStation, task: StationTask) -> None:
        """Start a station's actor, unless it runs already. Its models are those of `start_replicas`."""
        name = task.station.name
        if self.ended([name]):
            self._kill(_actor_name(name))
        models = ServedModels.of(task.job.models, self._replicated(name))
        task = replace(task, job=replace(task.job, models=models))
        if station.where and station.where not in self._ray.cluster_resources():
            log.warning("%s waits for a machine that declares '%s' to Ray", name, station.where)
        self._start(_actor_name(name), StationActor, station, task)

    def ended(self, stations: Collection[str]) -> dict[str, CollectionSummary]:
        """Return the results of stations that ended, or whose actors are gone, as after `soar fleet down`."""
        actors, gone = self._names(), CollectionSummary(0, 0, 0)
        found = self._ask("ended", map(_actor_name, stations))
        named = {s: found.get(a) if (a := _actor_name(s)) in actors else gone for s in stations}
        return {station: result for station, result in named.items() if result is not None}

    def working(self, stations: Sequence[str]) -> list[str]:
        """Return the stations that have an actor, and haven't ended."""
        actors, ended = self._names(), self.ended(stations)
        return [s for s in stations if _actor_name(s) in actors and s not in ended]

    def stop(self, stations: Collection[str]) -> None:
        """End stations after their running episode."""
        self._ask("stop", map(_actor_name, stations))

    def reports(self) -> dict[str, str]:
        """Return what each of the fleet's actors says of itself, by name; empty where one doesn't answer."""
        said = self._ask("report", self._names())
        return {name: said.get(name, "") for name in self._names()}

    def down(self) -> list[str]:
        """End all of the fleet's actors at once; return their names."""
        names = self._names()
        for name in names:
            self._kill(name)
        return names

    def _names(self) -> list[str]:
        """Return the names of the fleet's actors."""
        found = self._ray.util.list_named_actors(all_namespaces=True)
        return sorted(a["name"] for a in found if a["namespace"] == self.namespace)

    def _ask(self, method: str, names: Iterable[str]) -> dict[str, Any]:
        """Call a method of several actors at once; return the replies of those that answer."""
        asked: dict[Any, str] = {}
        for name in names:
            with contextlib.suppress(LookupError):
                asked[getattr(_actor(name, self.namespace), method).remote()] = name
        if not asked:
            return {}
        replies, late = self._ray.wait(list(asked), num_returns=len(asked), timeout=_CALL_S)
        for reply in late:
            self._ray.cancel(reply)
        found = {}
        for reply in replies:
            with contextlib.suppress(self._ray.exceptions.RayError):  # it is being started again
                found[asked[reply]] = self._ray.get(reply)
        return found

    def _start(self, name: str, kind: type, place: Placement, *args: object) -> Any:
        """Return the actor of a name, started now if there is none."""
        return (
            self._ray.remote(kind)
            .options(
                name=name,
                namespace=self.namespace,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                **place.ray_options(),
            )
            .remote(*args)
        )

    def _kill(self, name: str) -> None:
        """End an actor, and wait until its name is free."""
        until = time.monotonic() + _CALL_S
        with contextlib.suppress(LookupError):
            self._ray.kill(_actor(name, self.namespace))
            while time.monotonic() < until:
                _actor(name, self.namespace)
                time.sleep(0.05)


def connect(address: str, namespace: str, *, show_logs: bool = False) -> Any:
    """Connect this process to a cluster, unless it already is, and return the package `ray`.

    Args:
        address: HOST:PORT, or "auto".
        namespace: that of the actors.
        show_logs: whether to show what the cluster's processes print for this one.

    Raises:
        ConfigError: Ray isn't installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("the engine ray needs Ray: pip install 'soar-robot[ray]'") from None
    if ray.is_initialized():
        return ray
    try:
        _check_reachable(address)
        ray.init(address, namespace=namespace, log_to_driver=show_logs, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0][:200]
        raise ConfigError(
            f"no Ray cluster at '{address}' ({why}); start one with `ray start --head`, and on each other "
            "machine `ray start --address HOST:6379 --resources '{\"lab1\": 1}'`"
        ) from None
    return ray


def _check_reachable(address: str) -> None:
    """Try an address HOST:PORT, at which Ray itself would wait for minutes. Raises OSError."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CALL_S).close()


def _actor(name: str, namespace: str) -> Any:
    """Return an actor. Raises LookupError: there is none of this name, or it is just ending."""
    import ray

    try:
        return ray.get_actor(name, namespace)
    except (ValueError, AssertionError) as error:  # asserted: its class went with the last actor
        raise LookupError(name) from error


def _here(task: StationTask) -> StationTask:
    """Return a task whose store, if it is in object storage, has its folder on this machine."""
    url = object_of(task.job.store)
    return replace(task, job=replace(task.job, store=local_part(str(url)))) if url else task


def _actor_name(station: str) -> str:
    return f"station {station}"


def _model_names(models: ModelsConfig) -> dict[Role, str]:
    """Return the name of each model, as stations ask for it first."""
    now = models.with_promoted()
    return {"vlm": now.vlm_name, "subgoals": now.subgoals, "policy": now.policy}
