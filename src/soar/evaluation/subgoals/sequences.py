"""Sequences of generated subgoals, each generated from the one before, beside the frames of a scripted expert.

Uses the simulator's truth; for measuring and for inspection only.
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
from soar.tasks.grammar import parse_instruction
from soar.types import Image, Images, Observation, image_only
from soar.utils.media import contact_sheet, resize


@dataclass(frozen=True, eq=False)
class ExpertSequence:
    """A start, an instruction, and frames of an expert that completes it."""

    scene: str
    instruction: str
    start: Observation
    frames: Images
    """Frames at equal intervals; the expert stays where it ends."""


@dataclass(frozen=True, eq=False)
class GeneratedSequence:
    """Subgoals generated from an expert sequence's start, as many as it has frames."""

    expert: ExpertSequence
    images: Images


def expert_sequences(
    scenes: Sequence[Scene],
    trials: int,
    seed: int,
    steps_ahead: int = COMPACT_STEPS_AHEAD,
    length: int = 5,
) -> Iterator[ExpertSequence]:
    """Record every task of the scenes from `trials` starts each; failures of the expert are left out.

    `steps_ahead`: control steps between two frames. `length`: frames in a sequence.
    """
    for scene in scenes:
        world = World(scene)
        try:
            for task in scene.tasks:
                for trial in range(trials):
                    sequence = _record(world, task, seed + trial, steps_ahead, length)
                    if sequence is not None:
                        yield sequence
        finally:
            world.close()


def generate_sequences(
    generator: SubgoalGenerator,
    experts: Sequence[ExpertSequence],
    seed: int = 0,
    batch_size: int = 16,
) -> list[GeneratedSequence]:
    """Generate a sequence for each expert's: the first image from its start, each other from the one before."""
    rng = np.random.default_rng(seed)
    sequences: list[GeneratedSequence] = []
    for first in range(0, len(experts), batch_size):
        batch = experts[first : first + batch_size]
        observations = [e.start for e in batch]
        tasks = [parse_instruction(e.instruction) for e in batch]
        steps = []
        for _ in range(len(batch[0].frames)):
            images = generator.generate(observations, tasks, rng)
            observations = image_only(images)
            steps.append(images)
        for expert, own in zip(batch, zip(*steps, strict=True), strict=True):
            sequences.append(GeneratedSequence(expert, np.stack(own)))
    return sequences


def sequence_sheet(sequences: Sequence[GeneratedSequence], size: int = 128) -> Image:
    """Draw two rows for each sequence: the generated images above the expert's frames."""
    cells: list[Image] = []
    captions: list[str] = []
    for sequence in sequences:
        expert, numbers = sequence.expert, range(1, len(sequence.images) + 1)
        start, blank = resize(expert.start.image, size), np.full((size, size, 3), 250, np.uint8)
        cells += [start, *resize(sequence.images, size), blank, *resize(expert.frames, size)]
        captions += [f"{expert.scene}: {expert.instruction}", *(f"generated {i}" for i in numbers)]
        captions += ["", *(f"expert {i}" for i in numbers)]
    return contact_sheet(cells, captions, 1 + len(sequences[0].images))


def _record(
    world: World, task: SceneTask, seed: int, steps_ahead: int, length: int
) -> ExpertSequence | None:
    try:
        world.reset(seed, task.goal)
        start = Observation(world.render(), world.state(), 0.0)
        expert = Expert(world, task.goal, np.random.default_rng(seed), noise=0.0)
        frames = []
        for step in range(1, steps_ahead * length + 1):
            if not expert.done:
                world.step(expert.act())
            if step % steps_ahead == 0:
                frames.append(world.render())
    except RobotFault:
        return None
    if not world.fulfilled(task.goal):
        return None
    return ExpertSequence(world.scene.name, task.instruction, start, np.stack(frames))
