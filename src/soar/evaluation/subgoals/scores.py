"""Scores of generated sequences: completion by a classifier and by the loop's VLM, and position errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from soar.evaluation.subgoals.classifier import Prediction, SuccessClassifier
from soar.evaluation.subgoals.sequences import GeneratedSequence
from soar.interfaces import VisionLanguageModel
from soar.subgoals.compact.observation_encoder import GRIPPER, OBJECT
from soar.tasks.grammar import success_probability
from soar.types import Images, Task
from soar.utils.media import resize


@dataclass(frozen=True)
class Score:
    """Scores of one instruction of one scene. Shares are of sequences whose last image shows it completed."""

    scene: str
    instruction: str
    sequences: int
    """Number of sequences."""
    generated: float
    """Share by the classifier."""
    expert: float
    """Share of the expert's sequences by the classifier: the most a generator could reach."""
    vlm_generated: float
    """Share by the loop's vision-language model."""
    vlm_expert: float
    """Share of the expert's sequences by the loop's vision-language model."""
    first_gripper_error: float
    """Distance between the generated gripper and the expert's, in the first image [share of its side]."""
    last_object_error: float
    """Distance between the generated object and the expert's, in the last image [share of its side]."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Outputs of both models for every sequence, in order: of its last image, and of its first."""

    generated: Prediction
    expert: Prediction
    vlm_generated: Float32[np.ndarray, " n"]
    """P(completed); NaN where there is none."""
    vlm_expert: Float32[np.ndarray, " n"]
    first_generated: Prediction
    first_expert: Prediction


def predict(
    sequences: Sequence[GeneratedSequence],
    classifier: SuccessClassifier,
    vlm: VisionLanguageModel | None,
    tasks: Mapping[str, Task],
) -> Predictions:
    """Classify the first and last images, all at the generated images' resolution.

    `tasks`: by instruction, with the VLM's questions; without a VLM its columns are NaN.
    """
    side = sequences[0].images.shape[1]
    instructions = [s.expert.instruction for s in sequences]

    def images(index: int) -> tuple[Images, Images]:
        expert = np.stack([s.expert.frames[index] for s in sequences])
        return np.stack([s.images[index] for s in sequences]), resize(expert, side)

    last, first = images(-1), images(0)
    asked = [tasks[text] for text in instructions] if vlm else []
    return Predictions(
        classifier.predict(last[0], instructions),
        classifier.predict(last[1], instructions),
        _success_probabilities(vlm, last[0], asked),
        _success_probabilities(vlm, last[1], asked),
        classifier.predict(first[0], instructions),
        classifier.predict(first[1], instructions),
    )


def score(sequences: Sequence[GeneratedSequence], predictions: Predictions) -> list[Score]:
    """Score each instruction of each scene, in the order of their first sequences."""
    keys = [(s.expert.scene, s.expert.instruction) for s in sequences]
    gripper = _distance(predictions.first_generated, predictions.first_expert, GRIPPER)
    object_ = _distance(predictions.generated, predictions.expert, OBJECT)
    scores = []
    for scene, instruction in dict.fromkeys(keys):
        own = np.array([key == (scene, instruction) for key in keys])
        scores.append(
            Score(
                scene,
                instruction,
                sequences=int(own.sum()),
                generated=_share(predictions.generated.done[own]),
                expert=_share(predictions.expert.done[own]),
                vlm_generated=_share(predictions.vlm_generated[own]),
                vlm_expert=_share(predictions.vlm_expert[own]),
                first_gripper_error=float(gripper[own].mean()),
                last_object_error=float(object_[own].mean()),
            )
        )
    return scores


def _success_probabilities(
    vlm: VisionLanguageModel | None, images: Images, tasks: Sequence[Task]
) -> Float32[np.ndarray, " n"]:
    if vlm is None:
        return np.full(len(images), np.nan, np.float32)
    answers = vlm.answer(list(images), [[t.question] for t in tasks])
    p = [np.nan if a.p_yes is None else success_probability(t, a.p_yes)
         for t, [a] in zip(tasks, answers, strict=True)]  # fmt: skip
    return np.array(p, np.float32)


def _share(p: Float32[np.ndarray, " n"]) -> float:
    """Return the share of probabilities above a half; NaN when all are NaN."""
    known = p[~np.isnan(p)]
    return float((known > 0.5).mean()) if len(known) else float("nan")


def _distance(one: Prediction, other: Prediction, point: int) -> Float32[np.ndarray, " n"]:
    """Return the distances between two predictions of a point, as shares of the image's side."""
    difference = one.points[:, point] - other.points[:, point]
    return np.asarray(np.linalg.norm(difference, axis=1) / 2, np.float32)
