"""Latency and throughput of subgoal generation by scheduler, steps and batch, beside the authors' reference.

    python benchmarks/subgoals.py                      the packaged compact generator
    python benchmarks/subgoals.py --random             the same network with random weights
    python benchmarks/subgoals.py --subgoals FOLDER    any other compact checkpoint

The reference is 50 DDIM steps with the paper's guidance, with the three branches as three calls. The error is the
root mean square distance, in levels of 255, from the images of 200 DDIM steps with the same noise and guidance.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import rich
import torch
import tyro
from rich.table import Table
from torch import Tensor

from soar import checkpoint as checkpoints
from soar.registry import packaged
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
from soar.subgoals.compact.generator import FAST, CompactSubgoalGenerator, to_checkpoint
from soar.subgoals.compact.network import CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.subgoals.sampler import REFERENCE, Condition, Denoiser, SamplerConfig, SchedulerName
from soar.tasks.grammar import parse_instruction
from soar.types import Images, Observation, Task
from soar.vlm.compact.model import CompactVLM

NAMES: tuple[SchedulerName, ...] = get_args(SchedulerName)
EXACT = 200
"""Number of steps above which the image hardly changes."""


class Sequential(CompactSubgoalGenerator):
    """A generator that runs the three branches in three calls, as the reference does."""

    def denoise(self, noisy: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """Run one call for each third of the batch."""
        one: Denoiser = super().denoise
        thirds = [tuple(part) for part in zip(*(c.chunk(3) for c in condition), strict=True)]
        return torch.cat([one(x, timestep, c) for x, c in zip(noisy.chunk(3), thirds, strict=True)])


def main(
    subgoals: Path | None = None,
    random: bool = False,
    steps: tuple[int, ...] = (2, 4, 8),
    batches: tuple[int, ...] = (1, 8),
    threads: int = 2,
    repeats: int = 3,
) -> None:
    torch.set_num_threads(threads)
    if random:
        checkpoint = to_checkpoint(CompactSubgoalNet(CompactSubgoalConfig()), {})
    else:
        checkpoint = checkpoints.load(subgoals or packaged("subgoals"))
    locator = CompactVLM.load(packaged("vlm"))
    compact = CompactSubgoalGenerator(checkpoint, locator=locator)
    sequential = Sequential(checkpoint, REFERENCE, locator=locator)
    table = Table(
        "scheduler", "steps", "guidance", "batch", "latency [s]", "images/s", "ratio", "error"
    )
    for batch in batches:
        inputs = starts(batch)
        _, reference = run(sequential, inputs, repeats)
        row(table, "reference", REFERENCE, batch, reference, 1.0, float("nan"))
        for guidance in (REFERENCE, FAST):
            compact.sampler = replace(guidance, scheduler="ddim", steps=EXACT)
            exact, _ = run(compact, inputs, 0)
            for name in NAMES:
                for count in steps:
                    compact.sampler = replace(guidance, scheduler=name, steps=count)
                    made, taken = run(compact, inputs, repeats)
                    error = float(np.sqrt(np.square(made.astype(float) - exact).mean()))
                    row(table, name, compact.sampler, batch, taken, reference / taken, error)
    rich.print(table)


def starts(count: int) -> tuple[list[Observation], list[Task]]:
    """Make one start of each of the first scenes, with its first task."""
    seen, tasks = [], []
    for i in range(count):
        scene = load_scene(str(1 + i % 10))
        world = World(scene)
        world.reset(i, scene.tasks[0].goal)
        seen.append(Observation(world.render(), world.state(), 0.0))
        tasks.append(parse_instruction(scene.tasks[0].instruction))
        world.close()
    return seen, tasks


def run(
    generator: CompactSubgoalGenerator, inputs: tuple[list[Observation], list[Task]], repeats: int
) -> tuple[Images, float]:
    """Return the images, and the time of the fastest of some calls after a first one [s]."""
    made = generator.generate(*inputs, np.random.default_rng(0))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        generator.generate(*inputs, np.random.default_rng(0))
        best = min(best, time.perf_counter() - start)
    return made, best


def row(
    table: Table,
    name: str,
    config: SamplerConfig,
    batch: int,
    taken: float,
    ratio: float,
    error: float,
) -> None:
    table.add_row(
        name,
        str(config.steps),
        f"{config.image_guidance:g} / {config.text_guidance:g}",
        str(batch),
        f"{taken:.3f}",
        f"{batch / taken:.1f}",
        f"{ratio:.1f}",
        "" if error != error else f"{error:.2f}",
    )


if __name__ == "__main__":
    tyro.cli(main)
