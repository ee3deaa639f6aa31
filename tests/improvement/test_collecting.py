from pathlib import Path

import pytest

from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.errors import RobotFault, SoarError
from soar.improvement.collecting import Amount, collect_round
from soar.improvement.run import Run
from soar.rollout.callbacks import Callback
from soar.rollout.console import ConsoleCallback
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig, Station
from soar.rollout.station_config import StationConfig
from soar.types import Proposal, Query

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
SHORT = CollectionConfig(EpisodeConfig(2, 12))
STATIONS = [StationConfig(f"arm{i}", "toy", seed=i) for i in range(2)]


def test_a_round_is_filled_and_resumes_from_the_store(tmp_path: Path) -> None:
    run = Run(tmp_path)
    collect_round(run, 2, STATIONS, TOYS, SHORT, Amount(4))
    store = open_store(run.store)
    assert sum(c.attempts for c in store.history(Query(rounds=(2,))).values()) == 4
    version = store.version
    collect_round(run, 2, STATIONS, TOYS, SHORT, Amount(4))
    assert store.version == version, "nothing was left to do"


def test_a_limit_of_time_ends_a_round_but_not_before_its_least_episodes(tmp_path: Path) -> None:
    def stored(amount: Amount) -> int:
        collect_round(run, 1, STATIONS, TOYS, SHORT, amount)
        return sum(c.attempts for c in open_store(run.store).history(Query(rounds=(1,))).values())

    run = Run(tmp_path)
    assert stored(Amount(1000, 1e-9, least_episodes=4)) == 4
    assert stored(Amount(6, 60.0)) == 6, "it ends early where all are collected in time"
    assert stored(Amount(1000, 1e-9, least_episodes=4)) == 6


def test_least_episodes_are_no_more_than_all(tmp_path: Path) -> None:
    run = Run(tmp_path)
    collect_round(run, 1, STATIONS, TOYS, SHORT, Amount(2, 0.0, least_episodes=5))
    collect_round(run, 2, STATIONS, TOYS, SHORT, Amount(2, 1e-9, least_episodes=5))
    counts = [open_store(run.store).history(Query(rounds=(r,))) for r in (1, 2)]
    assert [sum(c.attempts for c in count.values()) for count in counts] == [2, 2]


def test_an_arm_that_a_person_stopped_stays_stopped_when_the_time_is_over(tmp_path: Path) -> None:
    starts: list[str] = []

    class Person(Callback):
        def on_start(self, station: Station, proposal: Proposal) -> None:
            starts.append(station.name)
            if len(starts) == 6:
                StatusFolder(tmp_path / "store", "arm1").request("stop")

    amount = Amount(10**5, 1e-9, least_episodes=20)
    collect_round(Run(tmp_path), 1, STATIONS, TOYS, SHORT, amount, [Person()])
    assert starts.count("arm0") >= 15
    assert starts.count("arm1") <= 5


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Amount(300), 300),
        (Amount(300, 2.0, 100), 120),
        (Amount(300, 1.0, 100), 100),
        (Amount(300, 60.0, 100), 300),
    ],
)
def test_the_bar_expects_what_the_pace_allows(
    amount: Amount, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("soar.rollout.console.time.monotonic", lambda: now)
    console = ConsoleCallback(*amount)
    assert console.expected(0) == amount.episodes
    now = 110.0
    assert console.expected(10) == expected


def test_a_round_that_cannot_be_filled_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(*_: object) -> None:
        raise RobotFault("it stalls")

    monkeypatch.setattr("soar.robots.toy.ToyRobot.execute", stall)
    with pytest.raises(SoarError, match=r"0 of 4 episodes; broken: arm0, arm1"):
        collect_round(Run(tmp_path), 1, STATIONS, TOYS, SHORT, Amount(4))
