"""Time of a request to a served policy beside the model's own, and whole trials of a served policy beside in-process ones.

python benchmarks/serve.py                    # round trips at 224 pixels with a policy that takes no time
python benchmarks/serve.py --whole-trials 10       # gcbc behind openpi's wire and in this process, from the same starts
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from websockets.sync.client import connect

from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.evaluation.results import Evaluation
from soar.evaluation.runner import evaluate
from soar.registry import load_policy
from soar.serving.follower import Follower
from soar.serving.openpi_routes import openpi_routes
from soar.serving.policy_service import PolicyService
from soar.serving.server import ServerConfig, listen, make_app, serve
from soar.sim.scenes.catalog import load_scene
from soar.types import Actions, Images, Noise, Observation
from soar.utils.wire import pack, unpack

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
        for i in range(count + 20):
            began = time.perf_counter()
            socket.send(pack(request))
            unpack(bytes(socket.recv(decode=False)))
            if i >= 20:
                durations.append(1000 * (time.perf_counter() - began))
    return durations


def show(what: str, durations: Sequence[float]) -> None:
    quantiles = statistics.quantiles(durations, n=10)
    print(
        f"{what}: median {statistics.median(durations):.2f} ms, tenth {quantiles[0]:.2f}, "
        f"ninetieth {quantiles[-1]:.2f}, {len(durations)} requests"
    )


def trials(name: str, count: int, folder: Path) -> Evaluation:
    spec, setting = sim_protocol(EvalConfig(name, trials=count, tasks=(TASK,)), [load_scene("1")])
    return evaluate(spec, setting, folder, workers=1, video_size=0)


def main(requests: int = 500, clients: int = 8, whole_trials: int = 0) -> None:
    """Measure.

    Args:
        requests: of each client.
        clients: number of clients at once.
        whole_trials: whole trials of gcbc in both ways; 0 for none.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process: Any = context.Process(target=server, args=("gcbc" if whole_trials else "", theirs))
    process.start()
    try:
        port = ours.recv()
        if whole_trials:
            compare(port, whole_trials)
            return
        show("one client", round_trips(port, requests))
        with ThreadPoolExecutor(clients) as threads:
            found = threads.map(lambda _: round_trips(port, requests), range(clients))
            show(f"{clients} clients at once", [d for durations in found for d in durations])
    finally:
        process.terminate()
        process.join()


def compare(port: int, count: int) -> None:
    """Print successes of the served policy and of the one in this process, start by start."""
    with tempfile.TemporaryDirectory() as folder:
        remote = Path(folder) / "remote.yaml"
        remote.write_text(f"policy: openpi:ws://127.0.0.1:{port}\noptions: {{timeout_s: 600}}\n")
        inside = trials("gcbc", count, Path(folder) / "inside")
        served = trials(str(remote), count, Path(folder) / "served")
    print(f"in this process: {inside.overall().value:.0%}, served: {served.overall().value:.0%}")
    print(f"the same trials: {inside.trials == served.trials}")


if __name__ == "__main__":
    tyro.cli(main)
