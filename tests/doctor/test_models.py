"""Trials and checks of the models."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.contract.contract import WIDOWX
from soar.data.transforms import NormalizeActions, Resize, ToFloat
from soar.doctor.model_checks import check_rate, check_subgoals, check_vlm
from soar.doctor.models import try_models
from soar.doctor.results import CheckResult, Timed
from soar.doctor.station import TriedStation, try_station
from soar.policies.loading import build_policy
from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import StationConfig
from soar.training.policy import debug
from soar.types import Answer, EpisodeFrames, Images, Observation, Question, Task, Verdict

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)
EPISODE = EpisodeConfig(prefetch_steps=2)


@pytest.fixture(scope="module")
def tried() -> TriedStation:
    return try_station(StationConfig("arm", "toy"), move=True)


@pytest.fixture(scope="module")
def real_time(tried: TriedStation) -> TriedStation:
    return replace(tried, config=StationConfig("arm", "toy", realtime=True))


def results(stations: Sequence[TriedStation], models: ModelsConfig) -> dict[str, CheckResult]:
    return {r.name: r for r in try_models(models, stations, EPISODE)}


def test_working_models_pass_in_a_batch_of_stations(tried):
    found = results([tried, replace(tried, config=StationConfig("b", "toy"))], TOYS)
    assert {f.health for f in found.values()} == {"ok"}, found
    assert "feasible now: move the green block" in found["arm: VLM"].what
    assert "for 2 stations" in found["subgoals"].what
    shared = {"VLM", "detector", "subgoals", "policy"}
    own = {f"{s}: {c}" for s in ("arm", "b") for c in ("VLM", "contract of the policy", "rate")}
    assert set(found) == shared | own


def test_missing_models_are_named_even_without_a_robot():
    found = results([], ModelsConfig("chat:x@nowhere", "/no/model", "/no/checkpoint"))
    assert [f.health for f in found.values()] == ["failed"] * 3
    assert "names no endpoint" in found["VLM"].what
    assert "no checkpoint in /no/model" in found["subgoals"].what
    assert "no checkpoint" in found["policy"].what
    assert {f.health for f in results([], TOYS).values()} == {"ok"}


def test_an_unavailable_server_fails(tried, monkeypatch):
    monkeypatch.setattr("soar.vlm.clients.transport.time.sleep", lambda _: None)
    models = replace(TOYS, vlm="chat:x@http://127.0.0.1:9/v1")
    result = results([tried], models)["arm: VLM"]
    assert result.health == "failed"
    assert "is the server up" in result.advice


def answers(tried: TriedStation, p_yes: float | None, raw: str = "") -> Timed[list[Answer]]:
    [known] = ToyVLM().answer([tried.rest.image], [[t.question for t in tried.tasks]])
    present = Answer(Question("Is there a green block present?"), p_yes, raw)
    return Timed([*known, present], (0.1,))


def test_a_vlm_without_readable_answers_is_reported(tried):
    mute = Timed([Answer(t.question, None, "I see a table") for t in tried.tasks], (0.1,))
    assert check_vlm("VLM", tried.tasks, mute).health == "failed"
    result = check_vlm("VLM", tried.tasks, answers(tried, 1.5, "150 %"))
    assert result.health == "warning"
    assert "2 of 3 questions" in result.what
    assert "'150 %'" in result.advice


def test_an_unseen_object_is_named(tried):
    result = check_vlm("VLM", tried.tasks, answers(tried, 0.1))
    assert result.health == "warning"
    assert "not seen: green block" in result.what


def test_a_scene_in_which_every_task_is_done_is_reported(tried):
    done = [Answer(t.question, 0.9) for t in tried.tasks]
    present = Answer(Question("Is there a green block present?"), 0.9)
    assert "nothing feasible" in check_vlm("VLM", tried.tasks, Timed([*done, present], (0.1,))).what


class Wrong(ToySubgoals):
    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        return np.stack([o.image[::2, ::2, :1] for o in observations])


def test_subgoals_of_a_wrong_shape_fail_and_the_policy_is_still_tried(tried, monkeypatch):
    monkeypatch.setattr("soar.robots.toy_models.ToySubgoals", Wrong)
    found = results([tried], TOYS)
    assert found["subgoals"].health == "failed"
    assert "(1, 16, 16, 1) for 1 images" in found["subgoals"].what
    assert found["policy"].health == "ok"


def test_a_policy_that_cannot_begin_an_episode_is_a_row_and_no_traceback(tried, monkeypatch):
    def reset(policy: ToyPolicy) -> None:
        raise OSError("its server is away")

    monkeypatch.setattr(ToyPolicy, "reset", reset)
    found = results([tried], TOYS)
    assert found["policy"].health == "failed"
    assert "its server is away" in found["policy"].what


def test_the_policy_is_tried_as_it_is_run_spread_and_instructed(tried, monkeypatch):
    told, acted = [], []

    class Told(ToyPolicy):
        contract = WIDOWX

        def instruct(self, instructions: Sequence[str]) -> None:
            told.append(list(instructions))

        def act(self, *inputs, **options):
            acted.append(told[-1])
            return super().act(*inputs, **options)

    monkeypatch.setattr("soar.robots.toy_models.ToyPolicy", Told)
    found = results([tried], TOYS)
    assert found["policy"].health == "ok"
    assert told == [[tried.tasks[0].instruction]]
    fast = replace(tried, contract=replace(tried.contract, period_s=0.1))
    assert results([fast], TOYS)["arm: contract of the policy"].health != "ok"
    found = results([fast], replace(TOYS, spread=2))
    assert found["arm: contract of the policy"].health == "ok"
    assert found["policy"].health == "ok"


def test_the_subgoal_generator_gets_no_state_of_another_arm_as_in_a_collection(tried, monkeypatch):
    seen: list[Observation] = []

    class Seeing(ToySubgoals):
        def generate(self, observations, tasks, rng):
            seen.extend(observations)
            return super().generate(observations, tasks, rng)

    monkeypatch.setattr("soar.robots.toy_models.ToySubgoals", Seeing)
    other = replace(tried.contract, state=replace(tried.contract.state, angle="deg"))
    results([replace(tried, contract=other)], TOYS)
    assert seen
    assert all(np.isnan(o.state).all() for o in seen)


@pytest.mark.parametrize(("seconds", "health"), [(0.3, "ok"), (0.45, "ok"), (0.6, "warning")])
def test_waiting_for_subgoals_is_reported(tried, real_time, seconds, health):
    generated = Timed([tried.rest.image], (seconds,))
    assert check_subgoals("slow", generated, EPISODE, real_time).health == health
    assert check_subgoals("slow", generated, EPISODE, tried).health == "ok"


def test_blank_subgoals_are_reported(tried):
    blank = Timed([np.zeros((8, 8, 3), np.uint8)], (0.1,))
    assert check_subgoals("blank", blank, EPISODE, tried).health == "warning"


@pytest.mark.parametrize(("act_s", "health"), [(0.01, "ok"), (0.17, "warning"), (0.25, "failed")])
def test_a_policy_too_slow_for_the_period_is_reported(tried, real_time, act_s, health):
    assert check_rate(real_time, act_s).health == health
    assert check_rate(tried, act_s).health == "ok"


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
def test_invalid_actions_are_reported(tried, monkeypatch, actions, health):
    monkeypatch.setattr(ToyPolicy, "act", lambda *_, **__: actions)
    assert results([tried], TOYS)["policy"].health == health


def test_a_checkpoint_is_tried_with_its_goals_and_resolution(tried, tmp_path):
    recipe = debug()
    torch.manual_seed(0)
    transforms = (Resize(32), ToFloat(), NormalizeActions((0.0,) * 7, (0.01,) * 7))
    id = checkpoints.save(tmp_path, build_policy(recipe.policy, transforms).checkpoint({}))
    models = replace(TOYS, policy=str(tmp_path))
    result = results([tried], models)["policy"]
    assert result.health == "ok"
    assert f"gcbc {id}" in result.what
    assert "on 32 of 32 px" in result.what
    instructed = results([tried], replace(models, subgoals="none"))["policy"]
    assert instructed.health == "failed"
    assert "takes goal images, not instructions" in instructed.what
    observation = replace(tried.rest, image=tried.rest.image[::2, ::2])
    assert tried.trial is not None
    small = replace(tried, trial=replace(tried.trial, rest=observation))
    assert "takes 32 px, the camera gives 16" in results([small], models)["policy"].what


class Detector:
    """Gives the same probability of success to every episode."""

    name = "constant"

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.p: float | None = 0.1

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        return [Verdict("success" if self.p == 1 else "failure", self.p) for _ in episodes]


@pytest.mark.parametrize(("p", "health"), [(0.1, "ok"), (1, "warning"), (7.0, "failed")])
def test_a_success_detector_of_your_own_is_tried(tried, monkeypatch, p, health):
    def make(threshold: float) -> Detector:
        detector = Detector(threshold)
        detector.p = p
        return detector

    monkeypatch.setattr("soar.robots.toy_models.make_detector", make, raising=False)
    models = replace(TOYS, detector="python:soar.robots.toy_models:make_detector", threshold=0.7)
    result = results([tried], models)["detector"]
    assert result.health == health
    said = "p_success is 7.0" if p == 7 else "constant, success from P = 0.7; judges in"
    assert said in result.what
