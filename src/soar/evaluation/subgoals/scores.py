"""How well imagined chains do what an expert does: by the loop's eyes, by the evaluation's, and by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from soar.evaluation.subgoals.chains import Chain
from soar.evaluation.subgoals.image_judge import Judge, Reading
from soar.interfaces import VisionLanguageModel
from soar.types import Images, Task
from soar.utils.media import resize


@dataclass(frozen=True)
class Score:
    """One instruction of one scene, over its chains. Shares are of last images that show it fulfilled."""

    scene: str
    instruction: str
    chains: int
    imagined: float
    """By the judge."""
    expert: float
    """The same of what the expert did: what an imagination could reach at most."""
    vlm_imagined: float
    """By the loop's vision-language model."""
    vlm_expert: float
    first_hand_error: float
    """Distance between hand imagined and hand to be, in the first image [share of its side]."""
    last_thing_error: float
    """Distance between thing imagined and thing to be, in the last image [share of its side]."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read in every chain, in order."""

    imagined: Reading
    expert: Reading
    vlm_imagined: Float32[np.ndarray, " n"]
    """P(fulfilled)."""
    vlm_expert: Float32[np.ndarray, " n"]
    first_imagined: Reading
    first_expert: Reading


def read_chains(
    chains: Sequence[Chain],
    judge: Judge,
    vlm: VisionLanguageModel | None,
    tasks: Mapping[str, Task],
) -> Readings:
    """Show first and last images to judge and model; both sides at the imagined images' resolution.

    `tasks`: by instruction, with the questions the model is asked; without a model its columns are NaN.
    """
    side = chains[0].imagined.shape[1]
    words = [c.future.instruction for c in chains]

    def images(which: int) -> tuple[Images, Images]:
        expert = np.stack([c.future.frames[which] for c in chains])
        return np.stack([c.imagined[which] for c in chains]), resize(expert, side)

    last, first = images(-1), images(0)
    asked = [tasks[text] for text in words] if vlm else []
    return Readings(
        judge.read(last[0], words),
        judge.read(last[1], words),
        _ask(vlm, last[0], asked),
        _ask(vlm, last[1], asked),
        judge.read(first[0], words),
        judge.read(first[1], words),
    )


def score(chains: Sequence[Chain], readings: Readings) -> list[Score]:
    """One score for each instruction of each scene, in the order in which they come."""
    keys = [(c.future.scene, c.future.instruction) for c in chains]
    hand = _apart(readings.first_imagined, readings.first_expert, 2)
    thing = _apart(readings.imagined, readings.expert, 0)
    scores = []
    for scene, instruction in dict.fromkeys(keys):
        own = np.array([key == (scene, instruction) for key in keys])
        scores.append(
            Score(
                scene,
                instruction,
                chains=int(own.sum()),
                imagined=_share(readings.imagined.done[own]),
                expert=_share(readings.expert.done[own]),
                vlm_imagined=_share(readings.vlm_imagined[own]),
                vlm_expert=_share(readings.vlm_expert[own]),
                first_hand_error=float(hand[own].mean()),
                last_thing_error=float(thing[own].mean()),
            )
        )
    return scores


def _ask(
    vlm: VisionLanguageModel | None, images: Images, tasks: Sequence[Task]
) -> Float32[np.ndarray, " n"]:
    if vlm is None:
        return np.full(len(images), np.nan, np.float32)
    answers = vlm.answer(list(images), [[t.question] for t in tasks])
    p = [np.nan if a.p_yes is None else a.p_yes for [a] in answers]
    return np.array(
        [x if t.success_answer else 1 - x for x, t in zip(p, tasks, strict=True)], np.float32
    )


def _share(p: Float32[np.ndarray, " n"]) -> float:
    """Share of probabilities over a half; NaN when nothing was read."""
    known = p[~np.isnan(p)]
    return float((known > 0.5).mean()) if len(known) else float("nan")


def _apart(one: Reading, other: Reading, place: int) -> Float32[np.ndarray, " n"]:
    """Distance between two readings of a place, as a share of the image's side."""
    difference = one.places[:, place] - other.places[:, place]
    return np.asarray(np.linalg.norm(difference, axis=1) / 2, np.float32)
