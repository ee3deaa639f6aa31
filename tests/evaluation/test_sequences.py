"""Sequences of tasks without resets: what is counted, and that they go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.evaluation import sequences
from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.evaluation.sequences import TaskSequence, evaluate_sequences, rates, read_sequences
from soar.sim.scenes.catalog import load_scene


def test_shares_count_the_tasks_that_were_done_in_a_row() -> None:
    found = rates(
        [TaskSequence("1", s, ("a",) * 3, done) for s, done in enumerate((0, 1, 3, 3))], 3
    )
    assert [r.value for r in found.at_least] == [0.75, 0.5, 0.5]
    assert found.mean == 7 / 4
    assert found.sequences == 4
    assert rates([], 2).sequences == 0


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The tasks that were tried together. Nobody acts; all succeed but the second of seed 1,000,001."""
    seen: list[list[str]] = []

    def run(stations, policy, subgoals, config, rng) -> None:
        seen.append([f"{s.name}: {s.proposer.task.instruction}" for s in stations])

    monkeypatch.setattr(sequences, "run_fixed_tasks", run)
    monkeypatch.setattr(sequences, "is_feasible", lambda world, goal: True)
    monkeypatch.setattr(
        "soar.evaluation.envs.SimEvalEnv.fulfilled",
        lambda env: not (env.seed == 1_000_001 and len(seen) == 2),
    )
    return seen


def test_a_failure_ends_its_sequence_and_the_others_go_on(
    tmp_path: Path, attempts: list[list[str]]
) -> None:
    spec, setting = sim_protocol(EvalConfig(trials=2), [load_scene("dev1")])
    found = evaluate_sequences(spec, setting, tmp_path, 3)
    assert [(s.seed, s.done, len(s.instructions)) for s in found] == [
        (1_000_000, 3, 3),
        (1_000_001, 1, 2),
    ]
    assert [len(a) for a in attempts] == [2, 2, 1]
    assert len(set(found[0].instructions)) == 3  # tasks not tried yet come first
    before = list(attempts)
    assert evaluate_sequences(spec, setting, tmp_path, 3) == found
    assert attempts == before
    with pytest.raises(ConfigError, match="another setting"):
        evaluate_sequences(spec, setting, tmp_path, 4)
    assert read_sequences(tmp_path) == found


def test_sequences_in_random_scenes_grow_with_their_number(
    tmp_path: Path, attempts: list[list[str]]
) -> None:
    for number in (1, 2):
        scenes = [load_scene(f"bridge-{1_000_000 + i}") for i in range(number)]
        spec, setting = sim_protocol(EvalConfig(trials=1), scenes)
        found = evaluate_sequences(spec, setting, tmp_path, 1)
        assert len(found) == number
