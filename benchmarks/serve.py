"""Time of a request to a served policy of 224 px images: with a policy that takes no time, and with the packaged one.

python benchmarks/serve.py

The packaged policy's own time is measured in turns with the requests, so that both see the same load of the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil
import tyro
from websockets.sync.client import connect

from soar.registry import load_policy
from soar.serving.follower import Follower
from soar.serving.openpi_routes import openpi_routes
from soar.serving.policy_service import PolicyService
from soar.serving.server import ServerConfig, listen, make_app, serve
from soar.types import Actions, Images, Noise, Observation
from soar.utils.wire import pack, unpack

WARMUP = 20
TASK = "put the green block in the wooden bowl"


class Still:
    """A policy that takes no time."""

    name = "still"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return no motion."""
        return np.zeros((len(observations), 7), np.float32)

    def commit(self, actions: Actions) -> None:
        """Do nothing."""

    def reset(self) -> None:
        """Do nothing."""


def server(policy: str, port: Connection) -> None:
    """Serve in a process of its own, and tell the port."""
    follower = Follower(load_policy(policy) if policy else Still(), None, 10)
    listening = listen(ServerConfig(port=0))
    port.send(listening.getsockname()[1])
    serve(make_app(openpi_routes(PolicyService(follower, 0.005))), listening)


def round_trips(port: int, count: int, side: int = 224) -> list[float]:
    """Return the durations of requests of one client [ms], after some to warm up."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    request = {
        "observation/image": image,
        "observation/state": np.zeros(7, np.float32),
        "prompt": TASK,
    }
    durations = []
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as socket:
        socket.recv()
        for i in range(count + WARMUP):
            began = time.perf_counter()
            socket.send(pack(request))
            unpack(bytes(socket.recv(decode=False)))
            if i >= WARMUP:
                durations.append(1000 * (time.perf_counter() - began))
    return durations


def show(what: str, durations: Sequence[float]) -> None:
    quantiles = statistics.quantiles(durations, n=10)
    print(
        f"{what}: median {statistics.median(durations):.2f} ms, tenth {quantiles[0]:.2f}, "
        f"ninetieth {quantiles[-1]:.2f}, {len(durations)} requests"
    )


def beside_the_model(port: int, count: int, side: int = 224) -> tuple[list[float], list[float]]:
    """Return the durations of requests for an action of gcbc, and of its own `act` in this process [ms]."""
    policy, rng = load_policy("gcbc"), np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side, 3), np.uint8)
    state = np.zeros(7, np.float32)
    seen, goal = [Observation(image, state, 0.0)], image[None]
    request = {
        "observation/image": image,
        "observation/state": state,
        "observation/goal": image,
        "prompt": TASK,
    }
    served, own = [], []
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as socket:
        socket.recv()
        for i in range(count + WARMUP):
            began = time.perf_counter()
            socket.send(pack(request))
            unpack(bytes(socket.recv(decode=False)))
            between = time.perf_counter()
            policy.act(seen, goal, rng)
            if i >= WARMUP:
                served.append(1000 * (between - began))
                own.append(1000 * (time.perf_counter() - between))
    return served, own


def main(requests: int = 500, clients: int = 8) -> None:
    """Measure.

    Args:
        requests: of each client.
        clients: number of clients at once.
    """
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with running("") as port:
        before = cpu_s()
        show("one client, no model", round_trips(port, requests))
        spent_ms = 1000 * (cpu_s() - before) / (requests + WARMUP)
        print(f"CPU time of a round trip, both sides: {spent_ms:.2f} ms")
        with ThreadPoolExecutor(clients) as threads:
            found = threads.map(lambda _: round_trips(port, requests), range(clients))
            show(
                f"{clients} clients at once, no model",
                [d for durations in found for d in durations],
            )
    with running("gcbc") as port:
        served, own = beside_the_model(port, requests)
        show("one client, gcbc", served)
        show("gcbc in this process", own)
        print(f"ratio of the medians: {statistics.median(served) / statistics.median(own):.2f}")


def cpu_s() -> float:
    """CPU time of this process and the server's so far."""
    own = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (own, *own.children()))


@contextmanager
def running(policy: str) -> Iterator[int]:
    """Run a server, and yield its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process: Any = context.Process(target=server, args=(policy, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    tyro.cli(main)
