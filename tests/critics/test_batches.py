import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.critics.config import CriticConfig, RewardConfig
from soar.critics.learning.batches import CriticBatches
from soar.critics.learning.labels import CriticSource, Pool, pool_shares
from soar.critics.learning.learner import CriticLearner
from soar.data.relabel import Uniform
from soar.data.transforms import Resize, ToFloat
from soar.errors import ConfigError
from soar.training.critic import critic_source
from soar.types import Query, Verdict

SIZE = 64


@pytest.fixture
def source(store, tiny, tmp_path) -> CriticSource:
    return critic_source(store, "own", Query(), tiny, tmp_path / "frames")


def draw(source, config: CriticConfig, step: int = 0, **options):
    return CriticBatches([source], config, 0, **options)(step, SIZE, slice(0, SIZE))


def words(texts):
    return np.array([[len(t), t.count("c")] for t in texts], np.float32)


TEXT = {"condition": "text", "word_dim": 2}


def test_half_of_a_batch_are_failures_and_unknown_verdicts_are_left_out(source, tiny):
    batch = draw(source, tiny)
    assert set(batch["state"][:, 0]) == {1, 2}
    assert 0.3 < batch["share/failure"].mean() < 0.7
    assert (batch["share/failure"] == (batch["state"][:, 0] == 2)).all()
    few = draw(source, replace(tiny, failure_share=0.1))
    assert few["share/failure"].mean() < 0.25


def test_a_changed_verdict_is_in_the_next_batch_and_no_file_changes(source, store, tiny, tmp_path):
    batches = CriticBatches([source], tiny, 0)
    before = batches(0, SIZE, slice(0, SIZE))
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "frames").rglob("*") if p.is_file()}
    failed = next(s.id for s in store.query() if s.verdict.outcome == "failure")
    store.set_verdict(failed, Verdict("success", 0.9))
    after = batches(0, SIZE, slice(0, SIZE))
    assert files == {p: p.stat().st_mtime_ns for p in files}
    of_failed = before["state"][:, 0] == 2
    assert (before["mc_return"][of_failed] == -50).all()
    assert (before["discount"][of_failed] > 0).all()
    now = after["state"][:, 0] == 2
    last = now & (after["state"][:, 1] >= 3)
    assert not after["share/failure"].any()
    assert not after["reward"][last].any()
    assert not after["discount"][last].any()
    assert (after["mc_return"][now] > -4).all()


def test_a_batch_is_the_same_on_every_call_and_its_rows_are_parts_of_it(source, tiny):
    config = replace(tiny, negative_share=0.5)
    whole, again = (draw(source, config, step=3) for _ in range(2))
    part = CriticBatches([source], config, 0)(3, SIZE, slice(16, 32))
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value[16:32], part[name])


def test_a_window_ends_n_steps_later_or_at_the_last_frame(source, tiny):
    batch = draw(source, replace(tiny, n_step=4))
    step, following = batch["state"][:, 1], batch["next_state"][:, 1]
    np.testing.assert_array_equal(following, np.minimum(step + 4, 6))
    np.testing.assert_array_equal(batch["next_image"][:, 0, 0, 1], following)
    np.testing.assert_array_equal(batch["next_state"][:, 0], batch["state"][:, 0])


def test_goals_are_the_recorded_subgoals(source, tiny):
    batch = draw(source, tiny)
    np.testing.assert_array_equal(batch["goal"][:, 0, 0, 0], 200 + batch["state"][:, 0])
    np.testing.assert_array_equal(batch["next_goal"], batch["goal"])


def test_goals_without_recorded_subgoals_are_later_frames(source, tiny):
    batch = draw(replace(source, subgoals=None), replace(tiny, goals=Uniform(1, 2)))
    step, goal = batch["state"][:, 1], batch["goal"][:, 0, 0, 1].astype(int)
    assert ((goal > step) & (goal <= step + 2)).all()
    following = batch["next_goal"][:, 0, 0, 1].astype(int)
    assert (following >= batch["next_state"][:, 1]).all()


def test_hindsight_labels_need_no_verdict_and_reward_a_reached_goal(source, tiny):
    config = replace(
        tiny, rewards=RewardConfig(labels="hindsight"), n_step=1, reached_share=0.3, goals=Uniform(2, 6)
    )  # fmt: skip
    batch = draw(source, config)
    assert set(batch["state"][:, 0]) == {1, 2, 3}
    left = batch["goal"][:, 0, 0, 1] - batch["state"][:, 1]
    reached = left == 1
    assert 0.1 < reached.mean() < 0.8
    assert (batch["reward"] == np.where(reached, 0, -1)).all()
    assert (batch["discount"] == np.where(reached, 0, np.float32(0.98))).all()
    expected = -(1 - 0.98 ** (left - 1)) / (1 - 0.98)
    np.testing.assert_allclose(batch["mc_return"], expected, atol=1e-5)


def test_negative_rows_have_the_next_rows_goal_and_fail(source, tiny):
    config = replace(tiny, negative_share=0.5, n_step=1)
    batch = draw(source, config)
    negative = batch["share/negative"] == 1
    assert 0.1 < negative.mean() < 0.5  # not where the next row is of the same episode
    own = 200 + batch["state"][:, 0]
    giver = np.where(negative, np.roll(own, -1), own)
    np.testing.assert_array_equal(batch["goal"][:, 0, 0, 0], giver)
    np.testing.assert_array_equal(batch["next_goal"][:, 0, 0, 0], giver)
    assert (batch["goal"][negative, 0, 0, 0] != own[negative]).all()
    assert (batch["reward"][negative] == -1).all()
    assert (batch["discount"][negative] == np.float32(0.98)).all()
    assert (batch["mc_return"][negative] == -50).all()


def test_negatives_are_those_of_vgps_code():
    """V-GPS also moves the next row's goal to a negative, with reward -1, mask 1 and return -1 / (1 - discount)."""
    golden = json.loads((Path(__file__).parent / "golden" / "vgps.json").read_text())
    negatives, batch = golden["negatives"], golden["batch"]
    changed = [i for i in range(5) if negatives["goals"][i] != i]
    assert changed == [0, 1]
    for i in changed:
        assert negatives["goals"][i] == np.roll(np.arange(5), -1)[i]
        assert negatives["rewards"][i] == -1
        assert negatives["masks"][i] == 1
        assert negatives["mc_returns"][i] == pytest.approx(-1 / (1 - 0.98), rel=1e-5)
    assert negatives["rewards"][2:] == batch["rewards"][2:]


def test_a_negative_instruction_is_another_one(source, tiny):
    config = replace(tiny, negative_share=1.0, **TEXT)
    batch = draw(source, config, embed=words)
    own = words(["open the drawer", "close the drawer"])[batch["state"][:, 0].astype(int) - 1]
    negative = batch["share/negative"] == 1
    assert negative.any()
    assert (batch["words"][negative] != own[negative]).any(1).all()
    np.testing.assert_array_equal(batch["words"][~negative], own[~negative])


def test_tasks_have_ids_and_an_unknown_one_is_named(source, tiny):
    config = replace(tiny, condition="task", tasks=("close the drawer", "open the drawer"))
    batch = draw(source, config)
    np.testing.assert_array_equal(batch["task"], batch["state"][:, 0] == 1)
    with pytest.raises(ConfigError, match="'close the drawer' has no task id"):
        draw(source, replace(config, tasks=("open the drawer",)))


def test_probabilities_as_labels_give_expected_rewards(source, tiny):
    config = replace(tiny, rewards=RewardConfig(labels="probability"), n_step=1)
    batch = draw(source, config)
    last = batch["state"][:, 1] == 5
    won, lost = last & (batch["state"][:, 0] == 1), last & (batch["state"][:, 0] == 2)
    np.testing.assert_allclose(batch["reward"][won], -0.1, atol=1e-6)
    np.testing.assert_allclose(batch["discount"][lost], 0.8 * 0.98, atol=1e-6)


def test_shares_of_sources_and_outcomes():
    pools = [
        Pool(0, False, np.arange(90)),
        Pool(1, False, np.arange(5)),
        Pool(1, True, np.arange(5)),
    ]
    given = pool_shares(pools, [3, 1], 0.5)
    np.testing.assert_allclose(given, [0.375, 0.125, 0.5])
    natural = pool_shares(pools, [3, 1], None)
    np.testing.assert_allclose(natural, [0.75, 0.125, 0.125])
    np.testing.assert_allclose(pool_shares(pools[:2], [3, 1], 0.5), [0.75, 0.25])


def test_no_verdict_at_all_is_refused(source, tiny):
    nothing = replace(source, verdicts=None, frames=replace(source.frames))
    unknown = {e.id: Verdict("unknown") for e in source.frames.episodes}
    with pytest.raises(ConfigError, match="no episode has a verdict"):
        draw(replace(nothing, verdicts=lambda: unknown), tiny)


def test_shuffled_actions_raise_the_loss_of_a_trained_critic(source, tiny):
    torch.manual_seed(0)
    learner = CriticLearner(tiny, (Resize(16), ToFloat()))
    batch = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in draw(source, tiny).items()}
    actions = torch.randn(SIZE, 7) * 0.02
    batch |= {"action": actions, "reward": 100 * actions[:, 0], "discount": torch.zeros(SIZE)}
    optimizer = torch.optim.Adam(learner.parameters(), 1e-2)
    for _ in range(40):
        loss, metrics = learner.loss(batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shuffled = {**batch, "action": actions[torch.randperm(SIZE)]}
    assert learner.loss(shuffled, torch.Generator())[1]["td_error"] > 3 * metrics["td_error"]


def test_labels_of_takeovers_cost_the_policys_step_before_each_and_need_no_verdict(
    store, tiny, tmp_path
):
    config = replace(tiny, rewards=RewardConfig(labels="takeover"), n_step=1)
    with pytest.raises(ConfigError, match="nobody took over"):
        critic_source(store, "own", Query(), config, tmp_path / "frames")
    actors = (*["policy"] * 2, *["person"] * 4)
    (unknown,) = store.query(Query(outcomes=("unknown",)))
    episode = store.load(unknown.id)
    provenance = replace(episode.provenance, started_s=2e9)
    states = episode.states + np.eye(7, dtype=np.float32)[0]
    taken_over = replace(episode, actors=actors, states=states, provenance=provenance)
    store.append(taken_over)
    source = critic_source(store, "own", Query(), config, tmp_path / "frames")
    batch = draw(source, config)
    taken = batch["state"][:, 0] == 4
    assert taken.any()
    assert (batch["share/failure"] == taken).all()
    before = taken & (batch["state"][:, 1] == 1)
    assert (batch["reward"] == np.where(before, -1, 0)).all()
    assert (batch["discount"] == np.float32(0.98)).all()
