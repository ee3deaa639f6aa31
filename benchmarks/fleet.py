"""Cost of a fleet: the models' queue and the store's commits against a station's time, and where they saturate.

    python benchmarks/fleet.py                  # queue and commits of 1,000 stations, batches of the packaged policy
    python benchmarks/fleet.py --actors 20      # also a Ray cluster on this machine, up to 20 stations of the toy world

A station has 5 control steps a second, and 100 in an episode. Its requests and frames are encoded beforehand, so that
what is measured is what the shared parts do: decode a request, wait for a batch, encode the reply; write an episode's
file and commit its row. CPU time is of this process, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import asyncio
import pickle
import secrets
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rich
import tyro
from rich.table import Table

from soar.data.store.lance import LanceStore, open_store
from soar.data.store.rows import summary_of, to_row
from soar.data.store.steps import to_table
from soar.fleet.cluster import Cluster
from soar.fleet.config import FleetConfig
from soar.fleet.model_server import _LOADERS, ModelServer, PolicyRequest, policy_batches
from soar.fleet.run import collection_job
from soar.fleet.station_run import StationTask
from soar.registry import load_policy
from soar.types import Episode, Images, Noise, Observation, Provenance, Subgoal, Verdict

STEPS, PERIOD_S = 100, 0.2
EPISODE_S = STEPS * PERIOD_S
"""Time of a station's episode in seconds, homing left out."""


class NoPolicy:
    """A policy that costs nothing."""

    name = "nothing"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Any:
        """Return no motion."""
        return np.zeros((len(observations), 7), np.float32)

    def reset(self) -> None:
        """Do nothing."""

    def commit(self, actions: Any) -> None:
        """Do nothing."""


def request(seed: int) -> bytes:
    """A station's request for an action, as it arrives: two images of 256 px."""
    rng = np.random.default_rng(seed)
    image, goal = rng.integers(0, 256, (2, 256, 256, 3), np.uint8)
    observation = Observation(image, np.zeros(7, np.float32), 0.0)
    last = np.ones(7, np.float32)
    return pickle.dumps(PolicyRequest(observation, goal, "put the lid on the pot", 0.0, last))


async def clients(
    server: ModelServer, count: int, seconds: float, period_s: float
) -> tuple[list[float], float]:
    """Let clients ask for an action in each period, or without pause for 0; return latencies and CPU time [s]."""
    arrived = [request(i) for i in range(16)]
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    await server.facts("model")
    start, cpu = loop.time(), time.process_time()

    async def client(number: int) -> None:
        due = start + period_s * number / count
        while loop.time() < start + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            asked = loop.time()
            pickle.dumps(await server.answer("model", [pickle.loads(arrived[number % 16])]))
            latencies.append(loop.time() - asked)
            due = max(due + period_s, loop.time())

    await asyncio.gather(*(client(i) for i in range(count)))
    return latencies, time.process_time() - cpu


def queue_table(stations: int, seconds: float) -> float:
    """Measure the queue with a policy that costs nothing; return its CPU time for a request in seconds."""
    _LOADERS["policy"] = lambda name: policy_batches(NoPolicy())
    table = Table("clients", "requests", "mean batch", "CPU / request", title="queue, free policy")
    cost = 0.0
    for count in (1, 32, stations):
        server = ModelServer("policy")
        latencies, cpu_s = asyncio.run(clients(server, count, seconds, 0.0))
        batches, requests = asyncio.run(server.counts())
        cost = cpu_s / len(latencies)
        table.add_row(
            str(count), str(requests), f"{requests / batches:.1f}", f"{1e6 * cost:.0f} us"
        )
    rich.print(table)
    return cost


def policy_table(seconds: float) -> None:
    """Measure batches of the packaged policy against the number of stations at 5 Hz."""
    policy = load_policy("gcbc")
    table = Table(
        "stations", "actions/s wanted", "done", "mean batch", "latency: median", "95 %", "CPU / action",
        title="packaged gcbc, stations at 5 Hz",
    )  # fmt: skip
    _LOADERS["policy"] = lambda name: policy_batches(policy)
    for count in (1, 4, 16, 64):
        server = ModelServer("policy")
        asyncio.run(clients(server, 1, 0.5, 0.0))
        latencies, cpu_s = asyncio.run(
            clients(server := ModelServer("policy"), count, seconds, PERIOD_S)
        )
        batches, requests = asyncio.run(server.counts())
        table.add_row(
            str(count), f"{count / PERIOD_S:.0f}", f"{requests / seconds:.0f}", f"{requests / batches:.1f}",
            f"{1e3 * np.median(latencies):.0f} ms", f"{1e3 * np.quantile(latencies, 0.95):.0f} ms",
            f"{1e3 * cpu_s / requests:.2f} ms",
        )  # fmt: skip
    rich.print(table)


def episode() -> Episode:
    """An episode of 100 steps at 256 px."""
    smooth = np.linspace(0, 255, 256 * 256 * 3).reshape(256, 256, 3)
    noise = np.random.default_rng(0).integers(0, 24, (STEPS + 1, 256, 256, 3))
    images = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    numbers = np.zeros((STEPS, 7), np.float32)
    return Episode(
        instruction="put the lid on the pot",
        actions=numbers,
        commanded=numbers,
        images=images,
        states=np.zeros((STEPS + 1, 7), np.float32),
        times_s=np.arange(STEPS + 1) * PERIOD_S,
        subgoals=tuple(Subgoal(images[i], i) for i in range(0, STEPS, 10)),
        verdict=Verdict("success", 0.9),
        provenance=Provenance("arm", "real", "lab", 0, time.time(), "gcbc", "", "0"),
    )


def store_table(folder: Path, seconds: float) -> float:
    """Measure appends by some writers at once; return the least CPU time of one in seconds."""
    made, table = (
        episode(),
        Table("writers", "episodes/s", "CPU / episode", title="appends, frames encoded before"),
    )
    rows, least = to_table(made, "jpeg"), np.inf
    for writers in (1, 4, 16):
        store = open_store(folder / f"store-{writers}", create=True)
        end, cpu = time.monotonic() + seconds, time.process_time()

        def write(store: LanceStore = store, end: float = end) -> int:
            done = 0
            while time.monotonic() < end:
                id = f"20260101-000000-{secrets.token_hex(5)}"
                store.append_table(to_row(summary_of(id, made)), rows)
                done += 1
            return done

        with ThreadPoolExecutor(writers) as pool:
            done = sum(f.result() for f in [pool.submit(write) for _ in range(writers)])
        cpu_s = time.process_time() - cpu
        least = min(least, cpu_s / done)
        table.add_row(str(writers), f"{done / seconds:.1f}", f"{1e3 * cpu_s / done:.0f} ms")
    rich.print(table)
    return float(least)


def ray_table(folder: Path, most: int, seconds: float) -> None:
    """Measure steps a second of toy stations on Ray, with one policy replica, against their number."""
    import ray

    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=300_000_000, log_to_driver=False
    )
    toys = {r: f"python:soar.robots.toy_models:Toy{c}" for r, c in
            (("vlm", "VLM"), ("subgoals", "Subgoals"), ("policy", "Policy"))}  # fmt: skip
    stations = "".join(
        f"  - station: {{name: arm{i}, robot: toy, seed: {i}}}\n" for i in range(most)
    )
    file = folder / "fleet.yaml"
    file.write_text(f"store: store\nengine: ray\nstations:\n{stations}models: {toys}\n")
    config = FleetConfig.read(file)
    job = collection_job(config, None, None)
    store = open_store(config.store)
    cluster = Cluster(config, store.identity)
    table = Table("actors", "steps/s", "mean policy batch", title="toy stations on Ray, no pauses")
    try:
        cluster.start_replicas()
        started = 0
        for count in sorted({1, 2, 5, 10, most}):
            for station in config.stations[started:count]:
                cluster.start_station(station, StationTask(station.station, job, time.time()))
            started = count
            until = time.monotonic() + 600
            while len({s.provenance.station for s in store.query()}) < count:
                if time.monotonic() > until:
                    raise SystemExit(f"{count} stations didn't start within 10 minutes")
                time.sleep(1)
            before, asked = (
                _stored(store),
                ray.get(ray.get_actor("policy-0", cluster.namespace).counts.remote()),
            )
            time.sleep(seconds)
            after = ray.get(ray.get_actor("policy-0", cluster.namespace).counts.remote())
            rate = STEPS * (_stored(store) - before) / seconds
            table.add_row(
                str(count), f"{rate:.0f}", f"{(after[1] - asked[1]) / (after[0] - asked[0]):.2f}"
            )
    finally:
        cluster.down()
        ray.shutdown()
        rich.print(table)


def _stored(store: LanceStore) -> int:
    return sum(count.attempts for count in store.history().values())


def main(stations: int = 1000, seconds: float = 6.0, actors: int = 0) -> None:
    """Measure, and extrapolate to `stations` stations. `actors`: most stations on Ray; 0 leaves Ray out."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        share = STEPS * queue_table(stations, seconds) / EPISODE_S
        append_s = store_table(Path(name), seconds)
        policy_table(seconds)
        rich.print(
            "extrapolated from CPU time, if nothing else saturates before it:\n"
            f"queue: {share:.3%} of one core for each station at 5 Hz; {1 / share:.0f} stations fill one core, "
            f"{stations} take {stations * share:.1f}\n"
            f"store: {append_s / EPISODE_S:.3%} of one core, the station's own, for each\n"
            f"this process had {time.process_time() / (time.monotonic() - start):.0%} of a core"
        )
        if actors:
            ray_table(Path(name), actors, 3 * seconds)


if __name__ == "__main__":
    tyro.cli(main)
