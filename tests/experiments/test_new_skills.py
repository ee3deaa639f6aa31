"""A new skill from a few demonstrations: what each arm begins from and learns from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.critics.conftest import make_episode

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.experiments.paper import new_skills
from soar.experiments.paper.new_skills import NewSkillConfig, reproduce_new_skills
from soar.experiments.run_config import RunConfig
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.rounds import Candidate
from soar.improvement.run import Run
from soar.training.critic import CriticTrainConfig
from soar.training.critic import debug as debug_critic
from soar.types import Outcome

TASK = ("stack1", "put the red block on the yellow block")


def small() -> NewSkillConfig:
    return NewSkillConfig(
        demonstrations=2,
        clone=CoTrainConfig(steps=2, batch_size=8, save_every=1, autonomous_share=0.5),
        prior_steps=2,
        steps=2,
        algorithms=("ptr", "robofume"),
        ptr=tiny("ptr"),
        robofume=tiny("robofume"),
    )


def tiny(algorithm: str) -> CriticTrainConfig:
    made = debug_critic(algorithm)
    critic = replace(made.critic, condition="text", resolution=96)
    return CriticTrainConfig(critic, fit=replace(made.fit, steps=2))


@pytest.fixture
def began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Evaluated policies by folder; nothing is simulated, and a policy's attempts are two, the first a success."""
    began: dict[str, str] = {}

    def evaluate(config: RunConfig, candidates: Sequence[Candidate]) -> None:
        [candidate] = candidates
        began[candidate.folder.name] = candidate.policy
        setting = EvalSetting(candidate.policy, "p", "none", (TASK,), 2, 0, 10, 10)
        open_evaluation(candidate.folder, setting)
        add_trials(candidate.folder, [Trial(*TASK, s, "success") for s in range(2)])

    def attempt(config: RunConfig, run: Run, round: int, policy: str, subgoals: str) -> None:
        assert (config.episodes, subgoals) == (50, "none")
        store = open_store(run.store, create=True, codec="png")
        outcomes: tuple[Outcome, ...] = ("success", "failure")
        for seed, outcome in enumerate(outcomes, 1):
            store.append(replace(make_episode(seed, outcome, steps=4), instruction=TASK[1]))

    def demonstrate(path: Path, regime: str, episodes: int, **_: object) -> None:
        store = open_store(path, create=True, codec="png")
        for seed in range(5, 5 + episodes):
            store.append(replace(make_episode(seed, "success", steps=4), instruction=TASK[1]))

    prior = Frames.from_episodes([make_episode(9, "success", steps=4)], 96)
    monkeypatch.setattr(new_skills, "demonstrations", lambda requested: prior)
    monkeypatch.setattr(new_skills, "collect_demonstrations", demonstrate)
    monkeypatch.setattr(new_skills, "collect_in_simulation", attempt)
    monkeypatch.setattr(new_skills, "evaluate_in_simulation", evaluate)
    return began


def test_each_arm_goes_on_from_the_one_before_and_learns_from_what_it_names(
    tmp_path: Path, began: dict[str, str]
) -> None:
    table = reproduce_new_skills(tmp_path, ("stack1",), small(), lambda text: None)
    assert list(began) == [
        "pretrained", "cloning", "cloning-and-own", "ptr", "ptr-and-own", "ptr-own-alone",
        "robofume", "robofume-and-own", "robofume-own-alone",
    ]  # fmt: skip
    assert began["pretrained"] == "lcbc"
    made = {arm: checkpoints.load(policy) for arm, policy in list(began.items())[1:]}
    assert [c.kind for c in made.values()] == ["lcbc"] * 2 + ["critic"] * 6
    prior = {a: checkpoints.load(tmp_path / f"prior-{a}").id for a in ("ptr", "robofume")}
    start = {arm: c.provenance["started_from"] for arm, c in made.items()}
    assert start["cloning-and-own"] == made["cloning"].id
    for algorithm, first in prior.items():
        assert (start[algorithm], start[f"{algorithm}-own-alone"]) == (first, first)
        assert start[f"{algorithm}-and-own"] == made[algorithm].id
        assert made[algorithm].config["algorithm"] == algorithm
    told = {arm: c.provenance for arm, c in made.items()}
    sources = {arm: t.get("mixture") or t["data"] for arm, t in told.items()}
    assert sources["cloning-and-own"]["skill-1"]["episodes"] == 1  # the judged success alone
    assert set(sources["ptr"]) == {"pretraining", "demonstrations"}
    assert sources["ptr-and-own"]["own"]["weight"] == pytest.approx(0.05)
    assert set(sources["ptr-own-alone"]) == {"pretraining", "own"}
    assert set(sources["robofume"]) == {"pretraining", "demonstrations", "failures"}
    assert sources["robofume"]["failures"]["episodes"] == 1  # the judged failure alone
    assert sources["robofume-and-own"]["own"]["weight"] == pytest.approx(0.25)
    assert json.loads(table.with_suffix(".json").read_text())["ptr"]["success"]["value"] == 1.0


def test_cloning_from_scratch_begins_with_fresh_weights_and_keeps_a_share_only_otherwise(
    tmp_path: Path, began: dict[str, str]
) -> None:
    for name, changes in (("scratch", {"from_scratch": True}), ("kept", {"kept_share": 0.5})):
        config = replace(small(), algorithms=(), clone=replace(small().clone, **changes))
        reproduce_new_skills(tmp_path / name, ("stack1",), config, lambda text: None)
    scratch, kept = (
        checkpoints.load(tmp_path / name / "stack1" / "cloning").provenance
        for name in ("scratch", "kept")
    )
    assert scratch["started_from"] is None
    assert kept["averaged_with"] == kept["started_from"]


def test_a_cloning_has_no_limit_of_time() -> None:
    with pytest.raises(ConfigError, match="valid here: steps"):
        replace(small(), clone=CoTrainConfig(minutes=5))
