"""The paper's third question: proposals and attempts of a collection, beside collections with one thing changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from soar.experiments.paper import proposals
from soar.experiments.paper.observed import Attempt, read_attempts
from soar.experiments.paper.proposals import (
    ARMS,
    FixedNoise,
    RandomTasks,
    TrueFeasibility,
    path_spread,
    reproduce_proposals,
    task_entropy,
)
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.rollout.models import ModelsConfig
from soar.tasks.grammar import task_from_instruction
from soar.types import Answer, Image, Images, Observation, Question, Task

TASKS = tuple(map(task_from_instruction, ("open the drawer", "close the drawer", "fold the cloth")))
SEEN = Observation(np.zeros((8, 8, 3), np.uint8), np.zeros(7, np.float32), 0.0)


class Silent:
    """A VLM that nobody should ask."""

    name = "silent"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        raise AssertionError


def proposed(proposer: RandomTasks) -> set[str]:
    rng = np.random.default_rng(0)
    return {proposer.propose(SEEN, {}, {}, rng).task.instruction for _ in range(30)}


def test_random_tasks_are_all_proposed_and_feasible_ones_alone_once_known() -> None:
    every = {t.instruction for t in TASKS}
    assert proposed(RandomTasks(TASKS, Silent())) == every
    told = TrueFeasibility(TASKS, Silent())
    assert proposed(told) == every
    told.feasible = TASKS[1:]
    assert proposed(told) == {"close the drawer", "fold the cloth"}


def test_the_noise_is_the_same_at_every_call() -> None:
    class Drawing:
        name = "drawing"

        def generate(
            self, observations: list[Observation], tasks: list[Task], rng: np.random.Generator
        ) -> Images:
            return rng.integers(0, 256, (len(observations), 4, 4, 3), np.uint8)

    generator, rng = FixedNoise(Drawing()), np.random.default_rng(3)  # type: ignore[arg-type]
    first, second = (generator.generate([SEEN], TASKS[:1], rng) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_entropy_and_spread_are_those_of_a_scene_and_of_a_task() -> None:
    made = [Attempt("1", i, True, 0.5, False, "failure") for i in ("a", "a", "b", "b")]
    other = [Attempt("2", "c", True, 0.5, False, "failure")]
    assert task_entropy(made + other) == pytest.approx(1)
    assert task_entropy(made[:3]) == pytest.approx(0.918, abs=1e-3)
    assert task_entropy(other) is None
    still = np.zeros((20, 3))
    assert path_spread([[still, still + np.array([0.03, 0.04, 0])], [still]]) == pytest.approx(0.05)
    assert path_spread([[still]]) is None


def test_every_arm_collects_with_what_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arm in ARMS.values():
        ModelsConfig(proposer=arm.proposer)  # is a valid name
    monkeypatch.setattr(
        proposals, "ARMS", {n: ARMS[n] for n in ("true-feasibility", "fixed-noise")}
    )
    config = RunConfig(
        scenes=("dev1",), episodes=2, steps_per_subgoal=50, collect=CollectOptions(stations=1)
    )
    table = reproduce_proposals(tmp_path, config, print)
    found = json.loads((tmp_path / "proposals.json").read_text())
    assert set(found) == {"true-feasibility", "fixed-noise"}
    assert read_attempts(tmp_path / "true-feasibility" / "observed.jsonl")[1].feasible
    assert "| fixed-noise | " in table.read_text()
    assert table.with_suffix(".png").exists()
