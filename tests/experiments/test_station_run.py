"""Improvement on real stations: toy robots and the simulator behind the real-robot interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.checkpoint import load as load_checkpoint
from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.frame_cache import build_frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.experiments.run_config import CollectOptions, RunConfig, StationTrials
from soar.experiments.station_run import improve_on_stations
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.improvement.methods.hindsight import HindsightConfig
from soar.improvement.run import Run
from soar.report.page import write_report
from soar.robots.toy_models import INSTRUCTIONS
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.training.policy import debug, train_policy
from soar.types import Image, Outcome, Query
from soar.utils.config import load, to_plain

TOYS = "python:soar.robots.toy_models:Toy"
KITCHEN = """
name: kitchen
table: oak
things: [{name: red mug, kind: cup, color: red}]
tasks: [{say: move the red mug to the left, left: red mug}]
"""


class Operator:
    """A person who finds every second trial a success, whichever policy acted."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, bool]] = []
        self.judged = 0

    def set_start(
        self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
    ) -> None:
        assert take_image().dtype == np.uint8
        self.starts.append((instruction, recorded is not None))

    def judge(self, instruction: str, image: Image) -> Outcome:
        self.judged += 1
        return "success" if self.judged % 2 else "failure"


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of episodes in which the toy policy moves the block of an arm with the stations' contract."""
    store = tmp_path_factory.mktemp("demonstrations") / "store"
    models = ModelsConfig(f"{TOYS}VLM", f"{TOYS}Subgoals", f"{TOYS}Policy")
    job = CollectionJob(store, models, CollectionConfig(EpisodeConfig(2, 12)), episodes=3)
    run_fleet([station("demonstrator", 0)], job)
    return store


@pytest.fixture(scope="module")
def policy(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    frames = build_frames(open_store(demonstrations), Query(), 32, folder / "frames")
    train_policy(debug(), [Source("pretraining", frames, 1.0)], folder)
    return folder


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Collection leaves cores to robots."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def station(name: str, seed: int, tasks: tuple[str, ...] = INSTRUCTIONS) -> StationConfig:
    return StationConfig(
        name,
        robot="tests.experiments.fast_robots:connect_toy",
        options={"seed": seed},
        tasks=tasks,
        process=False,
    )


def config(policy: Path, **changes: object) -> RunConfig:
    base = RunConfig(
        episodes=1,
        trials=1,
        policy=str(policy),
        subgoals=f"{TOYS}Subgoals",
        collect=CollectOptions(vlm=f"{TOYS}VLM"),
        fit=CoTrainConfig(steps=2, batch_size=8),
        hindsight=HindsightConfig(outcomes=("success", "failure")),
        demonstrations="none",
        stations=(station("arm1", 1),),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_station_improves_by_hindsight_with_interleaved_trials_that_a_person_judges(
    policy: Path, tmp_path: Path
) -> None:
    operator, messages, run = Operator(), list[str](), Run(tmp_path / "run")
    given = config(policy)
    record = improve_on_stations(run.folder, given, on_message=messages.append, operator=operator)
    [done] = record.rounds
    assert (record.scenes, done.stage) == (("arm1",), "done")
    assert done.mixture == {"autonomous": 1.0}
    assert done.candidate == load_checkpoint(run.train_folder(1)).id
    before, after = run.compared_evaluations(record, 1)
    assert before.finished
    assert after.finished
    assert before.folder == run.evaluation_folder(0)
    assert operator.judged == 2 * len(INSTRUCTIONS)
    assert [reproduced for _, reproduced in operator.starts] == [False, True] * 2
    assert {t.detector for t in after.trials} <= {"success", "failure"}
    assert all(t.person == t.outcome for t in [*before.trials, *after.trials])
    assert len(list((run.folder / "starts" / "arm1").glob("*/*.png"))) == 2
    [line] = [m for m in messages if m.startswith("method")]
    assert line.startswith("method: hindsight; corrections don't apply: the subgoal generator")
    assert any(m.startswith("no demonstrations: the policy learns") for m in messages)
    assert not any(str(run.train_folder(1)) in m for m in messages if "trial" in m)
    episodes = list(open_store(run.store).query())
    assert len(episodes) == 1
    assert {e.provenance.regime for e in episodes} == {"real"}
    assert improve_on_stations(run.folder, given, operator=operator) == record
    assert to_plain(load(RunConfig, run.config)) == record.config
    assert "arm1" in write_report(run.folder).read_text()


def test_several_stations_improve_with_demonstrations_of_a_store_and_kept_scenes(
    policy: Path, demonstrations: Path, tmp_path: Path
) -> None:
    operator, run = Operator(), Run(tmp_path / "run")
    given = config(
        policy,
        demonstrations=str(demonstrations),
        stations=(station("arm1", 1, INSTRUCTIONS[:1]), station("arm2", 2, INSTRUCTIONS[1:])),
        station_trials=StationTrials(judge="detector", starts="kept"),
    )
    record = improve_on_stations(run.folder, given, operator=operator)
    [done] = record.rounds
    assert done.mixture == {"pretraining": 0.7, "autonomous": 0.3}
    assert operator.judged == 0
    assert {e.provenance.scene for e in open_store(run.store).query()} == {"arm1", "arm2"}
    trials = run.evaluations()[1].trials
    assert {t.scene for t in trials} == {"arm1", "arm2"}
    assert all(t.detector == t.outcome and t.person is None for t in trials)
    assert not (run.folder / "starts").exists()


@pytest.mark.slow
def test_the_simulator_behind_the_real_robot_interface_improves_as_a_station(
    tmp_path: Path,
) -> None:
    (tmp_path / "kitchen.yaml").write_text(KITCHEN)
    arm = StationConfig(
        "sim-arm",
        robot="tests.experiments.fast_robots:connect_simulator",
        options={"scene": str(tmp_path / "kitchen.yaml"), "seed": 3},
        tasks=("move the red mug to the left",),
        process=False,
    )
    given = config(
        Path("gcbc"),
        subgoals="compact",
        collect=CollectOptions(),
        method="hindsight",
        finetune=FinetuneSubgoalsConfig(steps=0),
        generated_goals=0.0,
        stations=(arm,),
    )
    run, operator = Run(tmp_path / "run"), Operator()
    [done] = improve_on_stations(run.folder, given, operator=operator).rounds
    assert done.stage == "done"
    assert operator.judged == 2
    [episode] = open_store(run.store).query()
    assert (episode.provenance.regime, episode.provenance.truth) == ("real", None)


def test_corrections_that_do_not_apply_are_refused_before_anything_is_collected(
    policy: Path, tmp_path: Path
) -> None:
    given = config(policy, method="corrections")
    with pytest.raises(ConfigError, match="--method corrections doesn't apply: the subgoal gen"):
        improve_on_stations(tmp_path / "run", given)
    assert not (tmp_path / "run").exists()
