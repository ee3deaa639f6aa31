"""`soar collect`: autonomous collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt

from soar.cli.options import FLAT, OUT, PRESET, changed, default_of, save_in_store
from soar.collection.config import CollectionConfig, CollectionSummary
from soar.errors import ConfigError, SoarError
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, episode_config, sim_stations
from soar.utils.config import check_ranges, load
from soar.utils.files import public_name


@dataclass(frozen=True)
class StationOptions:
    """Stations that collect: from files, or simulated ones in one scene."""

    station: tuple[StationConfig, ...] = ()
    """Station files (see docs/operations.md); without them, simulated stations in `scene`."""
    scene: str = "1"
    """1 to 10, dev1 to dev12, or a YAML file."""
    stations: Annotated[int, Ge(1)] = 1
    """Number of simulated stations."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the first simulated station; the others count up."""
    questions: str = ""
    """Question file for tasks of a simulated scene that the grammar doesn't know."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.station and (given := changed(self, "station")):
            raise ConfigError(
                f"--{given[0]} is for simulated stations; with --station, the station's file says it"
            )

    @property
    def configs(self) -> list[StationConfig]:
        """The stations' configurations."""
        return list(self.station) or sim_stations(
            self.scene, self.stations, self.seed, self.questions
        )


def models_default(given: Mapping[str, Any]) -> dict[str, Any]:
    """The models in the file that `--models` names; without one, the packaged models."""
    return {"use": load(ModelsConfig, given["models"]) if given["models"] else ModelsConfig()}


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    steps = given["steps_per_subgoal"]
    episode = episode_config(given["stations"].configs, given["use"].subgoals, steps)
    return {**models_default(given), "collection": CollectionConfig(episode)}


@default_of(_defaults)
def collect(
    store: Annotated[Path, OUT],
    stations: Annotated[StationOptions, FLAT],
    use: Annotated[ModelsConfig, FLAT],
    collection: Annotated[CollectionConfig, FLAT],
    models: Annotated[Path | None, PRESET] = None,
    steps_per_subgoal: Annotated[int | None, PRESET] = None,
    episodes: Annotated[int, Ge(1)] | None = None,
    hours: Annotated[float, Gt(0)] | None = None,
    dry_run: bool = False,
) -> None:
    """Let robots propose their own tasks, try them, and judge themselves, for as long as you like.

    Everything goes into the store, and a restart continues from there. Each episode notes the hash of the
    configuration, which is in STORE/configs/HASH.yaml. Ctrl-C stops after the running episode, a second one at once.
    In another terminal there are `soar status`, `pause`, `resume` and `stop`. In this one the space bar stops all arms
    at once; "r" releases them, then "c" lets them go on; "t" takes a single arm from the policy (docs/people.md).

    Examples:
        soar collect --store s --scene 1 --stations 2 --episodes 100
        soar collect --store s --station arm1.yaml arm2.yaml --models models.yaml --hours 12

    Args:
        store: the episode store's folder; created if there is none.
        stations: the stations.
        use: the models.
        collection: configuration of the collection.
        models: YAML file with defaults of vlm, subgoals, policy and threshold.
        steps_per_subgoal: control steps for each subgoal; by default 10 with compact generators, else 20 (paper).
        episodes: number of episodes that this call stores, of all stations together.
        hours: duration after which no new episode begins.
        dry_run: move nothing and store nothing; print each action that would be sent.
    """
    import contextlib
    import tempfile
    import threading

    from soar.collection.fleet import CollectionJob, run_fleet
    from soar.data.store.lance import open_store
    from soar.rollout.console import ConsoleCallback
    from soar.utils.signals import stopping

    if episodes is None and hours is None:
        raise ConfigError("give an end: --episodes N or --hours H")
    stop, configs = threading.Event(), stations.configs
    use.check()
    _ = [config.scene_info for config in configs]
    with contextlib.ExitStack() as stack, stopping(stop):
        if dry_run:
            store = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        open_store(store, create=True)
        made_by = save_in_store(collect, store)
        job = CollectionJob(store, use, collection, episodes, hours, made_by, dry_run)
        console = stack.enter_context(ConsoleCallback(episodes))
        summary = run_fleet(configs, job, stop=stop, callbacks=[console])
    if dry_run:
        print(f"dry run of {summary.episodes} episodes: nothing moved, nothing stored")
    else:
        print_summary(summary, store)


def print_summary(summary: CollectionSummary, store: Path) -> None:
    """Print what was stored. Raises SoarError: a station needs a person."""
    print(
        f"{summary.episodes} episodes stored in {public_name(store)}, {summary.dropped} dropped, "
        f"{summary.faults} faults"
    )
    if summary.broken:
        raise SoarError(f"a person is needed at {', '.join(summary.broken)}; see `soar status`")
