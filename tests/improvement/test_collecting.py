from pathlib import Path

import pytest

from soar.collection.config import CollectionConfig
from soar.data.store.lance import open_store
from soar.errors import SoarError
from soar.improvement.collecting import collect_round
from soar.improvement.run import Run
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.types import Query

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
SHORT = CollectionConfig(EpisodeConfig(2, 12))
STATIONS = [StationConfig(f"arm{i}", "toy", seed=i) for i in range(2)]


def test_a_round_is_filled_and_resumes_from_the_store(tmp_path: Path) -> None:
    run = Run(tmp_path)
    collect_round(run, 2, STATIONS, TOYS, SHORT, 4)
    store = open_store(run.store)
    assert sum(c.attempts for c in store.history(Query(rounds=(2,))).values()) == 4
    version = store.version
    collect_round(run, 2, STATIONS, TOYS, SHORT, 4)
    assert store.version == version, "nothing was left to do"


def test_a_round_that_cannot_be_filled_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soar.robots.toy_models.ToyPolicy.act", lambda *_, **__: None)
    with pytest.raises(SoarError, match=r"0 of 4 episodes; broken: arm0, arm1"):
        collect_round(Run(tmp_path), 1, STATIONS, TOYS, SHORT, 4)
