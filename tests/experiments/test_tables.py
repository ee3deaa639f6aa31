"""Tables of methods: arms that learn from the same episodes, evaluated from the same starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from tests.critics.conftest import make_episode

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError, StoreError
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.learning import plan_learning
from soar.experiments.paper import arms as studies
from soar.experiments.paper.arms import LCBC, Arm
from soar.experiments.paper.tables import TABLE1, TABLE2, TableSpec, methods_table, reproduce_table
from soar.experiments.run_config import RunConfig
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.hindsight import HindsightConfig
from soar.improvement.methods.method import MethodName
from soar.improvement.rounds import Candidate
from soar.policies.identity import policy_identity
from soar.tasks.grammar import parse_instruction
from soar.training.policy import debug, train_policy

TASK = ("1", "open the drawer")


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """The candidates that were evaluated; every policy but the first succeeds in each second of four trials."""
    seen: list[Candidate] = []

    def evaluate(config: RunConfig, candidates: Sequence[Candidate]) -> None:
        [candidate] = candidates
        good = {c.policy for c in seen[:1]} - {candidate.policy}
        seen.append(candidate)
        identity = policy_identity(candidate.policy)
        setting = EvalSetting(identity.id, identity.kind, candidate.subgoals, (TASK,), 4, 0, 10, 10)
        open_evaluation(candidate.folder, setting)
        add_trials(
            candidate.folder,
            [Trial(*TASK, s, "success" if good and s % 2 else "failure") for s in range(4)],
        )

    monkeypatch.setattr(studies, "evaluate_in_simulation", evaluate)
    return seen


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A store of a success and a failure in scene 1, with a policy beside it."""
    store = open_store(tmp_path / "given", create=True, codec="png")
    store.append(make_episode(1, "success", steps=8))
    store.append(make_episode(2, "failure", steps=8))
    frames = Frames.from_episodes([make_episode(7, "success", steps=8)], 32)
    train_policy(debug(), [Source("pretraining", frames, 1.0)], tmp_path / "policy")
    return tmp_path / "given"


def config() -> RunConfig:
    return RunConfig(
        fit=CoTrainConfig(steps=2, batch_size=8, save_every=1),
        hindsight=HindsightConfig(min_motion_m=0.0),
        demonstrations="none",
        generated_goals=0.0,
    )


def test_an_arm_learns_from_the_given_episodes_and_is_compared_start_by_start(
    tmp_path: Path, given: Path, evaluated: list[Candidate]
) -> None:
    policy = str(tmp_path / "policy")
    spec = TableSpec(
        "methods",
        {"pretrained": Arm(policy=policy), "hindsight, pooled": Arm("hindsight", policy, pooled=True)},
        {"pretrained": 0.28},
    )  # fmt: skip
    said: list[str] = []
    table = reproduce_table(spec, tmp_path / "study", config(), said.append, given)
    learned = tmp_path / "study" / "arms" / "hindsight-pooled" / "learned-all"
    assert [c.policy for c in evaluated] == [policy, str(learned / "train" / "round-1")]
    assert {c.subgoals for c in evaluated} == {"compact"}  # hindsight alone leaves them as they are
    numbers = json.loads(table.with_suffix(".json").read_text())
    assert numbers["pretrained"]["paper"] == 0.28
    assert numbers["hindsight, pooled"]["success"]["value"] == 0.5
    assert numbers["hindsight, pooled"]["difference"]["value"] == 0.5
    assert "| open the drawer (1) | 0% | 50% |" in table.read_text()
    assert table.with_suffix(".png").exists()
    log = (learned / "train" / "round-1" / "log.jsonl").read_bytes()
    reproduce_table(spec, tmp_path / "study", config(), said.append, given)
    assert (learned / "train" / "round-1" / "log.jsonl").read_bytes() == log  # it goes on


@pytest.mark.parametrize("spec", [TABLE1, TABLE2, methods_table(("hindsight", "lcbc", "robofume"))])
def test_an_arm_is_compared_with_the_policy_that_it_began_with(spec: TableSpec) -> None:
    for name, arm in spec.arms.items():
        baseline = spec.arms[spec.baseline(name)]
        assert (baseline.method, baseline.policy) == (None, arm.policy)


METHODS: tuple[MethodName, ...] = tuple(m for m in get_args(MethodName) if m != "external")


@pytest.mark.parametrize("spec", [TABLE1, TABLE2, methods_table(METHODS)])
def test_every_arm_of_a_table_can_learn(spec: TableSpec) -> None:
    tasks = (parse_instruction("put the spoon in the pot"),)
    for arm in [arm for arm in spec.arms.values() if arm.method]:
        policy, subgoals = arm.policy or "gcbc", arm.subgoals or "compact"
        asked = RunConfig(method=arm.method, policy=policy, subgoals=subgoals)
        assert plan_learning(asked, tasks, print).method == arm.method


def test_arms_that_name_no_models_begin_with_the_studys(
    tmp_path: Path, given: Path, evaluated: list[Candidate]
) -> None:
    """`soar reproduce methods --policy X --subgoals Y` learns from and compares with these, not the packaged ones."""
    policy = str(tmp_path / "policy")
    asked = replace(config(), policy=policy, subgoals="expert")
    spec = methods_table(("hindsight",))
    reproduce_table(spec, tmp_path / "study", asked, print, given)
    trained = tmp_path / "study" / "arms" / "hindsight" / "learned-1" / "train" / "round-1"
    assert [c.policy for c in evaluated] == [policy, str(trained)]
    assert {c.subgoals for c in evaluated} == {"expert"}
    before, after = (checkpoints.load(folder).config for folder in (policy, trained))
    assert after == before


def test_an_arm_without_anything_to_learn_is_left_out(
    tmp_path: Path, given: Path, evaluated: list[Candidate]
) -> None:
    policy = str(tmp_path / "policy")
    spec = TableSpec("t", {"pretrained": Arm(policy=policy), "h": Arm("hindsight", policy)})
    said: list[str] = []
    never = replace(config(), hindsight=HindsightConfig(outcomes=("unknown",)))
    table = reproduce_table(spec, tmp_path / "study", never, said.append, given)
    assert table.read_text().startswith("| task (scene) | pretrained |\n")
    assert any(line.startswith("h: nothing to learn: no episode") for line in said)


def test_a_study_keeps_to_its_episodes(tmp_path: Path, given: Path) -> None:
    run = lambda store: reproduce_table(TABLE1, tmp_path / "study", config(), print, store)  # noqa: E731
    with pytest.raises(StoreError, match="no episode store"):
        run(tmp_path / "missing")
    open_store(tmp_path / "study" / "store", create=True)
    with pytest.raises(ConfigError, match="has other episodes"):
        run(given)


def test_methods_begin_from_the_policy_that_they_train() -> None:
    arms = methods_table(("hindsight", "lcbc", "dial", "robofume")).arms
    assert arms["hindsight"] == Arm("hindsight")
    assert {arms[n].policy for n in ("lcbc", "dial")} == {"lcbc"}
    assert {arms[n].subgoals for n in ("lcbc", "dial", "robofume")} == {"none"}
    pooled = methods_table(("hindsight", "lcbc"), pooled=True).arms
    assert pooled == {
        "pretrained": Arm(),
        "lcbc, pretrained": LCBC,
        "hindsight, all scenes": Arm("hindsight", pooled=True),
        "lcbc, all scenes": Arm("lcbc", "lcbc", "none", pooled=True),
    }
    assert methods_table(("hindsight",)).arms == {
        "pretrained": Arm(),
        "hindsight": Arm("hindsight"),
    }
    with pytest.raises(ConfigError, match="external needs"):
        methods_table(("external",))


def test_a_study_has_no_limit_of_time(tmp_path: Path, given: Path) -> None:
    limited = replace(config(), fit=CoTrainConfig(minutes=5))
    with pytest.raises(ConfigError, match="valid here: steps"):
        reproduce_table(TABLE2, tmp_path / "study", limited, lambda text: None, given)
    assert not (tmp_path / "study").exists()
