"""Improvement in simulation: configuration, learning stages, and demonstrations with generated goals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soar.checkpoint import load
from soar.data.transforms import image_transforms, transforms_from
from soar.errors import ConfigError, SoarError
from soar.experiments.learning import Learning, plan_learning
from soar.experiments.run_config import RunConfig, Teacher
from soar.experiments.simulated_run import bridge_demonstrations, improve_in_simulation
from soar.improvement.cotraining import CoTrainConfig, CoTraining
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.improvement.methods.corrections.method import Corrections
from soar.improvement.methods.hindsight import Hindsight
from soar.pretraining.weights import DemonstrationSet, demonstrations_folder
from soar.registry import policy_spec
from soar.tasks.grammar import task_from_instruction
from soar.types import Task
from soar.utils.config import from_plain, to_plain
from soar.utils.files import cache_folder

PUT = (task_from_instruction("put the red block in the bowl"),)


def planned(config: RunConfig, tasks: tuple[Task, ...] = PUT) -> tuple[Learning, list[str]]:
    messages: list[str] = []
    return plan_learning(config, tasks, messages.append), messages


def test_an_unknown_scene_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="99"):
        improve_in_simulation(tmp_path / "run", RunConfig(scenes=("1", "99")))
    assert not cache_folder().exists()
    assert not (tmp_path / "run").exists()


def test_a_share_of_generated_goals_beyond_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="generated_goals is 1"):
        RunConfig(generated_goals=1.5)


def test_a_run_in_which_nothing_learns_is_refused(tmp_path: Path) -> None:
    still = RunConfig(fit=CoTrainConfig(steps=0), finetune=FinetuneSubgoalsConfig(steps=0))
    with pytest.raises(ConfigError, match="neither policy nor subgoal generator"):
        improve_in_simulation(tmp_path / "run", still)


def test_the_whole_configuration_is_read_back_as_written() -> None:
    config = RunConfig(scenes=("3",), demonstrations="store", method="hindsight")
    assert from_plain(RunConfig, to_plain(config), "config.yaml") == config
    assert from_plain(RunConfig, to_plain(RunConfig()), "config.yaml") == RunConfig()


TAUGHT = RunConfig(policy="lcbc", subgoals="none", method="lcbc", teacher=Teacher("gcbc"))


def test_a_teacher_collects_with_its_own_subgoals_and_the_policy_that_learns_without() -> None:
    models, how = TAUGHT.collecting(TAUGHT.policy, TAUGHT.subgoals)
    assert (models.policy, models.subgoals) == ("gcbc", "compact")
    assert (how.episode.num_subgoals, how.episode.steps_per_subgoal) == (10, 10)
    alone, how = replace(TAUGHT, teacher=Teacher()).collecting("lcbc", "none")
    assert (alone.policy, alone.subgoals) == ("lcbc", "none")
    assert planned(TAUGHT)[0].method == "lcbc"


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (Teacher("gcbc", "none"), "valid: subgoals compact or another"),
        (Teacher("lcbc"), "valid: subgoals none, not compact"),
        (Teacher("nowhere"), "no checkpoint in nowhere"),
        (Teacher("gcbc", "susie:folder?stepz=3"), "unknown option"),
    ],
)
def test_a_wrong_teacher_is_refused_before_anything_runs(teacher: Teacher, reason: str) -> None:
    with pytest.raises(SoarError, match=reason):
        planned(replace(TAUGHT, teacher=teacher))


def test_corrections_are_the_default_where_they_apply() -> None:
    learning, messages = planned(RunConfig())
    assert (learning.method, learning.finetunes) == ("corrections", True)
    assert messages == ["method: corrections"]
    train = learning.cotraining(None, None)
    assert isinstance(train, CoTraining)
    assert isinstance(train.method, Corrections)
    assert train.outcomes == ()


def test_other_methods_teach_the_policy_alone() -> None:
    for config in (RunConfig(method="hindsight"), RunConfig(method="critic")):
        learning, messages = planned(config)
        assert (learning.method, learning.finetunes) == (config.method, False)
        assert messages == [f"method: {config.method}"]


@pytest.mark.parametrize(
    ("config", "tasks", "reason"),
    [
        (RunConfig(subgoals="susie:folder"), PUT, "'susie:folder' has no keypoint predictor"),
        (RunConfig(subgoals="python:lab:make"), PUT, "'python:lab:make' has no keypoint predictor"),
        (RunConfig(policy="lcbc", subgoals="none"), PUT, "the policy is lcbc, which does not"),
        (RunConfig(), (Task("stack the cups"),), "no task is one grasp and one release"),
    ],
)
def test_hindsight_is_the_default_where_corrections_do_not_apply_and_the_reason_is_said(
    config: RunConfig, tasks: tuple[Task, ...], reason: str
) -> None:
    learning, messages = planned(config, tasks)
    assert (learning.method, learning.finetunes) == ("hindsight", False)
    assert messages[0].startswith("method: hindsight; corrections don't apply: ")
    assert reason in messages[0]
    assert messages[1].startswith("the subgoal generator stays as it is: ")
    train = learning.cotraining(None, None)
    assert isinstance(train, CoTraining)
    assert isinstance(train.method, Hindsight)
    assert train.outcomes == ("success",)


def test_corrections_where_they_do_not_apply_are_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"--method corrections doesn't apply: .*valid: hindsight"
    ):
        planned(RunConfig(subgoals="susie:folder", method="corrections"))


def test_improvement_augments_as_the_policy_it_goes_on_from_did() -> None:
    start = load(policy_spec("gcbc").folder)
    recipe = CoTrainConfig(steps=50).recipe(start)
    assert recipe.image_transforms == image_transforms(transforms_from(start.transforms))
    assert {t.name for t in recipe.image_transforms} >= {"crop", "color"}
    assert recipe.policy.resolution == start.config["resolution"]
    assert recipe.fit.warmup_steps == 5


def test_goals_of_demonstrations_are_rendered_once_and_only_for_policies_that_reach_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    requested = DemonstrationSet(2, resolution=32, workers=1)
    follows, reaches = (
        CoTrainConfig(steps=50).recipe(load(policy_spec(kind).folder)) for kind in ("lcbc", "gcbc")
    )
    assert bridge_demonstrations(requested, follows, 0.5).generated_goals is None
    assert bridge_demonstrations(requested, reaches, 0.0).generated_goals is None
    assert not (demonstrations_folder(0) / "painted").exists()
    source = bridge_demonstrations(requested, reaches, 0.5)
    assert source.generated_goals is not None
    assert source.generated_goals.share == 0.5
    assert len(source.generated_goals.image_indices) == len(source.frames)
    assert source.generated_goals.images.shape[1:] == (32, 32, 3)
    [rendered] = (demonstrations_folder(0) / "painted").iterdir()
    before = rendered.stat().st_mtime_ns
    bridge_demonstrations(requested, reaches, 0.2)
    assert rendered.stat().st_mtime_ns == before
