"""Eyes of your own: whatever answers yes/no questions about images can propose tasks and judge them.

    python examples/own_vlm.py            judges forty scenes of a toy table, and counts

Wherever a command or a models file names a VLM, `python:module:function` is one of yours:

    cd examples && soar doctor --store /tmp/store --station own_robot.yaml --models toy_models.yaml \
        --vlm python:own_vlm:make
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from soar import (
    Answer,
    EpisodeFrames,
    Image,
    Question,
    VisionLanguageModel,
    load_vlm,
    task_from_instruction,
)
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS
from soar.tasks.success_detector import VLMSuccessDetector

COLORS = {"red": 0, "green": 1, "blue": 2}


class ColorEyes:
    """Knows three colours and two sides. What it can't tell is unknown, which never becomes a label."""

    name = "colour eyes"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """For each image, one answer to each of its questions, in their order."""
        return [
            [self._one(image, question) for question in asked]
            for image, asked in zip(images, questions, strict=True)
        ]

    def _one(self, image: Image, question: Question) -> Answer:
        # "Is the green block on the left side?" has kind "left" and object "green block".
        color = next((c for c in COLORS if c in question.object.split()), None)
        if color is None or question.kind not in ("left", "right", "present"):
            return Answer(question, None, "I can't tell")
        found = _pixels(image, COLORS[color])
        if question.kind == "present":
            p = float(found.sum() >= 4)
        elif not found.any():
            return Answer(question, None, f"nothing {color} to be seen")
        else:
            left = float(found[:, : image.shape[1] // 2].sum() / found.sum())
            p = left if question.kind == "left" else 1 - left
        return Answer(question, p, f"{found.sum()} {color} pixels")


def _pixels(image: Image, channel: int) -> Bool[np.ndarray, "h w"]:
    """Where one channel is much stronger than both others."""
    others = np.delete(image.astype(np.int16), channel, axis=2).max(2)
    found: Bool[np.ndarray, "h w"] = image[..., channel] > others + 60
    return found


def make() -> VisionLanguageModel:
    """What `python:own_vlm:make` names; takes no arguments."""
    return ColorEyes()


def main(scenes: int = 40) -> float:
    """Judge some scenes, and compare with what is true: the share of right verdicts."""
    detector = VLMSuccessDetector(load_vlm(f"python:{__name__}:make"))
    right = 0
    for seed in range(scenes):
        robot = ToyRobot(seed)
        task = task_from_instruction(INSTRUCTIONS[seed % 2])
        frames = EpisodeFrames(task, robot.observe().image[None], undone_before=True)
        [verdict] = detector.judge([frames])
        right += (verdict.outcome == "success") == robot.truth(task.instruction)
    print(f"{detector.name}: {right} of {scenes} verdicts are right")
    return right / scenes


if __name__ == "__main__":
    main()
