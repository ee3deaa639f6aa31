"""Methods of improvement on a small store of own episodes: what each learns from, and leaves behind."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.critics.conftest import make_episode

from soar import checkpoint as checkpoints
from soar.critics.actor_policy import ActorPolicy
from soar.data.frame_cache import Frames
from soar.data.mixture import Mixture, Source
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, SoarError
from soar.experiments.learning import plan_learning
from soar.experiments.run_config import RunConfig
from soar.improvement.cotraining import CoTrainConfig, CoTraining
from soar.improvement.external import ExternalConfig, ExternalTraining
from soar.improvement.methods.advantage import AdvantageConfig, AdvantageMethod
from soar.improvement.methods.critic import CriticConfig, CriticMethod, chosen_actions, own_frames
from soar.improvement.methods.dial import Dial, DialConfig
from soar.improvement.methods.hindsight import Hindsight, HindsightConfig
from soar.improvement.methods.method import (
    CollectingMethod,
    FinishingMethod,
    NothingToLearnError,
    OwnEpisodes,
)
from soar.improvement.offline_actor import OfflineActorConfig, OfflineActorTraining
from soar.improvement.run import Run
from soar.policies.behavior_cloning import LARGE, SMALL
from soar.policies.loading import load_policy, with_advantage
from soar.promotion import trained_policy
from soar.registry import load_policy as load_by_name
from soar.subgoals.images_only import compact as images_only
from soar.tasks.grammar import task_from_instruction
from soar.training.critic import debug as debug_critic
from soar.training.fit import FitConfig
from soar.training.policy import debug, train_policy
from soar.types import EpisodeFrames, Observation, Outcome, Query, Verdict

FEW = FitConfig(steps=2, batch_size=8, warmup_steps=1, log_every=1, save_every=1, device="cpu")
ALL_FRAMES = HindsightConfig(min_motion_m=0)


def fill(store: LanceStore) -> None:
    outcomes: tuple[Outcome, ...] = ("success", "failure", "unknown")
    for seed, outcome in enumerate(outcomes, 1):
        store.append(make_episode(seed, outcome, steps=8))


@pytest.fixture
def demonstrations() -> Source:
    episodes = [make_episode(seed, "success", steps=8) for seed in (7, 8)]
    return Source("pretraining", Frames.from_episodes(episodes, 32), 1.0)


@pytest.fixture
def own(tmp_path: Path, demonstrations: Source) -> OwnEpisodes:
    run = Run(tmp_path / "run")
    fill(open_store(run.store, create=True, codec="png"))
    train_policy(debug(), [demonstrations], tmp_path / "policy")
    return OwnEpisodes(run, 1, Query(), "compact", str(tmp_path / "policy"))


def critic_config() -> CriticConfig:
    return CriticConfig(train=debug_critic("iql"), stride=1)


def imitation() -> Hindsight:
    return Hindsight(HindsightConfig(min_motion_m=0.0), 32)


def stage(own: OwnEpisodes, method: CriticMethod, demonstrations: Source) -> CoTraining:
    config = CoTrainConfig(steps=2, batch_size=8, save_every=1)
    start = checkpoints.load(own.policy)
    return CoTraining(config, config.recipe(start), method, demonstrations)


def test_imitation_of_no_outcome_is_refused() -> None:
    with pytest.raises(ConfigError, match="outcomes is empty; valid: some of success, failure"):
        HindsightConfig(outcomes=())


def test_the_critic_steers_what_it_has_taught(own: OwnEpisodes, demonstrations: Source) -> None:
    method = CriticMethod(critic_config(), imitation(), demonstrations)
    assert isinstance(method, FinishingMethod)
    assert isinstance(method, CollectingMethod)
    assert method.collecting(own.run, own.policy) == own.policy
    out = own.run.train_folder(1)
    shares = stage(own, method, demonstrations)(own, own.policy, out)
    assert set(shares) == {"pretraining", "autonomous", "distilled"}
    assert sum(shares.values()) == pytest.approx(1)
    name = trained_policy(out)
    assert name == f"steered:{out},{out / 'critic'}"
    assert "steered by iql critic" in load_by_name(name).name
    assert method.collecting(own.run, own.policy).startswith(f"steered:{own.policy},")
    assert method.collecting(own.run, name) == name


def test_without_steering_the_trained_policy_is_a_checkpoint(
    own: OwnEpisodes, demonstrations: Source
) -> None:
    method = CriticMethod(replace(critic_config(), steered=False), imitation(), demonstrations)
    out = own.run.train_folder(1)
    stage(own, method, demonstrations)(own, own.policy, out)
    assert trained_policy(out) == str(out)


class Forward:
    """A critic that values motion in x, and is as sure as it is told."""

    name, takes_images = "forward", True

    def __init__(self, disagreement: float) -> None:
        self.disagreement = disagreement

    def values(self, observations, goals, actions):
        q = actions[..., 0]
        return np.stack([q - self.disagreement, q + self.disagreement])


def test_a_sure_critics_choice_is_learned_and_an_unsure_ones_is_not(own: OwnEpisodes) -> None:
    policy = load_policy(own.policy, "cpu")
    frames, goals = own_frames(own, 32)
    assert [e.verdict.outcome for e in frames.episodes] == ["success", "failure"]
    actions, usable = chosen_actions(policy, Forward(0.0), frames, goals, critic_config())
    changed = (actions != frames.actions).any(1)
    assert changed[usable].mean() > 0.9
    assert not usable[frames.starts[1:] - 1].any()
    _, usable = chosen_actions(policy, Forward(1e6), frames, goals, critic_config())
    failure = np.arange(frames.starts[1], frames.starts[2])
    assert usable.sum() == 8  # the success keeps its own actions
    assert not usable[failure].any()


def test_a_critic_with_instructions_is_told_those_of_the_episodes(own: OwnEpisodes) -> None:
    class Told(Forward):
        takes_images = False

        def values(self, observations, goals, actions):
            assert goals == ["open the drawer"] * len(observations)
            return super().values(observations, goals, actions)

    frames, goals = own_frames(own, 32)
    _, usable = chosen_actions(
        load_policy(own.policy, "cpu"), Told(0.0), frames, goals, critic_config()
    )
    assert usable.any()
    assert CriticConfig().train.critic.condition == "text"


def test_a_policy_is_told_which_actions_have_a_large_advantage(
    own: OwnEpisodes, demonstrations: Source
) -> None:
    method = AdvantageMethod(AdvantageConfig(), critic_config(), ALL_FRAMES, 32, demonstrations)
    [source] = method.sources(own, 0.3)
    assert source.advantages is not None
    assert source.usable is not None
    assert source.usable.sum() == 16
    labels = source.advantages[source.usable]
    assert (labels == LARGE).sum() == pytest.approx(0.4 * 16, abs=1)
    batch = Mixture([replace(demonstrations, weight=0.5), source], 0)(0, 64, slice(0, 64))
    own_rows = batch["share/advantage"] == 1
    assert set(batch["advantage"][~own_rows]) == {LARGE}
    assert set(batch["advantage"][own_rows]) == {LARGE, SMALL}


def test_being_told_changes_nothing_before_training_and_then_separates_actions(
    own: OwnEpisodes,
) -> None:
    policy = load_policy(own.policy, "cpu")
    told = with_advantage(policy).eval()
    goals = np.zeros((1, 32, 32, 3), np.uint8)
    seen = [Observation(goals[0], np.zeros(7, np.float32), 0.0)]
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(told.act(seen, goals, rng), policy.act(seen, goals, rng))
    assert told.advantage is not None
    with torch.no_grad():
        told.advantage.weight[SMALL] += 1.0
    np.testing.assert_array_equal(told.act(seen, goals, rng), policy.act(seen, goals, rng))


def test_a_policy_can_keep_a_share_of_the_weights_it_began_with(
    own: OwnEpisodes, demonstrations: Source, tmp_path: Path
) -> None:
    start = checkpoints.load(own.policy)

    def trained(kept_share: float, name: str) -> checkpoints.Checkpoint:
        config = CoTrainConfig(steps=2, batch_size=8, save_every=1, kept_share=kept_share)
        train = CoTraining(config, config.recipe(start), imitation(), demonstrations)
        train(own, own.policy, tmp_path / name)
        once = checkpoints.load(tmp_path / name)
        train(own, own.policy, tmp_path / name)  # again, as after an interruption
        assert checkpoints.load(tmp_path / name).id == once.id
        return once

    whole, half = trained(0.0, "whole"), trained(0.5, "half")
    assert half.provenance["averaged_with"] == start.id
    assert "averaged_with" not in whole.provenance
    moved = [n for n, v in whole.weights.items() if not torch.equal(v, start.weights[n])]
    assert moved
    for name in moved:
        mean = (start.weights[name] + whole.weights[name]) / 2
        torch.testing.assert_close(half.weights[name], mean)
    with pytest.raises(ConfigError, match="kept_share needs weights"):
        CoTrainConfig(kept_share=0.5, from_scratch=True)


class ByInstruction:
    """A detector that knows each episode by the red of its frames, and what it fulfilled."""

    name = "by instruction"
    threshold = 0.5
    done: ClassVar[Mapping[int, Mapping[str, float]]] = {
        10: {"open the drawer": 0.6, "close the box": 0.9},
        20: {"close the box": 0.7},
    }

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        known = [self.done.get(int(e.images[0, 0, 0, 0]), {}) for e in episodes]
        return [
            Verdict("unknown", p.get(e.task.instruction, 0.1))
            for p, e in zip(known, episodes, strict=True)
        ]


def test_relabeled_and_rated_steps_are_imitated_without_idle_frames_as_successes_are(
    own: OwnEpisodes, demonstrations: Source
) -> None:
    imitation = HindsightConfig(min_motion_m=0.02)
    [plain] = Hindsight(imitation, 32).sources(own, 0.3)
    [relabeled] = Dial(DialConfig(), imitation, 32, ByInstruction).sources(own, 0.3)
    method = AdvantageMethod(AdvantageConfig(), critic_config(), imitation, 32, demonstrations)
    [rated] = method.sources(own, 0.3)
    assert plain.min_motion_m == relabeled.min_motion_m == rated.min_motion_m == 0.02
    assert relabeled.goals == plain.goals
    assert rated.advantages is not None
    assert len(rated.advantages) == len(rated.frames)


def test_own_episodes_get_the_instructions_that_they_fulfilled(own: OwnEpisodes) -> None:
    pool = ("open the drawer", "close the box")
    [source] = Dial(DialConfig(pool), ALL_FRAMES, 32, ByInstruction).sources(own, 0.3)
    chosen = [source.frames.episodes[i] for i in source.chosen]
    assert {(e.provenance.seed, e.instruction) for e in chosen} == {
        (1, "close the box"), (2, "close the box"),
    }  # fmt: skip
    assert source.weight == pytest.approx(0.3)
    first, second = Dial(DialConfig(pool, top=2), ALL_FRAMES, 32, ByInstruction).sources(own, 0.3)
    assert [first.weight, second.weight] == pytest.approx([0.2, 0.1])
    assert [second.frames.episodes[i].instruction for i in second.chosen] == ["open the drawer"]
    [tried] = Dial(DialConfig(), ALL_FRAMES, 32, ByInstruction).sources(own, 0.3)
    assert [tried.frames.episodes[i].instruction for i in tried.chosen] == ["open the drawer"]
    with pytest.raises(NothingToLearnError, match="none of 3 episodes fulfilled"):
        Dial(DialConfig(pool, least_probability=0.95), ALL_FRAMES, 32, ByInstruction).sources(
            own, 0.3
        )


@pytest.mark.parametrize("algorithm", ["calql", "robofume"])
def test_an_actor_is_trained_offline_first_and_then_on_own_episodes_too(
    own: OwnEpisodes, demonstrations: Source, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "soar.training.critic._embedder",
        lambda config, start: lambda texts: np.zeros((len(texts), 384), np.float32),
    )
    config = OfflineActorConfig(offline_steps=2, steps=2, resolution=32, fit=FEW)
    train = OfflineActorTraining(config, algorithm, demonstrations)  # type: ignore[arg-type]
    out = own.run.train_folder(1)
    assert train(own, own.policy, out) == {"own": 0.5, "demonstrations": 0.5}
    offline = own.run.folder / "critics" / "offline"
    assert checkpoints.load(out).provenance["started_from"] == checkpoints.load(offline).id
    policy = load_by_name(trained_policy(out))
    assert isinstance(policy, ActorPolicy)
    second = own._replace(round=2)
    train(second, str(out), own.run.train_folder(2))
    trained = checkpoints.load(own.run.train_folder(2))
    assert trained.provenance["started_from"] == checkpoints.load(out).id
    if algorithm == "calql":
        goals = np.zeros((2, 32, 32, 3), np.uint8)
        seen = [Observation(g, np.zeros(7, np.float32), 0.0) for g in goals]
        actions = policy.act(seen, goals, np.random.default_rng(0), noise=1.0)
        assert actions.shape == (2, 7)
        assert (np.abs(actions[:, :3]) <= 0.05).all()


def test_an_actor_without_demonstrations_says_what_it_needs(own: OwnEpisodes) -> None:
    train = OfflineActorTraining(OfflineActorConfig(), "calql", None)
    with pytest.raises(NothingToLearnError, match="needs demonstrations"):
        train(own, own.policy, own.run.train_folder(1))


COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2] + '/made', dirs_exist_ok=True)"


def test_a_policy_is_trained_by_a_command_and_loaded_again(own: OwnEpisodes) -> None:
    config = ExternalConfig(
        command=f'{sys.executable} -c "{COPY}" {own.policy} {{out}}', policy="{out}/made"
    )
    out = own.run.train_folder(1)
    ExternalTraining(config)(own, own.policy, out)
    data = own.run.folder / "exported" / "lerobot"
    assert (data / "meta" / "info.json").exists()
    assert load_by_name(trained_policy(out)).name == "gcbc"


def test_a_command_that_fails_shows_the_end_of_its_output(own: OwnEpisodes) -> None:
    config = ExternalConfig(
        command=f"{sys.executable} -c 'raise SystemExit(\"no GPU\")'", policy="x"
    )
    with pytest.raises(SoarError, match="ended with 1: no GPU"):
        ExternalTraining(replace(config))(own, own.policy, own.run.train_folder(1))


@pytest.mark.parametrize("word", ["{dataset}", "{data.x}", "{data[x]}", "{data", "{0}"])
def test_an_unknown_field_of_a_command_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"valid: \{data\}, \{out\}, \{round\}"):
        ExternalConfig(command=f"train {word}")


def test_a_command_is_checked_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="quoted as in a shell"):
        ExternalConfig(command="train 'x")
    with pytest.raises(ConfigError, match=r"needs --external\.command"):
        ExternalConfig(command="  ", policy="x").check()


PUT = (task_from_instruction("put the red block in the bowl"),)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RunConfig(method="external"), "needs --external.command"),
        (RunConfig(method="lcbc"), "valid: --policy lcbc --subgoals none"),
        (RunConfig(method="critic", policy="lcbc", subgoals="none"), "valid: --policy gcbc"),
    ],
)
def test_a_method_says_what_it_needs(config: RunConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_learning(config, PUT, lambda text: None)


def test_a_generator_behind_the_wrapper_shows_nothing_but_images() -> None:
    generator = images_only()
    assert [n for n in dir(generator) if not n.startswith("_")] == ["generate", "name"]


def test_methods_plan_with_a_generator_that_only_returns_images() -> None:
    name = "python:soar.subgoals.images_only:compact"
    for method in ("hindsight", "critic", "calql", "robofume"):
        learning = plan_learning(
            RunConfig(method=method, subgoals=name),
            PUT,
            lambda text: None,
        )
        assert learning.method == method
        assert not learning.finetunes
