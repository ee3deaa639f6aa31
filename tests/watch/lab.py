"""Stations with slow toy robots, in a process of their own: python tests/watch/lab.py STORE arm1 arm2 ..."""

import sys
import time
from pathlib import Path

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.types import Action
from soar.utils.files import local_path

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)


class SlowToy(ToyRobot):
    """A toy robot that takes 50 ms for a step; `table` tells its lease from those of other tests."""

    def __init__(self, seed: int, table: str) -> None:
        super().__init__(seed)

    def execute(self, action: Action) -> Action:
        """Move, slowly."""
        time.sleep(0.05)
        return super().execute(action)


def main(store: Path, names: list[str], episodes: int | None = None) -> None:
    """Collect until the process is ended, or with so many episodes."""
    stations = [
        StationConfig(
            name,
            f"{Path(__file__).stem}:SlowToy",
            {"seed": int(name.removeprefix("arm")), "table": str(store)},
            tasks=INSTRUCTIONS,
            simulator=True,
            process=False,
        )
        for name in names
    ]
    config = CollectionConfig(episode=EpisodeConfig(4, 10))
    run_fleet(stations, CollectionJob(store, TOYS, config, episodes, None if episodes else 1.0))


if __name__ == "__main__":
    main(local_path(sys.argv[1]), sys.argv[2:])
