"""Appendix D from collected episodes: the detector's errors, and success in seen and unseen scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.critics.conftest import make_episode

from soar.data.store.lance import open_store
from soar.experiments.paper import appendix_d
from soar.experiments.paper.appendix_d import reproduce_appendix_d
from soar.experiments.run_config import RunConfig
from soar.improvement.run import Run
from soar.types import Episode, Outcome, Regime


def episode(seed: int, outcome: Outcome, truth: bool, regime: Regime) -> Episode:
    made = make_episode(seed, outcome)
    return replace(made, provenance=replace(made.provenance, truth=truth, regime=regime))


def test_judged_and_true_success_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = {
        "gcbc": [
            episode(1, "success", True, "bridge"),
            episode(2, "failure", True, "bridge"),
            episode(3, "success", False, "soar"),
            episode(4, "unknown", False, "soar"),
        ],
        "lcbc": [episode(5, "failure", False, "soar")],
    }

    def collect(config: RunConfig, run: Run, round: int, policy: str, subgoals: str) -> None:
        assert (config.policy, config.subgoals) == (policy, subgoals)
        store = open_store(run.store, create=True, codec="png")
        for made in collected[policy]:
            store.append(made)

    monkeypatch.setattr(appendix_d, "collect_in_simulation", collect)
    table = reproduce_appendix_d(tmp_path, RunConfig(), print)
    numbers = json.loads(table.with_suffix(".json").read_text())
    assert numbers["detector"]["judged"] == 4
    assert numbers["detector"]["unknown"] == 1
    assert numbers["detector"]["precision"]["value"] == 0.5
    assert numbers["detector"]["recall"]["value"] == 0.5
    system = numbers["collection"]["system"]
    assert (system["seen"]["judged"]["value"], system["seen"]["true"]["value"]) == (0.5, 1.0)
    assert (system["unseen"]["judged"]["value"], system["unseen"]["true"]["value"]) == (0.5, 0.0)
    assert set(numbers["collection"]["lcbc"]) == {"unseen"}
    assert "| lcbc | unseen | 0% [0%, " in table.read_text()
    assert table.with_suffix(".png").exists()
