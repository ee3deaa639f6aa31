"""Models behind a replica's queue, with the queue's event loop in a thread in place of Ray."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from soar.errors import ConfigError, ModelUnavailable, SoarError
from soar.fleet.config import Role
from soar.fleet.model_server import _LOADERS, ModelFacts, ModelServer, policy_batches
from soar.fleet.served_models import ServedModels
from soar.policies.chunks import ChunkBroker
from soar.registry import load_policy
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy
from soar.rollout.models import Models, ModelsConfig, PromotionWatcher
from soar.tasks.grammar import task_from_instruction
from soar.types import Observation

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)


class Replica:
    """A replica whose loop runs in a thread."""

    def __init__(self, role: Role) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = ModelServer(role)

    def facts(self, name: str) -> ModelFacts:
        return self._result(self.server.facts(name))

    def answer(self, name: str, requests: Sequence[Any]) -> list[Any]:
        return self._result(self.server.answer(name, requests))

    def counts(self) -> tuple[int, int]:
        return self._result(self.server.counts())

    def _result(self, call: Any) -> Any:
        value = asyncio.run_coroutine_threadsafe(call, self._loop).result(300)
        if isinstance(value, SoarError):
            raise value
        return value

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def replicas() -> Iterator[dict[Role, Replica]]:
    made: dict[Role, Replica] = {r: Replica(r) for r in ("vlm", "subgoals", "policy")}
    yield made
    for replica in made.values():
        replica.close()


def seen(count: int) -> list[Observation]:
    return [ToyRobot(seed).observe() for seed in range(count)]


def test_served_models_answer_as_loaded_ones(replicas):
    served, own = ServedModels.of(TOYS, replicas).load(), TOYS.load()
    images = [o.image for o in seen(2)]
    tasks = [task_from_instruction(i) for i in INSTRUCTIONS]
    asked = [[t.question for t in tasks]] * 2
    assert served.vlm.answer(images, asked) == own.vlm.answer(images, asked)
    rng = np.random.default_rng(0)
    assert served.subgoals is not None
    goals = served.subgoals.generate(seen(2), tasks, rng)
    assert goals.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(
        served.policy.act(seen(2), goals, rng), own.policy.act(seen(2), goals, rng)
    )
    assert (served.vlm.name, served.policy.name) == (own.vlm.name, own.policy.name)


def test_requests_of_many_stations_share_batches(replicas, monkeypatch):
    began, gate = threading.Event(), threading.Event()

    class Slow(ToyPolicy):
        def act(self, *args: Any, **kwargs: Any) -> Any:
            began.set()
            gate.wait(60)
            return super().act(*args, **kwargs)

    monkeypatch.setitem(_LOADERS, "policy", lambda name: policy_batches(Slow()))
    goal = seen(1)[0].image[None]
    with ThreadPoolExecutor(9) as pool:
        stations = [ServedModels.of(TOYS, replicas).load_policy() for _ in range(9)]
        rng = np.random.default_rng(0)
        robots = list(zip(stations, seen(9), strict=True))
        calls = [pool.submit(s.act, [o], goal, rng) for s, o in robots[:1]]
        began.wait(60)
        calls += [pool.submit(s.act, [o], goal, rng) for s, o in robots[1:]]
        batcher, deadline = (
            replicas["policy"].server._loaded[TOYS.policy].batcher,
            time.monotonic() + 60,
        )
        while len(batcher._waiting) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        gate.set()
        actions = [call.result(60) for call in calls]
    alone_and_the_others_together = (2, 9)
    assert replicas["policy"].counts() == alone_and_the_others_together
    own = [ToyPolicy().act([o], goal, rng) for o in seen(9)]
    np.testing.assert_array_equal(actions, own)


def test_the_gripper_of_each_station_remembers_its_own_last_action(replicas):
    models = ModelsConfig(policy="gcbc")
    one, two = (ServedModels.of(models, replicas).load_policy() for _ in range(2))
    own = [load_policy("gcbc") for _ in range(2)]
    rng = np.random.default_rng(0)
    for policy in (one, two, *own):
        policy.reset()
    for step in range(4):
        for served, loaded, seed in zip((one, two), own, (0, 1), strict=True):
            observation, goal = ToyRobot(seed + step).observe(), ToyRobot(9).observe().image[None]
            np.testing.assert_allclose(
                served.act([observation], goal, rng),
                loaded.act([observation], goal, rng),
                atol=1e-6,
            )


def test_a_promotion_reaches_each_station_between_its_own_episodes(replicas, monkeypatch):
    promoted, toy = "old", TOYS.load()
    monkeypatch.setattr("soar.rollout.models.promoted_models", lambda source: (promoted, "none"))

    def load(name: str) -> Any:
        policy = ToyPolicy()
        policy.name = name
        return policy_batches(policy)

    monkeypatch.setitem(_LOADERS, "policy", load)
    config = ServedModels.of(
        ModelsConfig(subgoals="none", policy="run"), {"policy": replicas["policy"]}
    )
    watch = [PromotionWatcher(config), PromotionWatcher(config)]
    first = config.with_promoted().load_policy()
    models = [Models(toy.vlm, first, None, toy.detector)] * 2
    promoted = "new"
    goal, rng = seen(1)[0].image[None], np.random.default_rng(0)
    one = watch[0](models[0])
    assert one.policy.name == "new"
    assert first.act(seen(1), goal, rng).shape == (
        1,
        7,
    )  # the other one is in the middle of an episode
    assert list(replicas["policy"].server._loaded) == ["new", "old"]
    assert watch[1](models[1]).policy.name == "new"


def test_a_loaded_model_answers_while_another_one_loads(replicas, monkeypatch):
    loading, gate = threading.Event(), threading.Event()

    def load(name: str) -> Any:
        if name == "new":
            loading.set()
            gate.wait(60)
        return ModelFacts(name), lambda requests: [name] * len(requests)

    monkeypatch.setitem(_LOADERS, "vlm", load)
    replica = replicas["vlm"]
    replica.facts("old")
    with ThreadPoolExecutor(2) as pool:
        new = [pool.submit(replica.answer, "new", [1]) for _ in range(2)]
        loading.wait(60)
        try:
            assert asyncio.run_coroutine_threadsafe(
                replica.server.answer("old", [1]), replica._loop
            ).result(10) == ["old"]
        finally:
            gate.set()
        assert [n.result(60) for n in new] == [["new"], ["new"]]


def test_a_policy_that_stations_cant_share_is_refused():
    class Alone:
        name = "alone"

        def act(self, observations: Any, goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
            return np.zeros((len(observations), 7), np.float32)

        def reset(self) -> None: ...

    with pytest.raises(ConfigError, match="has no `commit`"):
        policy_batches(Alone())
    with pytest.raises(ConfigError, match="averages its chunks"):
        policy_batches(ChunkBroker(load_policy("gcbc"), 2, ensemble=True))  # type: ignore[arg-type]


def test_errors_come_back_as_they_are(replicas):
    with pytest.raises(ConfigError, match="nowhere"):
        replicas["vlm"].facts("python:nowhere:f")
    with pytest.raises(ModelUnavailable):
        replicas["vlm"].answer(TOYS.vlm, ["no request"])
