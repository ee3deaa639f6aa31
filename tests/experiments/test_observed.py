"""What the simulator knew about a collection's episodes, and the table of which module fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.paper import appendix_g, arms
from soar.experiments.paper.appendix_g import random_proposals, reproduce_appendix_g
from soar.experiments.paper.observed import (
    Attempt,
    Observer,
    feasible,
    precision,
    read_attempts,
    success,
)
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.experiments.simulated_run import collect_in_simulation
from soar.improvement.rounds import Candidate
from soar.improvement.run import Run
from soar.rollout.callbacks import Callback
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
        won = 3 if candidate.subgoals == "expert" else 1
        setting = EvalSetting("id", "gcbc", candidate.subgoals, (("1", "a"),), 4, 0, 10, 10)
        open_evaluation(candidate.folder, setting)
        trials = [Trial("1", "a", s, "success" if s < won else "failure") for s in range(4)]
        add_trials(candidate.folder, trials)

    def collect(
        config: RunConfig, run: Run, round: int, policy: str, subgoals: str, callbacks: Sequence[Callback]
    ) -> None:  # fmt: skip
        assert config.collect.stations == 1
        append_lines(run.folder / "observed.jsonl", [asdict(a) for a in MADE])

    monkeypatch.setattr(arms, "evaluate_in_simulation", evaluate)
    monkeypatch.setattr(appendix_g, "collect_in_simulation", collect)
    table = reproduce_appendix_g(tmp_path, RunConfig(), print)
    numbers = json.loads((tmp_path / "appendix-g.json").read_text())
    assert (numbers["system"]["value"], numbers["expert_subgoals"]["value"]) == (0.25, 0.75)
    assert numbers["subgoals_cost"]["value"] == 0.5
    assert "| what the generator's subgoals cost | +50 [" in table.read_text()
    assert "4 episodes; at random 50%" in table.read_text()
