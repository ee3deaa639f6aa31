"""Toy models for `soar.robots.toy`: a whole loop that runs a thousand episodes in seconds, for tests and drills.

Each sees only what its real counterpart sees: pictures, words and states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from soar.robots.toy import BLOCK, SIZE, TABLE, X, Y, pixel
from soar.types import (
    ACTION_DIM,
    Actions,
    Answer,
    Image,
    Images,
    Noise,
    Observation,
    Question,
    Task,
)

INSTRUCTIONS = (
    "move the green block to the left side",
    "move the green block to the right side",
)
_SIDE_M = 0.12
_STEP_M = 0.04


def find_block(image: Image) -> Float64[np.ndarray, "2"] | None:
    """Where the block is on the table [m], from the picture alone; None where there is none."""
    rows, columns = np.nonzero(_green(image))
    if not len(rows):
        return None
    x = X[1] - rows.mean() / (SIZE - 1) * (X[1] - X[0])
    y = Y[1] - columns.mean() / (SIZE - 1) * (Y[1] - Y[0])
    return np.array([x, y])


def _green(image: Image) -> Bool[np.ndarray, "h w"]:
    return image[..., 1] > image[..., 0].astype(np.int16) + 60


class ToyVLM:
    """Answers whether the block is there, and on which side."""

    name = "toy-vlm"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Certain and right."""
        return [
            [self._one(find_block(image), q) for q in asked]
            for image, asked in zip(images, questions, strict=True)
        ]

    def _one(self, block: Float64[np.ndarray, "2"] | None, question: Question) -> Answer:
        if question.kind == "present" or block is None:
            yes = block is not None
        else:
            yes = (pixel(block)[1] < SIZE / 2) == (question.kind == "left")
        return Answer(question, 0.95 if yes else 0.05, "yes" if yes else "no")


class ToySubgoals:
    """Imagines the block on the side that the instruction names."""

    name = "toy-subgoals"

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """The same pictures with the block where it should be, a little different each time."""
        imagined = np.stack([o.image for o in observations])
        for image, task in zip(imagined, tasks, strict=True):
            block = find_block(image)
            x = 0.3 if block is None else block[0]
            y = (_SIDE_M if task.direction == "left" else -_SIDE_M) + rng.normal(0, 0.01)
            row, column = pixel(np.array([x, y]))
            image[_green(image)] = TABLE
            image[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = BLOCK
        return imagined


class ToyPolicy:
    """Carries the block to where the goal picture shows it."""

    name = "toy-policy"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Go to the block, close, carry it to the goal, open."""
        actions = np.stack([self._one(o, g) for o, g in zip(observations, goals, strict=True)])
        actions[:, :6] += np.reshape(noise, (-1, 1)) * rng.normal(0, 0.01, actions[:, :6].shape)
        return actions.astype(np.float32)

    def reset(self) -> None:
        """Remembers nothing."""

    def _one(self, seen: Observation, goal: Image | str) -> Float64[np.ndarray, "7"]:
        action = np.zeros(ACTION_DIM)
        action[6] = 1.0
        block = find_block(seen.image)
        target = _target(goal, block)
        if block is None or target is None or np.abs(block - target).max() < _STEP_M:
            return action
        hand, closed = seen.state[:2].astype(np.float64), seen.state[6] < 0.5
        near = float(np.abs(hand - block).max()) < 0.02
        action[6] = 0.0 if near else 1.0
        if closed or not near:
            step = (target if near else block) - hand
            action[:2] = np.clip(step, -_STEP_M, _STEP_M)
        return action


def _target(
    goal: Image | str, block: Float64[np.ndarray, "2"] | None
) -> Float64[np.ndarray, "2"] | None:
    if not isinstance(goal, str):
        return find_block(goal)
    side = _SIDE_M if "left" in goal else -_SIDE_M
    return None if block is None else np.array([block[0], side])
