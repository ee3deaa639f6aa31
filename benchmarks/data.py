"""Speed of the episode store, the frame cache, exports and imports. Prints seven tables.

    python benchmarks/data.py                       everything: about 15 minutes and 6 GB of disk
    python benchmarks/data.py --episodes 200 --rows 1000
    python benchmarks/data.py --episodes 50 --rows 0 --simulated 0 --url s3://bucket/speed

1. Time to write a 100-step 256 x 256 episode as the store grows, beside the time to encode its frames alone.
2. The same for 10,000 episodes of one tiny step, which shows the cost of the index.
3. Reading random (observation, goal) pairs from the frame cache and directly from JPEG, beside raw memory-mapped reads
   and the decoder alone.
4. Time of a station's queries.
5. Time of queries and commands in a store of 100,000 simulated rows, and of adding them.
6. Export, import and the image codecs' share of their time.
7. Random pairs from the store, its frame cache, object storage and LeRobot's own reader on the same episodes.

The last two are those of benchmarks/exchange.py, which measures them on the episodes of any store.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import rich
import tyro
from rich.table import Table

from soar.data.curation.overview import overview, table6_row
from soar.data.frame_cache import Frames, build_frames
from soar.data.mixture import Mixture, Source
from soar.data.store import steps
from soar.data.store.images import decode, encode
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.rows import summary_of, to_row
from soar.data.store.steps import checksum, read_table
from soar.data.store.verify import verify
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.world import World
from soar.types import Answer, Episode, Images, Provenance, Query, Question, Verdict
from soar.utils.progress import progress_bar

STEPS, SIZE, RESOLUTION, BATCH = 100, 256, 64, 256


def main(
    episodes: int = 2000,
    rows: int = 10_000,
    simulated: int = 100_000,
    exchange: int = 20,
    folder: Path | None = None,
    url: str = "",
    workers: int | None = None,
) -> None:
    """Measure the store.

    Args:
        episodes: number of full-size episodes.
        rows: number of tiny ones.
        simulated: number of rows that share their files.
        exchange: number of full-size episodes that are exported, imported and read by LeRobot.
        folder: folder on the disk to measure; None is the default temporary folder.
        url: new folder in object storage, such as s3://bucket/speed, for the full-size episodes, and to read pairs
            from; "" is the disk.
        workers: threads that build the frame cache; None is one for each core.
    """
    with _temporary_folder(folder) as home:
        images = _camera_images(STEPS + 1)
        if episodes:
            store = open_store(url or home / "full", create=True)
            measure_appending(store, _episode(images), episodes)
            measure_reading(store, home / "cache", workers)
        if rows:
            tiny = open_store(home / "tiny", create=True)
            measure_appending(tiny, _episode(images[:2, :16, :16]), rows)
            measure_queries(tiny)
        if simulated:
            measure_simulated(open_store(home / "simulated", create=True), images, simulated)
        if exchange:
            measure_exchange(open_store(home / "exchange", create=True), images, exchange, url)


def measure_appending(store: LanceStore, episode: Episode, count: int) -> None:
    """Print the time to append, by block of episodes; CPU time includes Lance's own threads."""
    shape = f"{len(episode)} steps of {episode.images.shape[1]} px"
    table = Table("episodes", "median ms", "p90", "max", "CPU ms", "encoding alone", title=shape)
    block = max(1, count // 10)
    wall, cpu, encoding = (np.zeros(count) for _ in range(3))
    with progress_bar() as bar:
        task = bar.add_task(f"appending {shape}", total=count, note="")
        for i in range(count):
            started = replace(episode.provenance, started_s=1e9 + i)
            began, began_cpu = time.perf_counter(), time.process_time()
            store.append(replace(episode, provenance=started))
            wall[i], cpu[i] = time.perf_counter() - began, time.process_time() - began_cpu
            encoding[i] = (
                _seconds(lambda: [encode(image) for image in episode.images])
                if i % 10 == 0
                else np.nan
            )
            bar.advance(task)
    for start in range(0, count, block):
        b = slice(start, start + block)
        table.add_row(
            f"{start + 1} - {start + len(wall[b])}",
            *(
                f"{1e3 * v:.1f}"
                for v in (np.median(wall[b]), np.quantile(wall[b], 0.9), wall[b].max())
            ),
            f"{1e3 * np.median(cpu[b]):.1f}",
            f"{1e3 * np.nanmedian(encoding[b]):.1f}",
        )
    rich.print(table)
    first, last = np.median(cpu[:block]), np.median(cpu[-block:])
    rich.print(f"CPU time, last block / first block: {last / first:.2f}\n")


def measure_reading(store: LanceStore, cache: Path, workers: int | None) -> None:
    """Print images per CPU second of each way of reading."""
    ids = [e.id for e in store.query(Query(limit=100))]
    began = time.process_time()
    frames = build_frames(store, Query(limit=len(ids)), RESOLUTION, cache, workers)
    built = len(frames) / (time.process_time() - began)
    encoded = [f for id in ids[:5] for f in read_table(store.steps_path(id))["image"].to_pylist()]
    rng = np.random.default_rng(0)
    mixture = Mixture([Source("all", frames, 1.0)], seed=0)
    rates = _rates(
        {
            "raw": lambda: _raw(frames, rng),
            "pairs": lambda: (
                len(mixture(int(rng.integers(2**31)), BATCH, slice(None))["image"]) * 2
            ),
            "decoder": lambda: len(
                [decode(encoded[i]) for i in rng.integers(len(encoded), size=32)]
            ),
            "open": lambda: _pairs_from_jpeg(store, ids, rng),
            "closed": lambda: _pairs_from_jpeg(store, ids, rng, keep_open=False),
        }
    )
    table = Table("way", "images / CPU s", "share", title=f"{len(ids)} episodes")
    for way, rate, of in [
        (f"raw memory-mapped reads, {RESOLUTION} px", rates["raw"], rates["raw"]),
        ("(observation, goal) pairs of a mixture", rates["pairs"], rates["raw"]),
        (f"the decoder alone, {SIZE} px", rates["decoder"], rates["decoder"]),
        ("pairs straight from JPEG, files open", rates["open"], rates["decoder"]),
        ("pairs straight from JPEG, files not open yet", rates["closed"], rates["decoder"]),
        ("building the cache (decode, resize, write)", built, rates["decoder"]),
    ]:
        table.add_row(way, f"{rate:,.0f}", f"{rate / of:.2f}")
    rich.print(table)


def measure_queries(store: LanceStore) -> None:
    """Print the time of the queries that a station makes."""
    table = Table("query", "ms", title=f"a store of {len(list(store.query()))} episodes")
    id = next(store.query()).id
    queries: dict[str, Callable[[], object]] = {
        "open": lambda: open_store(store.path),
        "version": lambda: store.version,
        "history": store.history,
        "query, every episode": lambda: list(store.query()),
        "query, one station's successes": lambda: list(store.query(Query(stations=("x",)))),
        "load one tiny episode": lambda: store.load(id),
        "verify 100 random episodes": lambda: list(verify(store, sample=100)),
    }
    for name, query in queries.items():
        table.add_row(name, f"{1e3 * np.median([_seconds(query) for _ in range(9)]):.1f}")
    rich.print(table)


def measure_simulated(store: LanceStore, images: Images, count: int, batch: int = 1000) -> None:
    """Print the time to add rows in batches, and that of commands; the rows share a few steps files by links."""
    episode = _episode(images[:2, :16, :16])
    seconds = []
    row, path = to_row(summary_of("x", episode)), store.root
    for start in range(0, count - 100, batch):
        if start % 50_000 == 0:  # a file has at most some 60,000 names
            path = store.steps_path(store.append(episode))
            row |= {"bytes": path.stat().st_size, "crc32": checksum(path)}
        rows = [
            row
            | {
                "id": f"20200101-000000-{i:010x}",
                "instruction": f"task {i % 40}",
                "started_s": 1e9 + i,
            }
            for i in range(start, min(start + batch, count - 100))
        ]
        for added in rows:
            link = Path(str(store.steps_path(added["id"])))
            link.parent.mkdir(exist_ok=True)
            link.hardlink_to(str(path))
        seconds.append(_seconds(lambda rows=rows: store.index.append(*rows)))  # type: ignore[misc]
    for i in range(100):
        started = replace(episode.provenance, started_s=1.6e9 + i)
        store.append(replace(episode, provenance=started))
    part = max(1, len(seconds) // 10)
    table = Table("in a store of simulated rows", "ms", "CPU ms", title=f"{count} rows")
    ends = (seconds[:part], seconds[-part:])
    table.add_row(f"add {batch} rows, the first tenth", f"{1e3 * np.median(ends[0]):.0f}")
    table.add_row(f"add {batch} rows, the last tenth", f"{1e3 * np.median(ends[1]):.0f}")
    newest = Query(since_s=1.6e9)
    commands: dict[str, Callable[[], object]] = {
        "ls": lambda: store.newest(Query(), 20),
        "ls of one task": lambda: store.newest(Query(instructions=("task 7",)), 20),
        "stats": lambda: overview(store, Query()),
        "stats --table6": lambda: table6_row(store, Query(), "x"),
        "history": store.history,
        "query, 100 that match": lambda: list(store.query(newest)),
        "query, every episode": lambda: sum(1 for _ in store.query()),
        "verify --sample 1": lambda: list(verify(store, sample=1)),
        "verify --sample 100": lambda: list(verify(store, sample=100)),
    }
    for name, command in commands.items():
        cpu = time.process_time()
        wall = np.median([_seconds(command) for _ in range(3)])
        table.add_row(name, f"{1e3 * wall:.0f}", f"{1e3 * (time.process_time() - cpu) / 3:.0f}")
    rich.print(table)


def measure_exchange(store: LanceStore, images: Images, count: int, url: str) -> None:
    """Print the tables of benchmarks/exchange.py."""
    episode = _episode(images)
    for i in range(count):
        store.append(replace(episode, provenance=replace(episode.provenance, started_s=1e9 + i)))
    script = Path(__file__).with_name("exchange.py")
    words = [
        "--store",
        str(store.path),
        "--episodes",
        str(count),
        "--folder",
        str(store.path.parent),
    ]
    words += ["--url", f"{url}-pairs"] if url else []
    subprocess.run([sys.executable, str(script), *words], check=True)


def _rates(ways: dict[str, Callable[[], int]], rounds: int = 60) -> dict[str, float]:
    """Return images per CPU second, the median of alternating rounds, so that other load affects all ways alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            images = way()
            seconds[name].append((time.process_time() - began) / images)
    return {name: 1 / float(np.median(s[1:])) for name, s in seconds.items()}


def _raw(frames: Frames, rng: np.random.Generator) -> int:
    """Copy each image of a batch from the memory map, the least that any way of reading does."""
    batch = np.empty((2 * BATCH, *frames.images.shape[1:]), np.uint8)
    np.take(frames.images, rng.integers(len(frames), size=2 * BATCH), axis=0, out=batch)
    return len(batch)


def _pairs_from_jpeg(
    store: LanceStore, ids: Sequence[str], rng: np.random.Generator, keep_open: bool = True
) -> int:
    count = 16
    if not keep_open:
        steps.image_reader.cache_clear()
    for id in rng.choice(np.array(ids), count):
        now = int(rng.integers(STEPS - 1))
        store.images(str(id), [now, int(rng.integers(now + 1, STEPS + 1))])
    return 2 * count


def _camera_images(count: int) -> Images:
    """Return camera images of scene 1 while the arm moves randomly."""
    world = World(SCENES["1"], SIZE)
    world.reset(0)
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        world.step(np.append(rng.normal(0, 0.01, 6), 1).astype(np.float32))
        images.append(world.render())
    world.close()
    return np.stack(images)


def _episode(images: Images) -> Episode:
    """Make an episode with as much provenance as a station writes."""
    steps = len(images) - 1
    answers = tuple(
        Answer(Question(f"Is the block number {i} in the wooden bowl?"), 0.5, "yes")
        for i in range(8)
    )
    return Episode(
        instruction="put the green block in the wooden bowl",
        actions=np.zeros((steps, 7), np.float32),
        commanded=np.zeros((steps, 7), np.float32),
        images=images,
        states=np.zeros((steps + 1, 7), np.float32),
        times_s=np.arange(steps + 1) * 0.2,
        subgoals=(),
        verdict=Verdict("success", 0.9, "Is the green block in the wooden bowl?", "yes", "compact"),
        provenance=Provenance(
            "one", "soar", "1", 0, 1e9, answers_before=answers, answers_after=answers
        ),
    )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def _temporary_folder(folder: Path | None) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="soar-data-", dir=folder))
    try:
        yield home
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    tyro.cli(main)
