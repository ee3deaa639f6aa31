"""A served policy: real sockets on this machine, in a thread of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import uvicorn

from soar.robots.toy_models import ToyPolicy, ToySubgoals
from soar.serving.follower import Follower
from soar.serving.http_routes import act_routes
from soar.serving.openpi_routes import openpi_routes
from soar.serving.policy_service import PolicyService
from soar.serving.server import ServerConfig, listen, make_app
from soar.serving.vla_eval_routes import vla_eval_routes
from soar.types import Actions


class SharedToy(ToyPolicy):
    """The toy policy, shared by many clients; counts its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def act(self, observations: Sequence[Any], goals: Any, rng: Any, *, noise: Any = 0.0) -> Any:
        self.batches.append(len(observations))
        return super().act(observations, goals, rng, noise=noise)

    def commit(self, actions: Actions) -> None:
        self.committed = actions


class Running:
    """A server in a thread."""

    def __init__(self, routes: Sequence[Any], secret: str = "", port: int = 0) -> None:
        self.socket = listen(ServerConfig(port=port))
        self.port = int(self.socket.getsockname()[1])
        config = uvicorn.Config(
            make_app(routes, secret),
            log_level="error",
            lifespan="off",
            ws_max_size=2**30,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self.socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Serves routes until the end of the test."""
    started: list[Running] = []

    def start(routes: Sequence[Any], secret: str = "", port: int = 0) -> Running:
        started.append(Running(routes, secret, port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def policy_routes(policy: Any, subgoals: Any = None, wait_s: float = 0.005, steps: int = 10) -> Any:
    service = PolicyService(Follower(policy, subgoals, steps), wait_s)
    return [*openpi_routes(service), *vla_eval_routes(service), *act_routes(service)]


@pytest.fixture
def toy() -> SharedToy:
    return SharedToy()


@pytest.fixture
def toy_server(serve: Callable[..., Running], toy: SharedToy) -> Running:
    """The toy policy and its subgoals."""
    return serve(policy_routes(toy, ToySubgoals()))


def observation(seed: int = 0) -> dict[str, Any]:
    """A request of openpi's protocol: what a toy robot sees."""
    from soar.robots.toy import ToyRobot

    seen = ToyRobot(seed).observe()
    return {
        "observation/image": seen.image,
        "observation/state": seen.state,
        "prompt": "move the green block to the left side",
    }


def picture(seed: int = 0, side: int = 32) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
