"""One critic and several policies, as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from soar.errors import CheckpointError, ConfigError
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.paper import arms as studies
from soar.experiments.paper import steering
from soar.experiments.paper.steering import reproduce_steering
from soar.experiments.run_config import RunConfig
from soar.improvement.rounds import Candidate

TASK = ("dev1", "open the drawer")
SUCCESSES = {"best": 3, "random": 1, "worst": 0}
"""Of four trials, by what the critic chooses; 2 without it."""


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    seen: list[Candidate] = []

    def evaluate(config: RunConfig, candidates: Sequence[Candidate]) -> None:
        [candidate] = candidates
        seen.append(candidate)
        count = next((n for c, n in SUCCESSES.items() if f"select={c}" in candidate.policy), 2)
        setting = EvalSetting("id", candidate.policy, candidate.subgoals, (TASK,), 4, 0, 10, 10)
        open_evaluation(candidate.folder, setting)
        add_trials(
            candidate.folder,
            [Trial(*TASK, s, "success" if s < count else "failure") for s in range(4)],
        )

    monkeypatch.setattr(studies, "evaluate_in_simulation", evaluate)
    monkeypatch.setattr(steering, "load_critic", lambda name: None)
    return seen


def test_each_policy_is_compared_with_itself_alone(
    tmp_path: Path, evaluated: list[Candidate]
) -> None:
    table = reproduce_steering(
        tmp_path, "words", ["lcbc"], ["gcbc"], RunConfig(scenes=("dev1",)), lambda text: None, "count=4"
    )  # fmt: skip
    assert [(c.policy, c.subgoals) for c in evaluated] == [
        ("gcbc", "compact"),
        *((f"steered:gcbc,words?select={c}&count=4", "compact") for c in SUCCESSES),
        ("lcbc", "none"),
        *((f"steered:lcbc,words?select={c}&count=4", "none") for c in SUCCESSES),
    ]
    numbers = json.loads(table.with_suffix(".json").read_text())
    for policy in ("gcbc", "lcbc"):
        found = {c: n["difference"]["value"] for c, n in numbers[policy].items()}
        assert found == {"alone": 0.0, "best": 0.25, "random": -0.25, "worst": -0.5}
    assert len(table.read_text().splitlines()) == 4


def test_a_mistake_is_named_before_anything_is_evaluated(
    tmp_path: Path, evaluated: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(policies: list[str], instructed: list[str]) -> None:
        reproduce_steering(
            tmp_path, str(tmp_path), instructed, policies, RunConfig(), lambda t: None
        )

    for policies, instructed in (([], []), (["gcbc"], ["gcbc"]), (["gcbc", "gcbc"], [])):
        with pytest.raises(ConfigError, match="each once"):
            run(policies, instructed)
    with pytest.raises(ConfigError, match="steered already"):
        run(["steered:gcbc,words"], [])
    monkeypatch.undo()
    with pytest.raises(CheckpointError):
        run(["gcbc"], [])
    assert not evaluated
