"""Evaluation of a VLM in simulated scenes, against the simulator's ground truth. Privileged.

Success detection is measured as the loop uses it: the answer to each task's question, read as done or not, against
whether the task's goal holds. Questions of every kind are measured beside it, and where the model locates the objects
that its questions name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32

from soar.interfaces import VisionLanguageModel
from soar.pretraining.labeled_images import LabeledImageConfig, sample_states
from soar.pretraining.object_names import absent_name
from soar.pretraining.scene_facts import facts_of, sample_facts
from soar.sim.projection import project_point
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
_SCENE_CONFIG = LabeledImageConfig(stops=2, views=1, scattered=0.0)
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
    """Kind of the question, preceded by "not " for a task that is done if the answer is no."""
    p: float
    """P(done) or P(yes); NaN if the reply couldn't be read."""
    truth: bool


@runtime_checkable
class Locator(Protocol):
    """A model that finds named objects in images; `soar.vlm.compact.model.CompactVLM` does."""

    def point(self, images: Sequence[Image], tasks: Sequence[Task]) -> Float32[np.ndarray, "n 2 2"]:
        """Return x and y in [-1, 1] of the object and the container that each task names; NaN for none."""


class SceneResults(NamedTuple):
    """Results of a model in some scenes."""

    predictions: list[LabeledPrediction]
    errors: Float32[np.ndarray, " n"]
    """Distance of each located object from its true place [half an image]; empty for models that don't locate."""


class LabeledView(NamedTuple):
    """An image with all questions about it, and the true places of the objects in it."""

    image: Image
    tasks: list[LabeledTask]
    places: Mapping[str, Float32[np.ndarray, "2"]]


def judge_scenes(
    model: VisionLanguageModel,
    scenes: Sequence[Scene],
    images: int,
    seed: int,
    on_image: Callable[[], None] = lambda: None,
    scattered: float = 0.0,
) -> SceneResults:
    """Let a model judge images of some scenes.

    Args:
        model: model to evaluate.
        scenes: simulated scenes.
        images: images per scene.
        seed: seed of what happens in them.
        on_image: called after each rendered image.
        scattered: share of resets after which the objects are scattered, as practice leaves them.

    Raises:
        ConfigError: a scene's objects don't fit on the table, or its physics diverges again and again.
    """
    config = replace(_SCENE_CONFIG, scattered=scattered)
    predictions: list[LabeledPrediction] = []
    errors: list[float] = []
    for number, scene in enumerate(scenes):
        rng, questions = (np.random.default_rng((seed, number, part)) for part in (0, 1))
        tasks = tasks_from_instructions([t.instruction for t in scene.tasks], scene.questions)
        worlds = islice(sample_states(scene, config, rng), images)
        views = (_view(world, tasks, questions, on_image) for world in worlds)
        while batch := list(islice(views, _BATCH_SIZE)):
            predictions += _predict(model, scene.name, batch)
            if isinstance(model, Locator):
                errors += [error for view in batch for error in _location_errors(model, view)]
    return SceneResults(predictions, np.array(errors, np.float32))


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


def _view(
    world: World, tasks: Sequence[Task], rng: np.random.Generator, on_image: Callable[[], None]
) -> LabeledView:
    image = world.render()
    labeled = [*_labeled_tasks(world, tasks), *_labeled_facts(world, rng)]
    there = {o.name for o in world.scene.objects} - set(world.objects_lost())
    places = {name: project_point(world, world.object_pose(name)[0]) for name in sorted(there)}
    on_image()
    return LabeledView(image, labeled, places)


def _location_errors(model: Locator, view: LabeledView) -> list[float]:
    """Errors of the objects of each different question; an object outside the image has no place."""
    questions = {x.task.question for x in view.tasks if x.task.question.object in view.places}
    tasks = [Task("", q) for q in sorted(questions, key=lambda q: q.text)]
    if not tasks:
        return []
    located = model.point([view.image] * len(tasks), tasks)
    names = [(t.question.object, t.question.container) for t in tasks]
    return [
        float(np.linalg.norm(point - view.places[name]))
        for pair, points in zip(names, located, strict=True)
        for name, point in zip(pair, points, strict=True)
        if name in view.places and not np.isnan(view.places[name]).any()
    ]


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
    model: VisionLanguageModel, scene: str, batch: Sequence[LabeledView]
) -> list[LabeledPrediction]:
    """Ask each question once per image."""
    questions = [list(dict.fromkeys(x.task.question for x in view.tasks)) for view in batch]
    replies = model.answer([view.image for view in batch], questions)
    predictions = []
    for view, reply in zip(batch, replies, strict=True):
        p_yes = {answer.question: answer.p_yes for answer in reply}
        for x in view.tasks:
            yes = p_yes[x.task.question]
            p = np.nan if yes is None else success_probability(x.task, yes)
            predictions.append(LabeledPrediction(scene, x.group, x.kind, float(p), x.truth))
    return predictions
