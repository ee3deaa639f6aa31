"""How fast the compact eyes answer: latency of a look by images and questions, words known and new.

python benchmarks/vlm.py --threads 2
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import rich
import torch
import tyro
from rich.table import Table

from soar.tasks.questions import parse_question
from soar.vlm.compact.model import CompactVLM, to_checkpoint
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    threads: int = 2
    repeats: int = 20
    resolution: int = CompactVLMConfig.resolution


def main(setting: Setting) -> None:
    """Print one table; the last column is against a look with one question at one image."""
    torch.set_num_threads(setting.threads)
    net = CompactVLMNet(CompactVLMConfig(resolution=setting.resolution))
    model = CompactVLM(to_checkpoint(net, 1.0, {}))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(8)]
    questions = [
        f"Is the {c} block in the {k}?"
        for c in ("red", "green", "blue")
        for k in ("bowl", "pot", "pan", "tray")
    ]
    table = Table("images", "questions each", "ms a look", "images/s", "ratio", box=None)
    base = 0.0
    for n, q in ((1, 1), (1, 12), (8, 1), (8, 12)):
        asked = [questions[:q]] * n
        seconds = timed(lambda n=n, asked=asked: model.answer(images[:n], asked), setting.repeats)  # type: ignore[misc]
        base = base or seconds
        table.add_row(
            str(n), str(q), f"{seconds * 1e3:.1f}", f"{n / seconds:.0f}", f"{seconds / base:.2f}"
        )
    new = iter(range(10**9))
    fresh = timed(
        lambda: model.answer(
            images[:1], [[parse_question(f"Is the object number {next(new)} in the bowl?")]]
        ),
        setting.repeats,
    )
    table.add_row(
        "1", "1, new words", f"{fresh * 1e3:.1f}", f"{1 / fresh:.0f}", f"{fresh / base:.2f}"
    )
    rich.print(table)


def timed(act: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return median(times[2:])


if __name__ == "__main__":
    main(tyro.cli(Setting))
