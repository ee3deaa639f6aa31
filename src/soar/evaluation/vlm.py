"""Evaluation of a VLM in simulated scenes, against the simulator's ground truth. Privileged.

Success detection is measured as the loop uses it: the answer to each task's question, read as done or not, against
whether the task's goal holds. Questions of every kind are measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from soar.interfaces import VisionLanguageModel
from soar.pretraining.labeled_images import LabeledImageConfig, sample_states
from soar.pretraining.object_names import absent_name
from soar.pretraining.scene_facts import facts_of, sample_facts
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.tasks.grammar import success_probability
from soar.tasks.question_file import tasks_from_instructions
from soar.tasks.questions import make_question
from soar.types import Image, Task
from soar.utils.statistics import Confusion
from soar.vlm.calibration import confusion

Group: TypeAlias = Literal["task", "question"]
"""Success detection of a task, or a question about a fact of the scene."""
_SCENE_CONFIG = LabeledImageConfig(stops=2, views=1)
_QUESTIONS = 6
"""Questions about facts per image."""
_BATCH_SIZE = 16


class LabeledTask(NamedTuple):
    """A task, or a question as a task that is done if the answer is yes, with the truth."""

    group: Group
    kind: str
    task: Task
    truth: bool


@dataclass(frozen=True)
class LabeledPrediction:
    """A model's estimate with the truth."""

    scene: str
    group: Group
    kind: str
    """Kind of the question, after "not " for a task that is done if the answer is no."""
    p: float
    """P(done) or P(yes); NaN if the reply couldn't be read."""
    truth: bool


def judge_scenes(
    model: VisionLanguageModel,
    scenes: Sequence[Scene],
    images: int,
    seed: int,
    on_image: Callable[[], None] = lambda: None,
) -> list[LabeledPrediction]:
    """Let a model judge images of some scenes.

    Args:
        model: model to evaluate.
        scenes: simulated scenes.
        images: images per scene.
        seed: seed of what happens in them.
        on_image: called after each rendered image.
    """
    predictions: list[LabeledPrediction] = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng((seed, number))
        tasks = tasks_from_instructions([t.instruction for t in scene.tasks], scene.questions)
        batch: list[tuple[Image, list[LabeledTask]]] = []
        for world in islice(sample_states(scene, _SCENE_CONFIG, rng), images):
            batch.append(
                (world.render(), [*_labeled_tasks(world, tasks), *_labeled_facts(world, rng)])
            )
            on_image()
            if len(batch) == _BATCH_SIZE:
                predictions += _predict(model, scene.name, batch)
                batch = []
        predictions += _predict(model, scene.name, batch)
    return predictions


def confusion_by(
    key: Callable[[LabeledPrediction], str],
    predictions: Iterable[LabeledPrediction],
    threshold: float,
) -> dict[str, Confusion]:
    """Return the confusion matrix at a threshold for each value of `key`."""
    groups: dict[str, list[LabeledPrediction]] = {}
    for prediction in predictions:
        groups.setdefault(key(prediction), []).append(prediction)
    return {
        name: confusion(np.array([x.p for x in own]), np.array([x.truth for x in own]), threshold)
        for name, own in groups.items()
    }


def _labeled_tasks(world: World, tasks: Sequence[Task]) -> list[LabeledTask]:
    """The scene's tasks, each with whether its goal holds."""
    labeled = []
    for task, scene_task in zip(tasks, world.scene.tasks, strict=True):
        kind = task.question.kind
        name = kind if task.success_answer else f"not {kind}"
        labeled.append(LabeledTask("task", name, task, world.fulfilled(scene_task.goal)))
    return labeled


def _labeled_facts(world: World, rng: np.random.Generator) -> list[LabeledTask]:
    """Sampled facts of every kind, in the wording that tasks use."""
    labeled = []
    for fact in sample_facts(facts_of(world), _QUESTIONS, rng):
        object = fact.object or absent_name(world.scene, rng)
        question = make_question(fact.kind, object, fact.container)
        labeled.append(LabeledTask("question", fact.kind, Task("", question), fact.true))
    return labeled


def _predict(
    model: VisionLanguageModel, scene: str, batch: Sequence[tuple[Image, Sequence[LabeledTask]]]
) -> list[LabeledPrediction]:
    """Ask each question once per image."""
    questions = [list(dict.fromkeys(x.task.question for x in labeled)) for _, labeled in batch]
    replies = model.answer([image for image, _ in batch], questions) if batch else []
    predictions = []
    for (_, labeled), reply in zip(batch, replies, strict=True):
        p_yes = {answer.question: answer.p_yes for answer in reply}
        for x in labeled:
            yes = p_yes[x.task.question]
            p = np.nan if yes is None else success_probability(x.task, yes)
            predictions.append(LabeledPrediction(scene, x.group, x.kind, float(p), x.truth))
    return predictions
