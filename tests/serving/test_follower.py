"""Subgoals, states of episodes and random numbers of many clients of one policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from soar.errors import BadOutput, ConfigError, ModelUnavailable, SoarError
from soar.policies.chunks import ChunkBroker
from soar.robots.toy_models import ToyPolicy, ToySubgoals
from soar.serving.follower import ActReply, ActRequest, Follower, Session
from soar.types import Actions, Observation

LEFT, RIGHT = "move the green block to the left side", "move the green block to the right side"


class Counting(ToySubgoals):
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def generate(self, observations: Any, tasks: Any, rng: Any) -> Any:
        self.batches.append([t.instruction for t in tasks])
        return super().generate(observations, tasks, rng)


class Latch:
    """A policy with hysteresis: its gripper opens at the first call, and then repeats the last command."""

    name, checkpoint_id = "latch", ""

    def __init__(self) -> None:
        self._last = np.zeros((0, 7), np.float32)
        self.instructions: Sequence[str] = ()
        self.goals: list[Any] = []

    def commit(self, actions: Actions) -> None:
        self._last = actions

    def instruct(self, instructions: Sequence[str]) -> None:
        self.instructions = instructions

    def act(self, observations: Any, goals: Any, rng: Any, *, noise: Any = 0.0) -> Actions:
        self.goals.append(goals)
        actions = self._last + 1
        actions[:, 0] = np.asarray(noise) * rng.standard_normal(len(observations))
        return np.asarray(actions, np.float32)

    def chunk(self, observations: Any, goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
        first = self.act(observations, goals, rng, noise=noise)
        return np.stack([first, first + 1, first + 2, first + 3], 1)

    def reset(self) -> None:
        raise AssertionError("a shared policy isn't reset")


def seen(side: int = 32) -> Observation:
    return Observation(np.full((side, side, 3), 9, np.uint8), np.zeros(7, np.float32), 0.0)


def ask(follower: Follower, *requests: ActRequest) -> list[ActReply]:
    replies = follower.run(requests)
    assert not [r for r in replies if isinstance(r, SoarError)], replies
    return [r for r in replies if isinstance(r, ActReply)]


def test_a_new_instruction_and_used_up_steps_generate_a_subgoal() -> None:
    subgoals, session = Counting(), Session(0)
    follower = Follower(Latch(), subgoals, steps_per_subgoal=3)
    for words in (LEFT, LEFT, LEFT, LEFT, RIGHT):
        ask(follower, ActRequest(session, seen(), words))
    assert subgoals.batches == [[LEFT], [LEFT], [RIGHT]]


def test_a_goal_of_the_clients_own_bypasses_generation() -> None:
    subgoals, goal = Counting(), np.zeros((32, 32, 3), np.uint8)
    policy = Latch()
    [reply] = ask(Follower(policy, subgoals, 3), ActRequest(Session(0), seen(), LEFT, goal))
    assert subgoals.batches == []
    assert reply.subgoal is goal
    assert np.array_equal(policy.goals[0][0], goal)
    assert policy.instructions == [LEFT], "the words go beside the goal"


def test_each_session_has_its_own_state() -> None:
    follower = Follower(Latch(), None, 10)
    a, b = Session(0), Session(1)
    ask(follower, ActRequest(a, seen(), LEFT))
    first, second = ask(follower, ActRequest(b, seen(), LEFT), ActRequest(a, seen(), LEFT))
    assert (first.actions[0, 6], second.actions[0, 6]) == (2, 3), "open at first, then one more"
    [again] = ask(follower, ActRequest(a, seen(), LEFT, reset=True))
    assert again.actions[0, 6] == 2


def test_sessions_are_batched_by_the_size_of_their_images() -> None:
    follower = Follower(Latch(), None, 10)
    sides = [32, 48, 32, 48, 32]
    ask(follower, *(ActRequest(Session(i), seen(s), LEFT) for i, s in enumerate(sides)))
    assert follower.forward_passes == 2


def test_a_seed_repeats_random_numbers_whatever_others_ask() -> None:
    def run(others: int) -> list[float]:
        follower, session = Follower(Latch(), ToySubgoals(), 10), Session(0)
        found = []
        for i in range(3):
            own = ActRequest(session, seen(), LEFT, seed=5, noise=1.0, reset=i == 0)
            rest = [ActRequest(Session(9), seen(), RIGHT, noise=1.0) for _ in range(others)]
            found.append(float(ask(follower, *rest, own)[-1].actions[0, 0]))
        return found

    assert run(0) == run(3)
    assert len(set(run(0))) == 3


def test_clients_execute_the_chunks_of_a_policy() -> None:
    follower, session = Follower(ChunkBroker(Latch(), 3), None, 10), Session(0)
    [reply] = ask(follower, ActRequest(session, seen(), LEFT))
    assert reply.actions[:, 6].tolist() == [2, 3, 4]
    [reply] = ask(follower, ActRequest(session, seen(), LEFT, most=1))
    assert reply.actions[:, 6].tolist() == [5], "from the last executed action"
    [reply] = ask(follower, ActRequest(session, seen(), LEFT, last=np.zeros(7, np.float32)))
    assert reply.actions[0, 6] == 1


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (np.zeros((1, 6), np.float32), "gave actions of shape"),
        (np.full((1, 7), np.inf, np.float32), "isn't finite"),
    ],
)
def test_bad_actions_are_refused(gives: Any, words: str) -> None:
    policy = Latch()
    policy.chunk = lambda *_, **__: gives[:, None]  # type: ignore[method-assign]
    [reply] = Follower(policy, None, 10).run([ActRequest(Session(0), seen(), LEFT)])
    assert isinstance(reply, BadOutput)
    assert words in str(reply)


def test_a_missing_state_is_named_where_the_policy_needs_it() -> None:
    policy = Latch()
    policy.chunk = lambda o, *_, **__: np.stack([x.state for x in o])[:, None]  # type: ignore[method-assign]
    blind = Observation(seen().image, np.full(7, np.nan, np.float32), 0.0)
    follower = Follower(policy, None, 10)
    bad, good = follower.run(
        [ActRequest(Session(0), blind, LEFT), ActRequest(Session(1), seen(), LEFT)]
    )
    assert isinstance(bad, ConfigError)
    assert "observation/state" in str(bad)
    assert isinstance(good, ActReply)


def test_a_policy_that_fails_at_its_first_action_is_one_line() -> None:
    class Failing(ToyPolicy):
        def act(self, *args: Any, **options: Any) -> Any:
            raise KeyError("weights")

    message = r"policy toy-policy: act\(\) raised KeyError at .*test_follower.py:\d+: 'weights'"
    with pytest.raises(ModelUnavailable, match=message):
        Follower(Failing(), None, 10).warm_up()
