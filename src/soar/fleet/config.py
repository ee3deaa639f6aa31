"""The fleet file: which stations there are, where they run, with which models, into which store.

    store: /data/kitchen               # on a mount that all machines have
    engine: ray                        # without it: processes of this machine
    tasks:                             # of the stations that name none
      - put the green block in the wooden bowl
    stations:
      - {station: arm1.yaml, where: lab1}
      - {station: {name: arm2, robot: lab.widowx:connect}, where: lab2}
    models: {vlm: compact, policy: runs/first}
    replicas: {policy: {where: gpus, resources: {GPU: 0.5}}}

A station is a station file (`soar.rollout.station_config`), or the contents of one and a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Gt

from soar.collection.config import CollectionConfig
from soar.errors import ConfigError
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, episode_config
from soar.utils.config import check_ranges, from_plain, to_plain
from soar.utils.files import Json, local_path
from soar.utils.notices import Channel
from soar.utils.yaml_files import read_plain

Engine: TypeAlias = Literal["embedded", "ray"]
Role: TypeAlias = Literal["vlm", "subgoals", "policy"]
ROLES: tuple[Role, ...] = ("vlm", "subgoals", "policy")
"""Models that can have replicas."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a part of a fleet runs."""

    where: str = ""
    """Name of a machine or group of machines: a custom resource that they declare to Ray; empty for any."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What it occupies there: CPU, GPU and Ray's custom resources."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if wrong := [k for k, v in self.resources.items() if v < 0 or not k]:
            raise ConfigError(f"resources: {wrong[0]!r} is negative; valid: amounts from 0")

    def ray_options(self) -> dict[str, Any]:
        """Return the options of a Ray actor that runs here; it occupies no CPU unless `resources` says so."""
        custom = dict(self.resources)
        cpus, gpus = custom.pop("CPU", 0.0), custom.pop("GPU", 0.0)
        if self.where:
            custom.setdefault(self.where, 0.001)
        return {"num_cpus": cpus, "num_gpus": gpus, "resources": custom}


@dataclass(frozen=True, kw_only=True)
class Replicas(Placement):
    """Replicas of one model, which all stations share."""

    count: Annotated[int, Ge(0)] = 1
    """Number of replicas; 0 loads the model in each station's process."""
    largest_batch: Annotated[int, Ge(1)] = 64
    """Most requests that a replica answers at once."""
    timeout_s: Annotated[float, Gt(0)] = 60.0
    """Time limit of a call in seconds, after which the model counts as unavailable."""


@dataclass(frozen=True)
class ReplicasConfig:
    """Replicas of each model, on Ray. Endpoints need none: each station calls them itself."""

    vlm: Replicas = field(default_factory=Replicas)
    subgoals: Replicas = field(default_factory=Replicas)
    policy: Replicas = field(default_factory=lambda: Replicas(timeout_s=10.0))

    def of(self, role: Role) -> Replicas:
        """Return the replicas of one model."""
        found: Replicas = getattr(self, role)
        return found


@dataclass(frozen=True, kw_only=True)
class Training(Placement):
    """Processes that train together, by `soar fleet launch`."""

    count: Annotated[int, Ge(1)] = 1
    """Number of processes, each with the resources, or with one of Ray's CPUs if none are given."""
    retries: Annotated[int, Ge(0)] = 3
    """Times that Ray starts all of them again after it lost one; training goes on from its last saved state."""


@dataclass(frozen=True, kw_only=True)
class FleetStation(Placement):
    """A station and where it runs."""

    station: StationConfig


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """Contents of a fleet file."""

    store: Path
    """Folder of the episode store, the same on all machines."""
    stations: tuple[FleetStation, ...]
    """The stations; one that is added while the fleet runs is started."""
    engine: Engine = "embedded"
    """"embedded": processes of this machine; "ray": actors on the machines of a Ray cluster."""
    address: str = "auto"
    """Address of the Ray cluster, HOST:PORT; "auto" is the one of this machine, or RAY_ADDRESS."""
    models: ModelsConfig = field(default_factory=ModelsConfig)
    """The models, or the name of a models file."""
    replicas: ReplicasConfig = field(default_factory=ReplicasConfig)
    """The models' replicas on Ray."""
    training: Training = field(default_factory=Training)
    """The processes of `soar fleet launch`."""
    tasks: tuple[str, ...] = ()
    """Instructions for the stations that name none."""
    notices: tuple[Channel, ...] = ()
    """Ways to tell a person, for the stations that name none."""
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    """Configuration of the collection."""

    def __post_init__(self) -> None:
        names = [s.station.name for s in self.stations]
        if not names:
            raise ConfigError("stations is empty; valid: at least one station")
        if twice := [n for n in names if names.count(n) > 1]:
            raise ConfigError(f"two stations are named '{twice[0]}'; give each a `name` of its own")

    @classmethod
    def read(cls, path: str | Path) -> FleetConfig:
        """Read a fleet file; the files that it names are relative to it. Raises ConfigError."""
        path = local_path(str(path)).absolute()
        where = f"fleet file {path}"
        data = read_plain(path)
        if not isinstance(data, dict):
            raise ConfigError(f"{where}: {data!r:.80} is not valid; valid: keys with values")
        if isinstance(data.get("models"), str):
            data["models"] = read_plain(path.parent / data["models"])
        if isinstance(data.get("stations"), list):
            data["stations"] = [_entry(e, data, path) for e in data["stations"]]
        collection = data.pop("collection", {})
        made = from_plain(cls, data, where)
        base = CollectionConfig(
            episode_config([s.station for s in made.stations], made.models.subgoals)
        )
        config = from_plain(CollectionConfig, collection, f"{where}: collection", base)
        return replace(made, store=path.parent / made.store, collection=config)

    def at(self, where: str) -> FleetConfig:
        """Return the part of the fleet at one place. Raises ConfigError: there is no station."""
        here = tuple(s for s in self.stations if s.where == where)
        if not here:
            places = (
                ", ".join(sorted({s.where for s in self.stations if s.where})) or "none is named"
            )
            raise ConfigError(f"no station is at '{where}'; valid: {places}")
        return replace(self, stations=here)


def _entry(entry: Json, fleet: Mapping[str, Json], path: Path) -> Json:
    """Return an entry of the fleet file with the whole station in it. Raises ConfigError."""
    if isinstance(entry, str):
        entry = {"station": entry}
    if not isinstance(entry, dict) or "station" not in entry:
        return entry  # which is refused with the valid keys
    station, file = entry["station"], path
    if isinstance(station, str):
        file = path.parent / station
        station = read_plain(file)
        if isinstance(station, dict):
            station = {"name": file.stem, **station}
    if isinstance(station, dict):
        common = {key: fleet[key] for key in ("tasks", "notices") if fleet.get(key)}
        station = {**common, **station}
    where = f"fleet file {path}: station" if file == path else f"station file {file}"
    return {**entry, "station": to_plain(StationConfig.from_data(station, where, file))}
