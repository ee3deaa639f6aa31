"""Steered policies and chosen subgoals by name, as every command takes them."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.critics.conftest import TINY

from soar import checkpoint
from soar.critics.learning.learner import CriticLearner
from soar.critics.steering import SteeredPolicy
from soar.critics.subgoal_choice import ChosenSubgoals
from soar.data.transforms import Resize, ToFloat
from soar.errors import ConfigError
from soar.policies.identity import policy_identity
from soar.promotion import promoted_models
from soar.registry import load_policy, load_subgoals, policy_spec, subgoals_spec
from soar.types import Observation

OBSERVATION = Observation(np.zeros((64, 64, 3), np.uint8), np.zeros(7, np.float32), 0.0)


@pytest.fixture
def critic(tmp_path: Path) -> Path:
    made = CriticLearner(TINY, (Resize(16), ToFloat())).checkpoint({})
    checkpoint.save(tmp_path / "critic", made)
    return tmp_path / "critic"


def test_a_steered_policy_has_a_name_for_every_command(critic: Path) -> None:
    policy = load_policy(f"steered:gcbc,{critic}?count=4&select=worst")
    assert isinstance(policy, SteeredPolicy)
    assert (policy.config.count, policy.config.select) == (4, "worst")
    goals = np.zeros((1, 64, 64, 3), np.uint8)
    assert policy.act([OBSERVATION], goals, np.random.default_rng(0)).shape == (1, 7)


def test_steering_with_other_settings_is_another_policy(critic: Path) -> None:
    names = [f"steered:gcbc,{critic}?select={s}" for s in ("best", "random", "worst")]
    assert len({policy_identity(n) for n in names}) == 3


def test_chosen_subgoals_keep_their_generators_horizon(critic: Path) -> None:
    name = f"chosen:compact@16,{critic}?count=2"
    spec = subgoals_spec(name)
    assert spec.steps_per_subgoal == subgoals_spec("compact@16").steps_per_subgoal
    generator = load_subgoals(name)
    assert isinstance(generator, ChosenSubgoals)
    assert generator.config.count == 2


def test_a_run_inside_a_name_is_replaced_by_what_it_promoted(tmp_path: Path) -> None:
    record = {"rounds": [], "models": {"policy": "gcbc", "subgoals": "compact"}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert promoted_models(f"steered:{tmp_path},c?count=3")[0] == "steered:gcbc,c?count=3"
    assert promoted_models(f"chosen:{tmp_path},c")[1] == "chosen:compact,c"
    assert promoted_models("steered:gcbc")[0] == "steered:gcbc"  # not complete, as its parser says


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("steered:gcbc", "valid: steered:POLICY,CRITIC_FOLDER"),
        ("steered:gcbc,c?counts=3", "valid after '?': count=..."),
        ("steered:gcbc,c?count=many", "must be a whole number"),
    ],
)
def test_an_incomplete_name_is_refused_with_the_valid_form(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        policy_spec(name)
    assert message in str(error.value)


def test_a_wrong_setting_is_refused(critic: Path) -> None:
    with pytest.raises(ConfigError, match="select"):
        load_policy(f"steered:gcbc,{critic}?select=luckiest")


def test_a_critic_with_instructions_does_not_choose_among_subgoals(tmp_path: Path) -> None:
    from dataclasses import replace

    made = CriticLearner(replace(TINY, condition="text"), (Resize(16), ToFloat())).checkpoint({})
    checkpoint.save(tmp_path, made)
    with pytest.raises(ConfigError, match="valid to choose among subgoals"):
        load_subgoals(f"chosen:compact,{tmp_path}")
