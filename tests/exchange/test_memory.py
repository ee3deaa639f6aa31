"""Exports and imports stream: five times the episodes need no more memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from exchange_parts import make_episode, recording

from soar.contract.contract import WIDOWX
from soar.exchange.formats import open_data_set
from soar.exchange.lerobot.writer import LeRobotOptions, LeRobotWriter
from soar.exchange.recording import Recording
from soar.exchange.rlds.writer import RldsWriter
from soar.exchange.staging import staged

FRAME = 100_000
"""Bytes of a frame, which is padded so that frames are what takes memory."""


def episodes(count: int) -> Iterator[Recording]:
    """Yield episodes whose image files are made when they are asked for."""
    one = recording(make_episode(0, 20, size=256))
    for number in range(count):
        padding = np.random.default_rng(number).bytes(FRAME)
        images = [image + padding for image in one.cameras["primary"]]
        yield replace(one, id=f"20240101-000000-{number:010x}", cameras={"primary": images})


def peak(act: Callable[[], object]) -> int:
    """Return the most memory that Python's objects take meanwhile, and Arrow's buffers after it.

    Arrow's threads release what they read a moment after `act` has it: they get two seconds.
    """
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    act()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    deadline = time.monotonic() + 2
    while (held := pa.total_allocated_bytes() - before) > 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    return most + held


def export(out: Path, count: int, to: str) -> None:
    with staged(out, {}) as staging:
        writer = (
            RldsWriter(staging, "soar", False, shard_bytes=4 * FRAME)
            if to == "rlds"
            else LeRobotWriter(staging, WIDOWX, LeRobotOptions(), 1.0)
        )
        assert sum(1 for _ in writer.write(episodes(count))) == count


def read(folder: Path) -> None:
    assert sum(map(len, open_data_set(folder).read()))


@pytest.mark.parametrize("to", ["rlds", "lerobot"])
def test_memory_doesnt_grow_with_the_number_of_episodes(tmp_path: Path, to: str) -> None:
    sets = {3: tmp_path / "few", 15: tmp_path / "many"}
    writing = [peak(partial(export, out, count, to)) for count, out in sets.items()]
    reading = [peak(partial(read, out)) for out in sets.values()]
    episode = 20 * FRAME
    assert writing[1] - writing[0] < episode
    assert reading[1] - reading[0] < episode
    assert max(writing + reading) > episode  # it is frames that were measured
