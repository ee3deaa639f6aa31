"""Rounds of improvement, on a real scene with a very small policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.mixture import Source
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, SoarError
from soar.improvement.rounds import ImproveConfig, Stages, improve
from soar.improvement.run import RoundRecord, Run
from soar.pretraining.demonstrations import demonstrate
from soar.report.page import write_report
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.training.policy import debug, train_policy
from soar.types import Episode, Outcome, Query

KITCHEN = """
name: kitchen
table: oak
things: [{name: red mug, kind: cup, color: red}]
tasks: [{say: move the red mug to the left, left: red mug}]
"""


def demonstration(scene: Scene, seed: int) -> Episode:
    world = World(scene, 64)
    try:
        world.reset(seed, scene.tasks[0].goal)
        return demonstrate(world, scene.tasks[0], np.random.default_rng(seed), seed=seed)
    finally:
        world.close()


@pytest.fixture(scope="module")
def pretraining() -> Source:
    scenes = (sample_scene("bridge", s) for s in (1, 2))
    frames = Frames.from_episodes([demonstration(s, 1) for s in scenes], 32)
    return Source("pretraining", frames, 1.0)


@pytest.fixture(scope="module")
def policy(pretraining: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    train_policy(debug(), [pretraining], folder)
    return folder


class Robots:
    """Collection by the expert: this test is about rounds, not about robots."""

    def __init__(self, outcome: Outcome = "success") -> None:
        self.outcome = outcome
        self.calls: list[tuple[int, str, str, str]] = []

    def __call__(self, run: Run, this: RoundRecord, scene: str, policy: str, subgoals: str) -> None:
        self.calls.append((this.index, scene, policy, subgoals))
        episode = demonstration(load_scene(scene), 3)
        origin = replace(episode.provenance, round=this.index, station="arm")
        verdict = replace(episode.verdict, outcome=self.outcome)
        episode = replace(episode, provenance=origin, verdict=verdict)
        open_store(run.store, create=True).append(episode)


def paint(frames: Frames, path: Path) -> GeneratedGoals:
    """Black pictures for goals."""
    black = np.zeros((1, 32, 32, 3), np.uint8)
    return GeneratedGoals(black, np.zeros(len(frames), np.int64), 0.25)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scene with one task, so that evaluations are short."""
    file = tmp_path_factory.mktemp("scenes") / "kitchen.yaml"
    file.write_text(KITCHEN)
    return str(file)


@pytest.fixture
def settings(policy: Path, kitchen: str) -> ImproveConfig:
    return ImproveConfig(
        scenes=(kitchen,), episodes=1, trials=1, policy=str(policy), subgoals="expert", workers=1,
        pace_m=0.01,
    )  # fmt: skip


@pytest.mark.slow
def test_a_round_runs_all_its_stages_once_and_its_folder_refuses_other_settings(
    policy: Path, settings: ImproveConfig, pretraining: Source, tmp_path: Path
):
    robots, run = Robots(), Run(tmp_path / "run")
    means = Stages(robots, debug(), pretraining, paint)
    record = improve(run, settings, means)
    (done,) = record.rounds
    assert done.stage == "done"
    assert done.collected_with == checkpoints.load(policy).id
    assert done.candidate == checkpoints.load(run.train_folder(1)).id
    assert done.store_version == open_store(run.store, read_only=True).version
    assert run.evaluations()[0].finished
    assert run.evaluations()[1].finished
    assert {t.key for t in run.evaluations()[0].trials} == {
        t.key for t in run.evaluations()[1].trials
    }
    mixture = checkpoints.load(run.train_folder(1)).provenance["mixture"]
    assert mixture["autonomous"]["generated_goals"] == 0.25
    assert mixture["pretraining"]["generated_goals"] == 0
    assert improve(run, settings, means) == record
    assert robots.calls == [(1, settings.scenes[0], str(policy), "expert")]
    with pytest.raises(ConfigError, match="other settings \\(trials\\)"):
        improve(run, replace(settings, trials=2), means)


@pytest.mark.slow
def test_a_round_without_a_judged_success_keeps_the_policy_and_is_reported(
    policy: Path, settings: ImproveConfig, pretraining: Source, tmp_path: Path
):
    run = Run(tmp_path / "run")
    record = improve(run, settings, Stages(Robots("failure"), debug(), pretraining))
    (done,) = record.rounds
    assert (done.stage, done.promoted, done.candidate) == ("done", False, "")
    assert "no episode was judged a success" in done.decision
    assert "nothing to learn from" in write_report(run).read_text()


@pytest.mark.slow
def test_a_policy_learns_from_corrections_of_failures_too(
    policy: Path, settings: ImproveConfig, pretraining: Source, tmp_path: Path
):
    asked: list[tuple[int, str]] = []

    def correct(
        store: LanceStore, queries: Sequence[Query], subgoals: str, cache: Path
    ) -> list[Frames]:
        asked.append((sum(1 for q in queries for _ in store.query(q)), subgoals))
        return [pretraining.frames] * 2  # any frames of two scenes

    run = Run(tmp_path / "run")
    means = Stages(Robots("failure"), debug(), pretraining, correct=correct)
    (done,) = improve(run, settings, means).rounds
    assert asked == [(1, "expert")]
    assert done.stage == "done"
    assert done.mixture == pytest.approx(
        {"pretraining": 0.7, "corrections-0": 0.15, "corrections-1": 0.15}
    )
    told = checkpoints.load(run.train_folder(1)).provenance["mixture"]["corrections-0"]
    assert told["goals"] == {"name": "uniform", "low": 1, "high": 1}
    assert done.query["outcomes"] == []


@pytest.mark.slow
def test_a_policy_of_which_nothing_can_be_corrected_stays(
    policy: Path, settings: ImproveConfig, pretraining: Source, tmp_path: Path
):
    def correct(*_: object) -> list[Frames]:
        raise ConfigError("nothing was ever held")

    means = Stages(Robots(), debug(), pretraining, correct=correct)
    (done,) = improve(Run(tmp_path / "run"), settings, means).rounds
    assert (done.stage, done.promoted, done.candidate) == ("done", False, "")
    assert "nothing was ever held" in done.decision


@pytest.mark.slow
def test_an_imagination_learns_from_failures_too_and_is_judged_with_the_old_policy(
    policy: Path, settings: ImproveConfig, tmp_path: Path
):
    taught: list[tuple[str, int]] = []

    def teach(store: LanceStore, queries: Sequence[Query], subgoals: str, folder: Path) -> None:
        taught.append((subgoals, sum(1 for q in queries for _ in store.query(q))))
        checkpoints.save(folder, checkpoints.load(policy))  # any checkpoint

    run = Run(tmp_path / "run")
    told = replace(settings, subgoals="expert@10")
    with pytest.raises(SoarError):
        improve(run, told, Stages(Robots("failure"), teach=teach))
    (done,) = run.record().rounds
    assert taught == [("expert@10", 1)]
    assert (done.stage, done.candidate) == ("evaluate", checkpoints.load(policy).id)
    assert run.in_force(run.record(), 1) == (str(policy), f"{run.imagination_folder(1)}@10")
    assert run.in_force(run.record()) == (str(policy), "expert@10")


@pytest.mark.slow
def test_a_round_in_which_nothing_can_be_taught_ends(
    policy: Path, settings: ImproveConfig, tmp_path: Path
):
    def teach(*_: object) -> None:
        raise ConfigError("nothing was ever held")

    said: list[str] = []
    record = improve(
        Run(tmp_path / "run"), settings, Stages(Robots(), teach=teach), say=said.append
    )
    (done,) = record.rounds
    assert (done.stage, done.promoted, done.imagination) == ("done", False, "")
    assert any("nothing was ever held" in s for s in said)


def test_shares_outside_zero_to_one_and_subgoals_that_do_not_fill_an_episode_are_refused():
    with pytest.raises(ConfigError, match="autonomous_share"):
        ImproveConfig(autonomous_share=1.0)
    with pytest.raises(ConfigError, match="30 steps per subgoal; valid: a divisor of 100"):
        ImproveConfig(steps_per_subgoal=30)
    with pytest.raises(ConfigError, match="pace_m is -1"):
        ImproveConfig(pace_m=-1)
    plan = ImproveConfig(steps_per_subgoal=10).plan
    assert (plan.subgoals, plan.steps) == (10, 10)
    assert ImproveConfig().plan.steps == 10
    assert ImproveConfig(subgoals="susie:folder").plan.steps == 20
