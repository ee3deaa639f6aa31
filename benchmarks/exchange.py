"""Speed of exports, imports and random pairs, beside the image codecs and LeRobot's reader. Prints two tables.

    python benchmarks/exchange.py --store STORE
    python benchmarks/exchange.py --store STORE --url s3://bucket/speed        also from object storage

1. Export and import of the same episodes in images per CPU second, and the codec's share of that time. Image files are
   copied, so only video has one.
2. Random (observation, goal) pairs from the store's JPEG files (its steps files open, or not yet), from its frame cache
   (warm, or cold: its building is counted), from LeRobot's own reader (where its environment is; see
   docs/data-exchange.md), and from the JPEG decoder alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import rich
import tyro
from rich.table import Table

from soar.data.curation.copying import copy_episodes
from soar.data.frame_cache import build_frames
from soar.data.mixture import Mixture, Source
from soar.data.store.images import decode, encode
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.steps import image_reader
from soar.exchange.export import RldsOptions, export_episodes
from soar.exchange.formats import open_data_set
from soar.exchange.lerobot.video import VideoCodec, VideoReader, VideoWriter
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.exchange.stores import import_episodes
from soar.types import Image, Query
from soar.utils.files import cache_folder

PAIRS = 64
DRAWS = 20
"""Number of times that each frame is drawn, on average, after a cold start."""
FORMATS: dict[str, LeRobotOptions | RldsOptions] = {
    "LeRobot, images": LeRobotOptions(),
    "LeRobot, h264": LeRobotOptions("h264"),
    "LeRobot, AV1": LeRobotOptions("av1"),
    "RLDS (soar_dataset)": RldsOptions(),
}
CODECS: dict[str, VideoCodec] = {"LeRobot, h264": "h264", "LeRobot, AV1": "av1"}


def main(store: Path, episodes: int = 100, folder: Path | None = None, url: str = "") -> None:
    """Measure export, import and random reads.

    Args:
        store: an episode store with at least two judged episodes of 256 x 256 pixels.
        episodes: number of its episodes.
        folder: folder on the disk to measure; None is the default temporary folder.
        url: new folder in object storage, such as s3://bucket/speed, to measure pairs from as well; "" for none.
    """
    source = open_store(store, read_only=True)
    query = Query(outcomes=("success", "failure"), limit=episodes)
    with _temporary_folder(folder) as home:
        measure_formats(source, query, home)
        measure_pairs(source, query, home, url)


def measure_formats(source: LanceStore, query: Query, home: Path) -> None:
    """Print the speed of each format."""
    images = sum(summary.length + 1 for summary in source.query(query))
    table = Table(
        "format", "export images / CPU s", "codec's share", "import images / CPU s", "codec's share",
        title=f"{images} images",
    )  # fmt: skip
    frames = _frames(source, query)
    for name, options in FORMATS.items():
        out = home / name.replace(" ", "_")
        exporting = _cpu(lambda out=out, o=options: export_episodes(source, query, out, o))  # type: ignore[misc]
        target = open_store(home / f"{out.name}.store", create=True)
        importing = _cpu(lambda out=out, t=target: list(import_episodes(open_data_set(out), t)))  # type: ignore[misc]
        codec = CODECS.get(name)
        shares = _video_shares(frames, codec, home, images) if codec else (0.0, 0.0)
        table.add_row(
            name,
            f"{images / exporting:,.0f}",
            f"{shares[0] / exporting:.2f}",
            f"{images / importing:,.0f}",
            f"{shares[1] / importing:.2f}",
        )
    jpeg = [encode(frame) for frame in frames]
    alone = (
        _cpu(lambda: [encode(frame) for frame in frames]),
        _cpu(lambda: [decode(data) for data in jpeg]),
    )
    table.add_row(
        "JPEG alone: encode, decode",
        f"{len(frames) / alone[0]:,.0f}", "", f"{len(frames) / alone[1]:,.0f}", "",
    )  # fmt: skip
    rich.print(table)


def measure_pairs(source: LanceStore, query: Query, home: Path, url: str) -> None:
    """Print images per CPU second as random pairs."""
    rates = _rates_of(source, query, home / "cache")
    if url:
        remote = open_store(url, create=True)
        list(copy_episodes(source, [s.id for s in source.query(query)], remote))
        rates |= {
            f"{name}, {url[:2]}": r for name, r in _rates_of(remote, query, home / "other").items()
        }
    jpeg = [encode(frame) for frame in _frames(source, query, 100)]
    rates["JPEG decoder alone"] = _rate(lambda: len([decode(data) for data in jpeg]))
    python = cache_folder() / "envs" / "lerobot044" / "bin" / "python"
    for name, codec in (("images", "images"), ("h264", "h264"), ("AV1", "AV1")):
        if python.exists():
            rates[f"LeRobot's reader, {name}"] = _lerobot(python, home / f"LeRobot,_{codec}")
    slowest = rates.get("LeRobot's reader, AV1", float("nan"))
    table = Table("random (observation, goal) pairs", "images / CPU s", "times LeRobot's AV1 set")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / slowest:,.1f}")
    rich.print(table)


def _rates_of(store: LanceStore, query: Query, cache: Path) -> dict[str, float]:
    """Return images per CPU second of the ways to read pairs from a store."""
    ids = [(s.id, s.length) for s in store.query(query)]
    rng = np.random.default_rng(0)

    def drawn(mixture: Mixture) -> int:
        return len(mixture(int(rng.integers(2**31)), 4 * PAIRS, slice(None))["image"]) * 2

    def not_open() -> int:
        image_reader.cache_clear()
        return _pairs(store, ids, rng)

    began = time.process_time()
    frames = build_frames(store, query, 64, cache)
    mixture, count = Mixture([Source("all", frames, 1.0)], seed=0), 0
    while count < DRAWS * len(frames):
        count += drawn(mixture)
    cold = count / (time.process_time() - began)
    return {
        "JPEG files, not open yet": _rate(not_open, 5),
        "JPEG files, open": _rate(lambda: _pairs(store, ids, rng)),
        f"frame cache of 64 px, cold, each frame drawn {DRAWS} times": cold,
        "frame cache of 64 px, warm": _rate(lambda: drawn(mixture)),
    }


def _lerobot(python: Path, folder: Path) -> float:
    script = Path(__file__).with_name("pairs_with_lerobot.py")
    command = [str(python), str(script), str(folder), str(PAIRS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _pairs(source: LanceStore, ids: Sequence[tuple[str, int]], rng: np.random.Generator) -> int:
    for index in rng.integers(len(ids), size=PAIRS):
        id, length = ids[index]
        now = int(rng.integers(length))
        source.images(id, [now, min(now + 10, length)])
    return 2 * PAIRS


def _frames(source: LanceStore, query: Query, most: int = 500) -> list[Image]:
    """Return the first images of the episodes, decoded."""
    found: list[Image] = []
    for summary in source.query(query):
        found += list(source.images(summary.id, list(range(summary.length + 1))))
        if len(found) >= most:
            break
    return found[:most]


def _video_shares(
    frames: Sequence[Image], codec: VideoCodec, home: Path, images: int
) -> tuple[float, float]:
    """Return the CPU time of the codecs alone, to export and to import that many images [s]."""
    path = home / f"alone-{codec}.mp4"
    jpeg = [encode(frame) for frame in frames]

    def write() -> None:
        writer = VideoWriter(path, codec, 5, *frames[0].shape[:2])
        for data in jpeg:
            writer.write(decode(data))
        writer.close()

    def read() -> None:
        with closing(VideoReader(path)) as reader:
            for frame in reader.read(0.0, len(frames), 5):
                encode(frame)

    scale = images / len(frames)
    return _cpu(write) * scale, _cpu(read) * scale


def _cpu(call: Callable[[], object]) -> float:
    """Return the CPU time of a call, that of all threads included [s]."""
    began = time.process_time()
    call()
    return time.process_time() - began


def _rate(way: Callable[[], int], rounds: int = 15) -> float:
    way()
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        count = way()
        seconds.append((time.process_time() - began) / count)
    return 1 / float(np.median(seconds))


@contextmanager
def _temporary_folder(folder: Path | None) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="soar-exchange-", dir=folder))
    try:
        yield home
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    tyro.cli(main)
