"""How well a model judges simulated scenes, against the simulator's own word. Privileged, for measuring only.

Success detection is measured as the loop uses it: each task's own question about the scene as it is, read
as done or not, against whether the task's goal really holds. Beside it, questions of every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from soar.interfaces import VisionLanguageModel
from soar.pretraining.labeled_images import LabeledImageConfig, sampled_moments
from soar.pretraining.object_names import absent_name
from soar.pretraining.question_templates import TEMPLATES, fill
from soar.pretraining.scene_facts import draw, facts_of
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.tasks.grammar import success_probability, task_from_instruction
from soar.tasks.questions import parse_question
from soar.types import Image, Task
from soar.utils.statistics import Confusion
from soar.vlm.calibration import confusion

Group: TypeAlias = Literal["task", "question"]
_PLAY = LabeledImageConfig(moments=2, views=1)
_QUESTIONS = 6
"""Drawn for each image, beside those of the tasks."""
_BATCH = 16


class Asked(NamedTuple):
    """Something to ask about an image, and the truth."""

    group: Group
    kind: str
    task: Task
    """For a plain question, one that is done when the answer is yes."""
    truth: bool


@dataclass(frozen=True)
class Judged:
    """What a model said, and what was true."""

    scene: str
    group: Group
    kind: str
    """Of a task: "in", "not in", "left"...; of a question likewise, without "not"."""
    p: float
    """P(done) or P(yes); NaN where it couldn't be read."""
    truth: bool


def judge_scenes(
    model: VisionLanguageModel,
    scenes: Sequence[Scene],
    images: int,
    seed: int,
    on_image: Callable[[], None] = lambda: None,
) -> list[Judged]:
    """Play with each scene and ask about `images` moments of it."""
    judged: list[Judged] = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng((seed, number))
        batch: list[tuple[Image, list[Asked]]] = []
        for world in islice(sampled_moments(scene, _PLAY, rng), images):
            batch.append((world.render(), [*_tasks(world), *_questions(world, rng)]))
            on_image()
            if len(batch) == _BATCH:
                judged += _judge(model, scene.name, batch)
                batch = []
        judged += _judge(model, scene.name, batch)
    return judged


def by(
    judged: Iterable[Judged], key: Callable[[Judged], str], threshold: float
) -> dict[str, Confusion]:
    """Verdicts against truth for each value of `key`."""
    groups: dict[str, list[Judged]] = {}
    for j in judged:
        groups.setdefault(key(j), []).append(j)
    return {
        name: confusion(np.array([j.p for j in js]), np.array([j.truth for j in js]), threshold)
        for name, js in groups.items()
    }


def _tasks(world: World) -> list[Asked]:
    """Every task of the scene, and whether its goal holds."""
    asked = []
    for scene_task in world.scene.tasks:
        task = task_from_instruction(scene_task.instruction)
        kind = parse_question(task.question).kind
        name = kind if task.success_answer else f"not {kind}"
        asked.append(Asked("task", name, task, world.fulfilled(scene_task.goal)))
    return asked


def _questions(world: World, rng: np.random.Generator) -> list[Asked]:
    """Some facts of every kind, in the words that tasks use."""
    asked = []
    for fact in draw(facts_of(world), _QUESTIONS, rng):
        thing = fact.thing or absent_name(world.scene, rng)
        question = fill(TEMPLATES[fact.kind][0], thing, fact.container)
        asked.append(Asked("question", fact.kind, Task(question, question, True), fact.true))
    return asked


def _judge(
    model: VisionLanguageModel, scene: str, batch: Sequence[tuple[Image, Sequence[Asked]]]
) -> list[Judged]:
    """Ask each question once for each image."""
    questions = [list(dict.fromkeys(a.task.question for a in asked)) for _, asked in batch]
    replies = model.answer([image for image, _ in batch], questions) if batch else []
    judged = []
    for (_, asked), reply in zip(batch, replies, strict=True):
        said = {answer.question: answer.p_yes for answer in reply}
        for a in asked:
            p_yes = said[a.task.question]
            p = np.nan if p_yes is None else success_probability(a.task, p_yes)
            judged.append(Judged(scene, a.group, a.kind, float(p), a.truth))
    return judged
