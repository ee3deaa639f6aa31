"""What the simulator knew about a collection's episodes, and the table of which module fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tests.critics.conftest import make_episode

from soar.data.store.lance import LanceStore, open_store
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.paper import appendix_g, arms, observed
from soar.experiments.paper.appendix_g import (
    expert_success,
    random_proposals,
    reproduce_appendix_g,
)
from soar.experiments.paper.hallucinations import (
    Flags,
    Hallucinations,
    count,
    find_hallucinations,
)
from soar.experiments.paper.observed import (
    Attempt,
    Observer,
    feasible,
    forget_lost,
    precision,
    read_attempts,
    success,
)
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.experiments.simulated_run import collect_in_simulation
from soar.improvement.rounds import Candidate
from soar.improvement.run import Run
from soar.interfaces import VisionLanguageModel
from soar.rollout.callbacks import Callback
from soar.types import Answer, Image, Question, Subgoal
from soar.utils.files import append_lines

MADE = [
    Attempt("1", "a", True, 0.5, True, "success"),
    Attempt("1", "a", True, 0.5, False, "success"),
    Attempt("1", "b", False, 0.25, False, "failure"),
    Attempt("1", "b", True, 0.75, False, "unknown"),
]


def test_shares_are_of_what_they_say() -> None:
    assert success(MADE).value == pytest.approx(1 / 3)  # of the feasible ones
    assert precision(MADE).value == 0.5  # of those judged a success
    assert feasible(MADE).value == 0.75
    assert random_proposals(MADE) == 0.5


def test_an_observer_asks_the_simulator_of_each_episode(tmp_path: Path) -> None:
    config = RunConfig(
        scenes=("dev1",), episodes=1, steps_per_subgoal=50, collect=CollectOptions(stations=1)
    )
    path = tmp_path / "observed.jsonl"
    collect_in_simulation(config, Run(tmp_path), 1, "gcbc", "compact", [Observer(path)])
    [attempt] = read_attempts(path)
    assert attempt.scene == "dev1"
    assert 0 < attempt.feasible_share <= 1
    assert attempt.done <= attempt.feasible


def test_the_table_names_what_each_module_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(config: RunConfig, candidates: Sequence[Candidate]) -> None:
        [candidate] = candidates
        won = {"compact": 1, "expert:compact": 2, "expert": 3}[candidate.subgoals]
        setting = EvalSetting("id", "gcbc", candidate.subgoals, (("1", "a"),), 4, 0, 10, 10)
        open_evaluation(candidate.folder, setting)
        trials = [Trial("1", "a", s, "success" if s < won else "failure") for s in range(4)]
        add_trials(candidate.folder, trials)

    def collect(
        config: RunConfig, run: Run, round: int, policy: str, subgoals: str, callbacks: Sequence[Callback]
    ) -> None:  # fmt: skip
        assert config.collect.stations == 1
        open_store(run.store, create=True)
        append_lines(run.folder / "observed.jsonl", [asdict(a) for a in MADE])

    def hallucinations(store: LanceStore, vlm: VisionLanguageModel) -> Hallucinations:
        wrong = count([Flags(np.array([True, False, False]), np.array([False, False, True]))])
        return Hallucinations(wrong, wrong)

    monkeypatch.setattr(arms, "evaluate_in_simulation", evaluate)
    monkeypatch.setattr(appendix_g, "find_hallucinations", hallucinations)
    monkeypatch.setattr(observed, "collect_in_simulation", collect)
    config = RunConfig(scenes=("dev1",), trials=1, steps_per_subgoal=50)
    table = reproduce_appendix_g(tmp_path, config, print)
    numbers = json.loads((tmp_path / "appendix-g.json").read_text())
    assert (numbers["system"]["value"], numbers["expert_subgoals"]["value"]) == (0.25, 0.75)
    assert numbers["expert_keypoints"]["value"] == 0.5
    assert numbers["subgoals_cost"]["value"] == 0.5
    assert numbers["expert"]["value"] >= 0.75  # of the four tasks
    assert numbers["hallucinations"]["subgoals"]["lost"]["value"] == pytest.approx(1 / 3)
    assert "| what the generator's subgoals cost | +50 [" in table.read_text()
    assert "| keypoints by an expert, rendered by the generator | 50% [" in table.read_text()
    assert "4 episodes; at random 50%" in table.read_text()


def test_lost_and_made_up_objects_are_those_of_which_the_answer_turned(tmp_path: Path) -> None:
    """Three subgoals: as before, without the object, with one that isn't there; the camera's images all alike."""

    class Pixel:
        """Says yes where the first pixel's red (objects of the task) or green (others) says so."""

        name = "pixel"

        def answer(
            self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
        ) -> list[list[Answer]]:
            known = {q.text for q in questions[0][:2]}
            return [
                [Answer(q, float(i[0, 0, 0 if q.text in known else 1] > 0), "") for q in asked]
                for i, asked in zip(images, questions, strict=True)
            ]

    def image(red: int, green: int) -> Image:
        return np.full((16, 16, 3), (red, green, 0), np.uint8)

    store = open_store(tmp_path / "store", create=True, codec="png")
    made = make_episode(1, "failure", steps=6, instruction="put the pink block in the gray bowl")
    shown = (image(255, 0), image(0, 0), image(255, 255))
    store.append(
        replace(
            made,
            images=np.stack([image(255, 0)] * 7),
            subgoals=tuple(Subgoal(s, at) for s, at in zip(shown, (0, 2, 4), strict=True)),
            provenance=replace(made.provenance, scene="dev1"),
        )
    )
    subgoals, camera = find_hallucinations(store, Pixel())
    assert (subgoals.lost.value, subgoals.made_up.value) == pytest.approx((1 / 3, 1 / 3))
    assert subgoals.recovered.value == 0  # after the lost object comes the made-up one
    assert (camera.lost.value, camera.made_up.value) == (0, 0)


def test_lines_of_episodes_that_were_not_stored_are_forgotten(tmp_path: Path) -> None:
    store, path = (
        open_store(tmp_path / "store", create=True, codec="png"),
        tmp_path / "observed.jsonl",
    )
    stations = ["arm1", "arm2", "arm1", "arm1"]
    lines = [
        asdict(replace(MADE[0], station=s, instruction=f"{i}")) for i, s in enumerate(stations)
    ]
    append_lines(path, lines)
    for seed, station in enumerate(("arm1", "arm2", "arm1")):
        episode = make_episode(seed, "success", steps=4)
        store.append(replace(episode, provenance=replace(episode.provenance, station=station)))
    forget_lost(path, tmp_path / "store")
    forget_lost(path, tmp_path / "store")
    assert [a.instruction for a in read_attempts(path)] == ["0", "1", "2"]


def test_an_expert_does_only_the_trials_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def attempt(scene: object, task: object, seed: int, steps: int) -> bool:
        tried.append(seed)
        return seed % 2 == 0

    monkeypatch.setattr(appendix_g, "_expert_trial", attempt)
    path, config = tmp_path / "expert.jsonl", RunConfig(scenes=("dev7",), trials=1, first_seed=4)
    assert expert_success(path, config).value == 1
    first = len(tried)
    assert expert_success(path, replace(config, trials=2)).value == 0.5
    assert tried == [4] * first + [5] * first
