"""Rounds of improvement, in a simulated scene with a very small policy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError, FileError, SoarError
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.learning import plan_learning
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import evaluate_in_simulation
from soar.improvement import rounds
from soar.improvement.cotraining import CoTrainConfig, CoTraining, time_left_s
from soar.improvement.methods.corrections.labels import correction_sources
from soar.improvement.methods.hindsight import Hindsight, HindsightConfig
from soar.improvement.methods.method import LearningMethod, MethodName, OwnEpisodes
from soar.improvement.rounds import Candidate, ImproveConfig, Stages, improve
from soar.improvement.run import RoundRecord, Run, RunRecord, changed_settings
from soar.pretraining.demonstrations import demonstrate
from soar.promotion import promoted_models
from soar.registry import policy_spec
from soar.report.page import write_report
from soar.rollout.station_config import StationConfig
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.training.policy import debug, train_policy, with_fit
from soar.types import Episode, Outcome, Query
from soar.utils.files import local_path
from soar.utils.mirrors import out_folder

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
def demonstrations() -> Source:
    scenes = (sample_scene("bridge", s) for s in (1, 2))
    frames = Frames.from_episodes([demonstration(s, 1) for s in scenes], 32)
    return Source("pretraining", frames, 1.0)


@pytest.fixture(scope="module")
def policy(demonstrations: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    train_policy(debug(), [demonstrations], folder)
    return folder


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scene with one task, so that evaluations are short."""
    file = tmp_path_factory.mktemp("scenes") / "kitchen.yaml"
    file.write_text(KITCHEN)
    return str(file)


@pytest.fixture
def config(policy: Path, kitchen: str) -> ImproveConfig:
    return ImproveConfig(
        scenes=(kitchen,), episodes=1, trials=1, policy=str(policy), subgoals="expert", workers=1
    )


@dataclass
class Robots:
    """Collection by the expert: these tests are about rounds, not about robots."""

    scene: str
    outcome: Outcome = "success"

    def __post_init__(self) -> None:
        self.calls: list[tuple[int, str, str]] = []

    def __call__(self, run: Run, round: int, policy: str, subgoals: str) -> None:
        self.calls.append((round, policy, subgoals))
        episode = demonstration(load_scene(self.scene), 3)
        origin = replace(episode.provenance, round=round, station="arm")
        verdict = replace(episode.verdict, outcome=self.outcome)
        episode = replace(episode, provenance=origin, verdict=verdict)
        open_store(run.store, create=True).append(episode)


class Corrected:
    """Any frames as the corrections of two scenes, or a reason why there are none."""

    name: MethodName = "corrections"
    outcomes: tuple[Outcome, ...] = ()

    def __init__(self, frames: Frames | None) -> None:
        self.frames, self.calls = frames, list[tuple[int, str]]()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        self.calls.append((sum(1 for _ in own.open_store().query(own.query)), own.subgoals))
        if self.frames is None:
            raise ConfigError("nothing was ever held")
        return correction_sources([self.frames] * 2, share)


def cotraining(method: LearningMethod, demonstrations: Source | None) -> CoTraining:
    return CoTraining(CoTrainConfig(), debug(), method, demonstrations)


def hindsight(share: float = 0.25) -> Hindsight:
    """Imitation with a share of black goal images."""

    def regenerate(frames: Frames, share: float, path: Path) -> GeneratedGoals:
        assert share
        black = np.zeros((1, 32, 32, 3), np.uint8)
        return GeneratedGoals(black, np.zeros(len(frames), np.int64), share)

    return Hindsight(HindsightConfig(min_motion_m=0.01, generated_goals=share), 32, regenerate)


def stages(config: ImproveConfig, outcome: Outcome = "success", **parts: object) -> Stages:
    collect = Robots(config.scenes[0], outcome)
    base = Stages(("kitchen",), collect, partial(evaluate_in_simulation, config))
    return replace(base, **parts)  # type: ignore[arg-type]


def test_a_round_runs_all_its_stages_once_and_its_folder_refuses_other_settings(
    policy: Path, config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    run, given = (
        Run(tmp_path / "run"),
        stages(config, train=cotraining(hindsight(), demonstrations)),
    )
    record = improve(run, config, given)
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
    assert improve(run, config, given) == record
    assert isinstance(given.collect, Robots)
    assert given.collect.calls == [(1, str(policy), "expert")]
    with pytest.raises(ConfigError, match="other settings \\(trials\\)"):
        improve(run, replace(config, trials=2), given)


def test_a_policy_is_trained_for_the_time_that_is_left_of_a_round(
    config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    settings = CoTrainConfig(minutes=1e-3)
    recipe = with_fit(debug(), steps=10**6)
    train = CoTraining(settings, recipe, hindsight(), demonstrations)
    run = Run(tmp_path / "run")
    record = improve(run, config, stages(config, train=train, preparation_s=5.0))
    assert record.seconds["prepare"] == 5
    steps = run.steps(record, 1)
    assert steps == checkpoints.load(run.train_folder(1)).provenance["step"]
    assert 0 < steps < 10**6


def test_the_time_left_of_a_round_counts_both_evaluations() -> None:
    first = RoundRecord(1, "done", seconds={"collect": 60, "fit": 50, "evaluate": 40})
    second = RoundRecord(2, "fit", seconds={"collect": 60, "finetune": 10})
    record = RunRecord("", ("s",), 2, 0.0, seconds={"prepare": 5, "evaluate": 30})
    assert time_left_s(record.with_round(replace(second, index=1)), 1, 5) == 300 - 5 - 70 - 2 * 30
    record = record.with_round(first).with_round(second)
    assert time_left_s(record, 2, 5) == 300 - 70 - 2 * 40
    assert time_left_s(record, 2, 1) == 60 - 70 - 2 * 40
    without = replace(first, seconds={"collect": 60, "fit": 1})
    assert time_left_s(record.with_round(without), 2, 5) == 300 - 70 - 2 * 30


def test_the_time_of_an_interrupted_stage_is_added_up(
    config: ImproveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage is interrupted after a minute, and takes two minutes at the next attempt."""
    now_s, attempts = 0, list[str]()
    clock = SimpleNamespace(monotonic=lambda: now_s, time=time.time)
    monkeypatch.setattr(rounds, "time", clock)

    def slow(name: str, *_: object) -> None:
        nonlocal now_s
        attempts.append(name)
        now_s += 60 * attempts.count(name)
        if attempts.count(name) == 1:
            raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    parts: dict[str, Any] = {
        "collect": partial(slow, "collect"),
        "evaluate": partial(slow, "evaluate"),
    }
    for known in ({"evaluate": 60}, {"evaluate": 180}):
        with pytest.raises(KeyboardInterrupt):
            improve(run, config, stages(config, **parts))
        assert run.record().seconds == known
    assert run.record().rounds[0].seconds == {"collect": 60}
    record = improve(run, config, stages(config, **parts))
    assert record.seconds == {"evaluate": 180}, "it was finished"
    assert record.rounds[0].seconds == {"collect": 180, "finetune": 0, "fit": 0}
    assert attempts == ["evaluate", "evaluate", "collect", "evaluate", "collect"]


@pytest.mark.parametrize("changes", [{"stations": (StationConfig("arm"),)}, {}])
def test_a_limit_of_time_that_cannot_be_kept_is_refused_at_once(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(RunConfig(fit=CoTrainConfig(minutes=5)), **changes)  # type: ignore[arg-type]
    plan_learning(RunConfig(fit=CoTrainConfig(minutes=5)), (), lambda text: None)
    monkeypatch.setenv("WORLD_SIZE", "1" if changes else "2")
    with pytest.raises(ConfigError, match=r"valid here: --fit\.steps"):
        plan_learning(config, (), lambda text: None)


@pytest.mark.parametrize("save_every", [1, 30, 49, 50, 75, 120, 130])
def test_states_are_saved_as_often_as_requested(save_every: int) -> None:
    config = CoTrainConfig(save_every=save_every)
    assert config.recipe(checkpoints.load(policy_spec("gcbc").folder)).fit.save_every == save_every


def test_a_teacher_collects_in_place_of_the_policy_that_learns(
    policy: Path, config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    train, run = cotraining(hindsight(), demonstrations), Run(tmp_path / "run")
    given = stages(config, train=train, teacher="gcbc")
    (done,) = improve(run, config, given).rounds
    assert isinstance(given.collect, Robots)
    assert given.collect.calls == [(1, "gcbc", "expert")]
    assert done.collected_with == checkpoints.load(policy_spec("gcbc").folder).id
    assert (
        checkpoints.load(run.train_folder(1)).provenance["started_from"]
        == checkpoints.load(policy).id
    )


def test_no_goal_of_own_episodes_is_rendered_where_none_is_asked_for(
    config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    run = Run(tmp_path / "run")
    improve(run, config, stages(config, train=cotraining(hindsight(0.0), demonstrations)))
    mixture = checkpoints.load(run.train_folder(1)).provenance["mixture"]
    assert mixture["autonomous"]["generated_goals"] == 0


def test_a_round_without_a_judged_success_keeps_the_policy_and_is_reported(
    config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    run = Run(tmp_path / "run")
    train = cotraining(hindsight(), demonstrations)
    (done,) = improve(run, config, stages(config, "failure", train=train)).rounds
    assert (done.stage, done.promoted, done.candidate) == ("done", False, "")
    assert "no episode was judged a success" in done.decision
    assert "nothing to learn from" in write_report(run.folder).read_text()


def test_a_policy_learns_from_corrections_of_failures_too(
    config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    method, run = Corrected(demonstrations.frames), Run(tmp_path / "run")
    train = cotraining(method, demonstrations)
    (done,) = improve(run, config, stages(config, "failure", train=train)).rounds
    assert method.calls == [(1, "expert")]
    assert done.stage == "done"
    assert done.mixture == pytest.approx(
        {"pretraining": 0.7, "corrections-0": 0.15, "corrections-1": 0.15}
    )
    source = checkpoints.load(run.train_folder(1)).provenance["mixture"]["corrections-0"]
    assert source["goals"] == {"name": "uniform", "low": 1, "high": 1}
    assert done.query["outcomes"] == []


def test_a_policy_without_corrections_stays(
    config: ImproveConfig, demonstrations: Source, tmp_path: Path
):
    train = cotraining(Corrected(None), demonstrations)
    (done,) = improve(Run(tmp_path / "run"), config, stages(config, train=train)).rounds
    assert (done.stage, done.promoted, done.candidate) == ("done", False, "")
    assert "nothing was ever held" in done.decision


def test_a_subgoal_generator_learns_from_failures_and_is_evaluated_with_the_old_policy(
    policy: Path, config: ImproveConfig, tmp_path: Path
):
    calls: list[tuple[str, int]] = []

    def finetune(own: OwnEpisodes, out: Path) -> None:
        calls.append((own.subgoals, sum(1 for _ in own.open_store().query(own.query))))
        checkpoints.save(out, checkpoints.load(policy))  # any checkpoint

    run, config = Run(tmp_path / "run"), replace(config, subgoals="expert@10")
    with pytest.raises(SoarError):
        improve(run, config, stages(config, "failure", finetune_subgoals=finetune))
    (done,) = run.record().rounds
    assert calls == [("expert@10", 1)]
    assert (done.stage, done.candidate) == ("evaluate", checkpoints.load(policy).id)
    assert run.models_in_force(run.record(), 1) == (str(policy), f"{run.subgoals_folder(1)}@10")
    assert run.models_in_force(run.record()) == (str(policy), "expert@10")


def test_a_round_in_which_the_subgoal_generator_cannot_learn_ends(
    config: ImproveConfig, tmp_path: Path
):
    def finetune(*_: object) -> None:
        raise ConfigError("nothing was ever held")

    messages: list[str] = []
    given = stages(config, finetune_subgoals=finetune)
    record = improve(Run(tmp_path / "run"), config, given, on_message=messages.append)
    (done,) = record.rounds
    assert (done.stage, done.promoted, done.subgoals_checkpoint) == ("done", False, "")
    assert any("nothing was ever held" in m for m in messages)


class Copied:
    """Training that copies the policy to train."""

    outcomes: tuple[Outcome, ...] = ("success",)

    def __call__(self, own: OwnEpisodes, incumbent: Path, out: Path) -> Mapping[str, float]:
        checkpoints.save(out, checkpoints.load(incumbent))
        return {"autonomous": 1.0}


def test_interleaved_rounds_evaluate_the_models_in_force_anew_with_each_candidate(
    policy: Path, config: ImproveConfig, tmp_path: Path
):
    calls: list[list[Candidate]] = []

    def evaluate(candidates: Sequence[Candidate]) -> None:
        """The candidate fails in the first round and succeeds in the second."""
        calls.append(list(candidates))
        for candidate, outcome in zip(
            candidates, ("failure", "failure" if len(calls) == 1 else "success"), strict=True
        ):
            tasks = (("kitchen", "go"),)
            setting = EvalSetting("id", "gcbc", candidate.subgoals, tasks, 1, 1, 5, 20)
            open_evaluation(candidate.folder, setting)
            add_trials(candidate.folder, [Trial("kitchen", "go", 1, cast(Outcome, outcome))])

    run, config = Run(tmp_path / "run"), replace(config, rounds=3)
    given = stages(config, evaluate=evaluate, interleaved=True, train=Copied())
    record = improve(run, config, given)
    assert [r.promoted for r in record.rounds] == [False, True, True]
    assert "evaluate" not in record.seconds
    folders = [[c.folder for c in call] for call in calls]
    assert folders == [[run.before_folder(r), run.evaluation_folder(r)] for r in (1, 2, 3)]
    assert [call[0].policy for call in calls] == [str(policy)] * 2 + [str(run.train_folder(2))]
    assert [call[1].policy for call in calls] == [str(run.train_folder(r)) for r in (1, 2, 3)]
    before, _ = run.compared_evaluations(record, 2)
    assert before.folder == run.before_folder(2)
    assert set(run.evaluations()) == {0, 1, 2, 3}


def test_subgoals_that_do_not_fill_an_episode_and_empty_runs_are_refused():
    with pytest.raises(ConfigError, match="30 steps per subgoal; valid: a divisor of 100"):
        ImproveConfig(steps_per_subgoal=30)
    with pytest.raises(ConfigError, match="at least one scene"):
        ImproveConfig(scenes=())
    with pytest.raises(ConfigError, match="rounds is 0; valid: a whole number of at least 1"):
        ImproveConfig(rounds=0)
    episode = ImproveConfig(steps_per_subgoal=10).episode_config
    assert (episode.num_subgoals, episode.steps_per_subgoal) == (10, 10)
    assert ImproveConfig().episode_config.steps_per_subgoal == 10
    assert ImproveConfig(subgoals="susie:folder").episode_config.steps_per_subgoal == 20


def test_shares_outside_their_ranges_are_refused():
    with pytest.raises(ConfigError, match="autonomous_share is 1"):
        CoTrainConfig(autonomous_share=1.0)
    with pytest.raises(ConfigError, match="min_motion_m is -1"):
        HindsightConfig(min_motion_m=-1)


def test_settings_of_earlier_versions_are_compared_under_their_new_names():
    old: Mapping[str, object] = {"trials": 5, "pace_m": 0.01, "goals": {"low": 0, "high": 12}}
    new = {"trials": 5, "hindsight": {"min_motion_m": 0.015, "goals": {"low": 0, "high": 12}}}
    assert changed_settings(old, new) == ["hindsight.min_motion_m"]
    assert changed_settings(old, {"trials": 6, "workers": 9, "fit": {"steps": 1}}) == ["trials"]


def test_a_run_of_version_01_is_read_under_the_new_names(tmp_path: Path):
    (tmp_path / "run.json").write_text(
        '{"title": "t", "scenes": ["1"], "rounds_wanted": 1, "started_s": 1.0,'
        ' "models": {"policy": "gcbc", "subgoals": "compact"}, "rounds": [{"index": 1,'
        ' "stage": "teach", "imagination": "abc", "seconds": {"collect": 1.0, "teach": 2.0}}]}'
    )
    (tmp_path / "imagination").mkdir()
    run = Run(tmp_path)
    record = run.record()
    assert record.rounds_requested == 1
    expected = RoundRecord(
        1, "finetune", subgoals_checkpoint="abc", seconds={"collect": 1.0, "finetune": 2.0}
    )
    assert record.rounds == (expected,)
    assert run.subgoals_folder(1) == tmp_path / "imagination" / "round-1"
    assert Query(**record.rounds[0].query) == Query()


def test_a_run_in_object_storage_goes_on_elsewhere_and_its_models_are_found(
    bucket: str,
    config: ImproveConfig,
    demonstrations: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    url = f"{bucket}/runs/lab"
    given = stages(config, train=cotraining(hindsight(), demonstrations))

    def interrupted(candidates: Sequence[Candidate]) -> None:
        if candidates[0].folder.name == "round-1":
            raise FileError("the machine is gone")
        given.evaluate(candidates)

    with pytest.raises(FileError, match="gone"):
        improve(Run(out_folder(url)), config, replace(given, evaluate=interrupted))
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "elsewhere"))
    run = Run(out_folder(url))
    record = improve(run, config, given)
    assert isinstance(given.collect, Robots)
    assert len(given.collect.calls) == 1
    assert [s.provenance.station for s in open_store(f"{url}/store").query()] == ["arm"]
    (done,) = record.rounds
    assert done.stage == "done"
    run.write(record.with_round(replace(done, promoted=True)))
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "station"))
    policy, subgoals = promoted_models(url)
    assert (policy, subgoals) == (f"{url}/train/round-1", "expert")
    assert checkpoints.load(policy_spec(policy).folder).id == done.candidate
    there = Run(local_path(url))
    assert there.evaluations()[1].finished
    assert there.config.exists()
