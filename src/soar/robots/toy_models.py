"""Models for `soar.robots.toy` that solve its tasks, for tests of a thousand episodes in seconds.

Their inputs are those of real models: images, tasks and states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from soar.contract.contract import WIDOWX
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
"""Distance in meters of the goal on either side from the middle."""
_STEP_M = 0.04
"""Largest step along each axis in meters; a block within it is at its goal."""


def find_block(image: Image) -> Float64[np.ndarray, "2"] | None:
    """Return the block's position on the table in meters, or None if it isn't in the image."""
    rows, columns = np.nonzero(_green(image))
    if not len(rows):
        return None
    x = X[1] - rows.mean() / (SIZE - 1) * (X[1] - X[0])
    y = Y[1] - columns.mean() / (SIZE - 1) * (Y[1] - Y[0])
    return np.array([x, y])


def _green(image: Image) -> Bool[np.ndarray, "h w"]:
    return image[..., 1] > image[..., 0].astype(np.int16) + 60


class ToyVLM:
    """Answers whether the block is present, and on which side it is."""

    name = "toy-vlm"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return correct answers with a probability of 0.95."""
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
    """Generates images with the block on the task's side."""

    name = "toy-subgoals"

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return the images with the block moved to its goal, with a little noise."""
        images = np.stack([o.image for o in observations])
        for image, task in zip(images, tasks, strict=True):
            block = find_block(image)
            x = 0.3 if block is None else block[0]
            y = (_SIDE_M if task.direction == "left" else -_SIDE_M) + rng.normal(0, 0.01)
            row, column = pixel(np.array([x, y]))
            image[_green(image)] = TABLE
            image[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = BLOCK
        return images


class ToyPolicy:
    """Carries the block to its position in the goal image, or to the side that the instruction names."""

    name = "toy-policy"
    contract = WIDOWX

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Move to the block, close the gripper, carry the block to the goal, and open."""
        actions = np.stack([self._one(o, g) for o, g in zip(observations, goals, strict=True)])
        actions[:, :6] += np.reshape(noise, (-1, 1)) * rng.normal(0, 0.01, actions[:, :6].shape)
        return actions.astype(np.float32)

    def reset(self) -> None:
        """Do nothing: the policy has no state."""

    def commit(self, actions: Actions) -> None:
        """Do nothing: the policy has no state."""

    def _one(self, observation: Observation, goal: Image | str) -> Float64[np.ndarray, "7"]:
        action = np.zeros(ACTION_DIM)
        action[6] = 1.0
        block = find_block(observation.image)
        target = _target(goal, block)
        if block is None or target is None or np.abs(block - target).max() < _STEP_M:
            return action
        position = observation.state[:2].astype(np.float64)
        closed = observation.state[6] < 0.5
        near = float(np.abs(position - block).max()) < 0.02
        action[6] = 0.0 if near else 1.0
        if closed or not near:
            step = (target if near else block) - position
            action[:2] = np.clip(step, -_STEP_M, _STEP_M)
        return action


def _target(
    goal: Image | str, block: Float64[np.ndarray, "2"] | None
) -> Float64[np.ndarray, "2"] | None:
    if not isinstance(goal, str):
        return find_block(goal)
    side = _SIDE_M if "left" in goal else -_SIDE_M
    return None if block is None else np.array([block[0], side])
