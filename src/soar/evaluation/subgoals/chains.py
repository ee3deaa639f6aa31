"""Chains of imagined images, each imagined from the one before, beside what a scripted expert really does.

Privileged: it sets simulated tables and watches an expert. For measuring and for looking at only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soar.errors import RobotFault
from soar.interfaces import SubgoalGenerator
from soar.registry import COMPACT_STEPS_AHEAD
from soar.sim.expert.expert import Expert
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.types import Image, Images, Observation, image_only
from soar.utils.media import contact_sheet, resize

CAMERA_PIXELS = 256


@dataclass(frozen=True, eq=False)
class Future:
    """A start, an instruction, and what an expert then does."""

    scene: str
    instruction: str
    start: Observation
    frames: Images
    """One for each link, equally many control steps apart; past its end the expert stays."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A future, and the same imagined."""

    future: Future
    imagined: Images


def expert_futures(
    scenes: Sequence[Scene],
    trials: int,
    seed: int,
    ahead: int = COMPACT_STEPS_AHEAD,
    links: int = 5,
) -> Iterator[Future]:
    """Futures of every task of the scenes, from `trials` starts each. An expert that fails is left out."""
    for scene in scenes:
        world = World(scene, CAMERA_PIXELS)
        try:
            for task in scene.tasks:
                for trial in range(trials):
                    future = _future(world, task, seed + trial, ahead, links)
                    if future is not None:
                        yield future
        finally:
            world.close()


def generate_chains(
    generator: SubgoalGenerator, futures: Sequence[Future], seed: int = 0, batch: int = 16
) -> list[Chain]:
    """Every future's chain: the first image imagined from its start, each other from the one before."""
    rng = np.random.default_rng(seed)
    chains: list[Chain] = []
    for first in range(0, len(futures), batch):
        some = futures[first : first + batch]
        seen = [f.start for f in some]
        links = []
        for _ in range(len(some[0].frames)):
            images = generator.generate(seen, [f.instruction for f in some], rng)
            seen = image_only(images)
            links.append(images)
        chains += [
            Chain(f, np.stack(own)) for f, own in zip(some, zip(*links, strict=True), strict=True)
        ]
    return chains


def chain_sheet(chains: Sequence[Chain], size: int = 128) -> Image:
    """Two rows for each chain: what was imagined, and below it what the expert did."""
    shown: list[Image] = []
    captions: list[str] = []
    for chain in chains:
        future, links = chain.future, range(1, len(chain.imagined) + 1)
        start, nothing = resize(future.start.image, size), np.full((size, size, 3), 250, np.uint8)
        shown += [start, *resize(chain.imagined, size), nothing, *resize(future.frames, size)]
        captions += [f"{future.scene}: {future.instruction}", *(f"imagined {i}" for i in links)]
        captions += ["", *(f"expert {i}" for i in links)]
    return contact_sheet(shown, captions, 1 + len(chains[0].imagined))


def _future(world: World, task: SceneTask, seed: int, ahead: int, links: int) -> Future | None:
    try:
        world.reset(seed, task.goal)
        start = Observation(world.render(), world.state(), 0.0)
        expert = Expert(world, task.goal, np.random.default_rng(seed), noise=0.0)
        frames = []
        for step in range(1, ahead * links + 1):
            if not expert.done:
                world.step(expert.act())
            if step % ahead == 0:
                frames.append(world.render())
    except RobotFault:
        return None
    if not world.fulfilled(task.goal):
        return None
    return Future(world.scene.name, task.instruction, start, np.stack(frames))
