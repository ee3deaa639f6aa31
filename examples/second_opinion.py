"""Eyes of your own: two models are asked, and where they disagree the answer is unknown, never a label.

Anything with a `name` and an `answer` can propose and judge (`soar.interfaces.VisionLanguageModel`): a
video reward model, a classifier trained on your robot, or, as here, two models watching each other. From
this folder, wherever a command takes --vlm:

    soar vlm ask table.png "Is the lemon on the plate?" --vlm python:second_opinion:eyes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soar import Answer, Image, Question, VisionLanguageModel


@dataclass(frozen=True)
class SecondOpinion:
    """Asks both; keeps the mean of their probabilities where they agree."""

    first: VisionLanguageModel
    second: VisionLanguageModel

    @property
    def name(self) -> str:
        """Both names: a verdict says who judged."""
        return f"{self.first.name} and {self.second.name}"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """One answer to each question; unknown where the two say different things, or one says nothing."""
        replies = (model.answer(images, questions) for model in (self.first, self.second))
        return [
            [_agreed(a, b) for a, b in zip(row, other, strict=True)]
            for row, other in zip(*replies, strict=True)
        ]


def _agreed(a: Answer, b: Answer) -> Answer:
    raw = f"{a.raw} | {b.raw}"
    if a.p_yes is None or b.p_yes is None or (a.p_yes > 0.5) != (b.p_yes > 0.5):
        return Answer(a.question, None, raw)
    return Answer(a.question, (a.p_yes + b.p_yes) / 2, raw)


def eyes() -> SecondOpinion:
    """The packaged eyes, checked by a bigger model on this machine's own server."""
    from soar.registry import load_vlm

    return SecondOpinion(
        load_vlm("compact"),
        load_vlm("systemone:Qwen/Qwen2.5-VL-3B-Instruct@http://localhost:8000/v1"),
    )
