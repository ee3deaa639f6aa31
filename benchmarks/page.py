"""Cost of the page in the browser: for a station's control loop, and of the server with many stations.

python benchmarks/page.py --stations 50
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tyro

from soar.collection.live import PERIOD_S, LivePictures, touch_watched
from soar.collection.status import StationStatus, StatusFolder
from soar.data.store.lance import open_store
from soar.rollout.station import Station
from soar.rollout.station_config import StationConfig, open_station
from soar.types import Image, Observation, Step, Subgoal
from soar.utils.media import resize
from soar.watch.feed import Feed
from soar.watch.place import Place
from soar.watch.stations import stations

CONTROL_S = 0.2
STATE = np.zeros(7, np.float32)


def photos(count: int, size: int = 256) -> list[Image]:
    """Make images as smooth as a camera's."""
    rng = np.random.default_rng(0)
    return [resize(rng.integers(0, 256, (24, 24, 3), np.uint8), size) for _ in range(count)]


def loop_cost(
    arms: list[Station], store: Path, images: list[Image], watched: bool | None, seconds: float
) -> tuple[float, float]:
    """Return a step's median time in the callback [us] and the CPU time of a second [ms], both for each station.

    `watched`: whether somebody watches; None for a loop without pictures.
    """
    live = LivePictures(store, 100) if watched is not None else None
    spent, began_s, began_cpu_s, k = [], time.monotonic(), time.process_time(), 0
    while time.monotonic() - began_s < seconds:
        if watched and k % 5 == 0:
            touch_watched(store)
        observation = Observation(images[k % len(images)], STATE, CONTROL_S * k)
        subgoal = Subgoal(images[k // 10 % len(images)], 0)
        before_s = time.perf_counter()
        for arm in arms:
            if live:
                live.on_step(arm, Step(k % 100, observation, STATE, STATE, subgoal))
        spent.append(1e6 * (time.perf_counter() - before_s) / len(arms))
        k += 1
        time.sleep(CONTROL_S)
    cpu_ms = 1000 * (time.process_time() - began_cpu_s) / seconds / len(arms)
    if live:
        live.close()
    return statistics.median(spent), cpu_ms


def served_rate(
    place: Place,
    names: list[str],
    live: LivePictures,
    arms: list[Station],
    images: list[Image],
    seconds: float,
) -> tuple[float, float]:
    """Return the pictures that one page gets in a second, of the station with fewest, and their median age [s]."""
    ended = threading.Event()

    def move() -> None:
        k = 0
        while not ended.wait(PERIOD_S):
            k += 1
            observation = Observation(images[k % len(images)], STATE, float(k))
            for arm in arms:
                live.on_step(arm, Step(k % 100, observation, STATE, STATE, None))

    async def watch() -> tuple[dict[str, int], list[float]]:
        values = stations(place).values
        assert values
        counts, ages, ends_s = dict.fromkeys(names, 0), list[float](), time.monotonic() + seconds
        async for message in Feed([values]).stream(lambda: time.monotonic() > ends_s):
            event = json.loads(message[6:]) if message.startswith("data: ") else {}
            if event.get("event") == "picture":
                counts[event["value"]["name"]] += 1
                ages.append(time.time() - event["value"]["time_s"])
        return counts, ages

    thread = threading.Thread(target=move)
    thread.start()
    counts, ages = asyncio.run(watch())
    ended.set()
    thread.join()
    return min(counts.values()) / seconds, statistics.median(ages or [float("nan")])


def reading_ms(place: Place, names: list[str]) -> float:
    """Return the CPU time in which the server reads all tiles, each with a new picture [ms]."""
    values, spent = stations(place).values, []
    assert values
    for _ in range(7):
        for name in names:
            os.utime(place.store / "stations" / name / "live.json")
        before_s = time.thread_time()
        for value in values().values():
            json.dumps(value)
        spent.append(1000 * (time.thread_time() - before_s))
    return statistics.median(spent)


def main(stations: int = 50, seconds: float = 10.0) -> None:
    """Measure and print.

    Args:
        stations: number of stations of the served page; the control loop is measured with eight.
        seconds: duration of each measurement.
    """
    images = photos(8)
    with tempfile.TemporaryDirectory() as folder:
        store, now_s = Path(folder), time.time()
        open_store(store, create=True)
        names = [f"arm{i}" for i in range(stations)]
        for name in names:
            StatusFolder(store, name).show(
                StationStatus(name, "s", "collecting", now_s, now_s, os.getpid(), "put it away")
            )
        arms = [open_station(StationConfig(name, "toy")) for name in names]
        for what, watched in (
            ("no pictures", None),
            ("nobody watches", False),
            ("somebody watches", True),
        ):
            step_us, cpu_ms = loop_cost(arms[:8], store, images, watched, seconds)
            print(
                f"{what}: {step_us:.1f} us a step, {cpu_ms:.2f} ms of CPU time a second, for each station"
            )
        live = LivePictures(store, 100)
        began_s = time.process_time()
        place = Place(store, store / "labels.csv")
        rate, age_s = served_rate(place, names, live, arms, images, seconds)
        live.close()
        cpu = (time.process_time() - began_s) / seconds
        print(
            f"{stations} stations: {rate:.1f} pictures a second of each, {age_s:.2f} s old; "
            f"{cpu:.0%} of a core for stations, server and page together; load {os.getloadavg()[0]:.0f}"
        )
        print(f"one reading of all: {reading_ms(place, names):.0f} ms of CPU time")


if __name__ == "__main__":
    tyro.cli(main)
