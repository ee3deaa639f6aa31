"""Episodes and clients of a policy that can't be told what was executed, and so can't be shared."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.robots.toy_models import ToyPolicy
from soar.serving.follower import ActRequest, Follower
from soar.serving.policy_service import PolicyService
from soar.types import Observation
from soar.utils.wire import pack, to_json, unpack

from .conftest import Running, SharedToy, observation, policy_routes
from .test_protocols import WEB, opened

IMAGE = np.zeros((32, 32, 3), np.uint8)
SEEN = Observation(IMAGE, np.zeros(7, np.float32), 0.0)


class Hidden(ToyPolicy):
    """A policy with a state that only its `reset` clears; counts the actions since then."""

    commit = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.count, self.counts, self.threads = 99, list[int](), set[str]()

    def act(self, observations: Sequence[Any], goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
        self.count += 1
        self.counts.append(self.count)
        return np.zeros((len(observations), 7), np.float32)

    def reset(self) -> None:
        self.count = 0
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def hidden() -> Hidden:
    return Hidden()


@pytest.fixture
def server(serve: Callable[..., Running], hidden: Hidden) -> Running:
    return serve(policy_routes(hidden))


def act_over_http(server: Running, **more: Any) -> int:
    request = {"image": IMAGE, "instruction": "fold it", **more}
    return WEB.post(f"{server.http}/act", content=to_json(request)).status_code


def test_an_episode_of_openpis_clients_begins_with_a_reset(server: Running, hidden: Hidden) -> None:
    with opened(server) as socket:
        socket.recv()
        for _ in range(2):
            for _ in range(2):
                socket.send(pack(observation()))
                socket.recv()
            socket.send(pack({"endpoint": "reset"}))
            assert socket.recv() == "reset successful"
    assert hidden.counts == [1, 2, 1, 2]


def test_an_episode_over_http_begins_with_a_reset(server: Running, hidden: Hidden) -> None:
    for _ in range(2):
        assert [act_over_http(server) for _ in range(2)] == [200, 200]
        assert WEB.post(f"{server.http}/reset").status_code == 200
    assert hidden.counts == [1, 2, 1, 2]


def test_an_episode_of_vla_eval_begins_with_a_reset(server: Running, hidden: Hidden) -> None:
    payload = {"images": {"primary": IMAGE}, "task_description": "fold it"}
    kinds = ("episode_start", "observation", "observation", "episode_end") * 2
    with opened(server, "/vla-eval") as socket:
        for kind in kinds:
            message = {"type": kind, "payload": payload, "seq": 1, "timestamp": 0.0}
            socket.send(pack(message, "vla-eval"))
            if kind == "observation":
                assert unpack(socket.recv())["type"] == "action"
    assert hidden.counts == [1, 2, 1, 2]
    assert hidden.threads == {"model_0"}, "never in the event loop"


def test_nobody_disturbs_the_connection_that_has_the_policy(
    server: Running, hidden: Hidden
) -> None:
    with opened(server) as first:
        first.recv()
        first.send(pack(observation()))
        first.recv()
        with opened(server) as second:
            assert "serves one client at a time" in second.recv()
        assert act_over_http(server) == act_over_http(server, image=3) == 400
        assert WEB.post(f"{server.http}/reset").status_code == 200
        first.send(pack(observation()))
        first.recv()
    assert hidden.counts == [1, 2]
    assert act_over_http(server) == 200
    assert hidden.counts == [1, 2, 1]


def test_an_idle_http_client_gives_way_and_may_come_back() -> None:
    policy, time_s = Hidden(), 0.0
    service = PolicyService(Follower(policy, None, 10), 0.0, lambda: time_s)

    def act(name: str) -> None:
        request = ActRequest(service.http_session(name), SEEN, "fold it")
        loop.run_until_complete(service.act_once(name, request))

    loop = asyncio.new_event_loop()
    act("a")
    act("a")
    for other in (lambda: act("b"), lambda: service.connection().__enter__()):
        with pytest.raises(ConfigError, match="sends nothing over HTTP for 30 s"):
            other()
    time_s = 31.0
    with service.connection(), pytest.raises(ConfigError, match="one client at a time"):
        act("a")
    act("a")
    time_s = 62.0
    act("b")
    time_s = 93.0
    act("a")
    assert policy.counts == [1, 2, 1, 1, 1]
    loop.close()


def test_a_reset_counts_that_comes_while_an_action_is_computed() -> None:
    class Slow(SharedToy):
        """Acts once it may."""

        began, may = threading.Event(), threading.Event()

        def act(self, *given: Any, **more: Any) -> Any:
            self.began.set()
            self.may.wait(10)
            return super().act(*given, **more) * 0 + 0.25

    async def run() -> None:
        service = PolicyService(Follower(policy, None, 10), 0.0)
        request = ActRequest(service.http_session("a"), SEEN, "fold it")
        running = asyncio.create_task(service.act_once("a", request))
        await asyncio.to_thread(policy.began.wait, 10)
        service.begin_episode(request.session)
        policy.may.set()
        await running
        await service.act_once("a", request)

    policy = Slow()
    asyncio.run(run())
    assert policy.committed[0, 6] == 1, "the gripper is open, as before the first action"
