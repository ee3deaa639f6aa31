"""What a policy pursues: images or instructions, told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.policies.identity import check_goals
from soar.rollout.models import ModelsConfig
from soar.sim.scenes.catalog import load_scene


@pytest.mark.parametrize(
    ("policy", "subgoals"),
    [
        ("gcbc", "compact"),
        ("gcbc", "susie:folder"),
        ("lcbc", "none"),
        ("steered:lcbc,critic", "none"),
        ("openpi:ws://gpu:8000", "none"),
        ("openpi:ws://gpu:8000", "compact"),
    ],
)
def test_what_fits_passes(policy: str, subgoals: str) -> None:
    check_goals(policy, subgoals)


@pytest.mark.parametrize(
    ("policy", "subgoals", "valid"),
    [
        ("gcbc", "none", "valid: subgoals compact or another generator"),
        ("lcbc", "compact", "valid: subgoals none, not compact"),
    ],
)
def test_an_evaluation_and_a_collection_refuse_what_does_not_fit(
    policy: str, subgoals: str, valid: str
) -> None:
    with pytest.raises(ConfigError, match=valid):
        sim_protocol(EvalConfig(policy, subgoals), [load_scene("dev1")])
    with pytest.raises(ConfigError, match=valid):
        ModelsConfig(policy=policy, subgoals=subgoals).load()


def test_a_steered_policy_needs_what_its_policy_needs() -> None:
    with pytest.raises(ConfigError, match="reaches images"):
        check_goals("steered:gcbc,critic", "none")


def test_a_runs_folder_stands_for_its_models(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        '{"models": {"policy": "lcbc", "subgoals": "none"}, "rounds": []}'
    )
    check_goals(str(tmp_path), str(tmp_path))
    with pytest.raises(ConfigError, match="follows instructions alone"):
        check_goals(str(tmp_path), "compact")
