"""The doctor tries every model on the robots' own pictures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.data.transforms import NormalizeActions, Resize, ToFloat
from soar.doctor.findings import CheckResult, Timed
from soar.doctor.models import check_eyes, check_imagination, check_rate, examine_models
from soar.doctor.station import Exam, examine
from soar.policies.loading import build_policy
from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.training.policy import debug
from soar.types import Answer, Images, Observation, Question, Task

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
PLAN = EpisodeConfig(prefetch_steps=2)


@pytest.fixture(scope="module")
def exam() -> Exam:
    return examine(StationConfig("arm", "toy"), move=True)


@pytest.fixture(scope="module")
def paced(exam: Exam) -> Exam:
    return replace(exam, config=StationConfig("arm", "toy", realtime=True))


def findings(exams: Sequence[Exam], names: ModelsConfig) -> dict[str, CheckResult]:
    return {f.name: f for f in examine_models(names, exams, PLAN)}


def test_good_models_are_well_in_a_batch_of_stations(exam):
    found = findings([exam, replace(exam, config=StationConfig("b", "toy"))], TOYS)
    assert {f.health for f in found.values()} == {"ok"}, found
    assert "feasible now: move the green block" in found["arm: eyes"].what
    assert "for 2 stations" in found["imagination"].what
    assert set(found) == {
        "eyes", "arm: eyes", "b: eyes", "imagination", "policy", "arm: rate", "b: rate"
    }  # fmt: skip


def test_models_that_are_not_there_are_named_even_without_a_robot():
    found = findings([], ModelsConfig("chat:x@nowhere", "/no/model", "/no/checkpoint"))
    assert [f.health for f in found.values()] == ["failed"] * 3
    assert "names no endpoint" in found["eyes"].what
    assert "no checkpoint in /no/model" in found["imagination"].what
    assert "no checkpoint" in found["policy"].what
    assert {f.health for f in findings([], TOYS).values()} == {"ok"}


def test_a_server_that_is_down_is_a_finding(exam, monkeypatch):
    monkeypatch.setattr("soar.vlm.clients.transport.time.sleep", lambda _: None)
    names = replace(TOYS, vlm="chat:x@http://127.0.0.1:9/v1")
    finding = findings([exam], names)["arm: eyes"]
    assert finding.health == "failed"
    assert "is the server up" in finding.advice


def answers(exam: Exam, p_yes: float | None, raw: str = "") -> Timed[list[Answer]]:
    [known] = ToyVLM().answer([exam.rest.image], [[t.question for t in exam.tasks]])
    present = Answer(Question("Is there a green block present?"), p_yes, raw)
    return Timed([*known, present], (0.1,))


def test_eyes_that_give_no_readable_answer_are_found(exam):
    mute = Timed([Answer(t.question, None, "I see a table") for t in exam.tasks], (0.1,))
    assert check_eyes("eyes", exam.tasks, mute).health == "failed"
    finding = check_eyes("eyes", exam.tasks, answers(exam, 1.5, "150 %"))
    assert finding.health == "warning"
    assert "2 of 3 questions" in finding.what
    assert "'150 %'" in finding.advice


def test_an_object_that_is_not_seen_is_named(exam):
    finding = check_eyes("eyes", exam.tasks, answers(exam, 0.1))
    assert finding.health == "warning"
    assert "not seen: green block" in finding.what


def test_a_scene_in_which_everything_is_done_is_suspicious(exam):
    done = [Answer(t.question, 0.9) for t in exam.tasks]
    present = Answer(Question("Is there a green block present?"), 0.9)
    assert (
        "nothing feasible" in check_eyes("eyes", exam.tasks, Timed([*done, present], (0.1,))).what
    )


class Wrong(ToySubgoals):
    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        return np.stack([o.image[::2, ::2, :1] for o in observations])


def test_images_of_a_wrong_shape_are_found_and_the_policy_is_still_tried(exam, monkeypatch):
    monkeypatch.setattr("soar.robots.toy_models.ToySubgoals", Wrong)
    found = findings([exam], TOYS)
    assert found["imagination"].health == "failed"
    assert "(1, 16, 16, 1) for 1 pictures" in found["imagination"].what
    assert found["policy"].health == "ok"


@pytest.mark.parametrize(("seconds", "health"), [(0.3, "ok"), (0.45, "ok"), (0.6, "warning")])
def test_an_arm_that_waits_for_its_imagination_is_told(exam, paced, seconds, health):
    made = Timed([exam.rest.image], (seconds,))
    assert check_imagination("slow", made, PLAN, paced).health == health
    assert check_imagination("slow", made, PLAN, exam).health == "ok"


def test_blank_images_are_suspicious(exam):
    blank = Timed([np.zeros((8, 8, 3), np.uint8)], (0.1,))
    assert check_imagination("blank", blank, PLAN, exam).health == "warning"


@pytest.mark.parametrize(("act_s", "health"), [(0.01, "ok"), (0.17, "warning"), (0.25, "failed")])
def test_a_policy_too_slow_for_the_period_is_found(exam, paced, act_s, health):
    assert check_rate(paced, act_s).health == health
    assert check_rate(exam, act_s).health == "ok"


@pytest.mark.parametrize(
    ("actions", "health"),
    [
        (np.zeros((1, 7), np.float32), "ok"),
        (np.full((1, 7), 0.2, np.float32), "warning"),
        (np.full((1, 7), np.nan, np.float32), "failed"),
        (np.zeros((2, 7), np.float32), "failed"),
    ],
    ids=["still", "far", "nan", "shape"],
)
def test_actions_that_are_none_are_found(exam, monkeypatch, actions, health):
    monkeypatch.setattr(ToyPolicy, "act", lambda *_, **__: actions)
    assert findings([exam], TOYS)["policy"].health == health


def test_a_checkpoint_is_tried_with_what_it_follows_and_its_resolution(exam, tmp_path):
    recipe = debug()
    torch.manual_seed(0)
    transforms = (Resize(32), ToFloat(), NormalizeActions((0.0,) * 7, (0.01,) * 7))
    id = checkpoints.save(tmp_path, build_policy(recipe.policy, transforms).checkpoint({}))
    names = replace(TOYS, policy=str(tmp_path))
    finding = findings([exam], names)["policy"]
    assert finding.health == "ok"
    assert f"gcbc {id}" in finding.what
    assert "on 32 of 32 px" in finding.what
    words = findings([exam], replace(names, subgoals="none"))["policy"]
    assert words.health == "failed"
    assert "takes goal images, not instructions" in words.what
    seen = replace(exam.rest, image=exam.rest.image[::2, ::2])
    assert exam.exercise is not None
    small = replace(exam, exercise=replace(exam.exercise, rest=seen))
    assert "takes 32 px, the camera gives 16" in findings([small], names)["policy"].what
