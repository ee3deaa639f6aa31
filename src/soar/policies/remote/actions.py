"""Conversion between the robot's states and actions and those of a served policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from soar.contract.compare import facts
from soar.contract.contract import WIDOWX, Contract
from soar.contract.convert import Conversion, apply, decode, express
from soar.errors import BadOutput
from soar.types import State


class Meaning:
    """The contracts of robot and server."""

    def __init__(self, served: Contract | None, present: Contract | None) -> None:
        """Prepare the conversion.

        Args:
            served: of the server; None is the packaged arm's.
            present: of the robot; None is the packaged arm's, or the server's where that drives joints.

        Raises:
            ConfigError: they can't be converted.
        """
        self.served = served or WIDOWX
        joints = self.served.action.space == "joints"
        self.present = present or (self.served if joints else WIDOWX)
        self._is_same = facts(self.served) == facts(self.present)
        self._to_served = Conversion(self.present, self.served)

    def states(self, states: Sequence[State]) -> list[State]:
        """Return the robots' states as the server takes them."""
        if self._is_same:
            return list(states)
        return [self._to_served.state(state) for state in states]

    def actions(
        self, answer: object, states: Sequence[State], name: str
    ) -> Float32[np.ndarray, "n h _d"]:
        """Return a server's chunks as actions of the robots.

        Args:
            answer: chunks, one for each state, (n, h, d).
            states: states of the robots at which the chunks begin.
            name: of the policy, for errors.

        Raises:
            BadOutput: the answer isn't that, or not finite.
        """
        chunks = _numbers(answer, name)
        width = self.served.action.dim
        wanted = (len(states), width)
        if chunks.ndim != 3 or not chunks.shape[1] or (len(chunks), chunks.shape[2]) != wanted:
            raise BadOutput(
                f"{name} gave actions of shape {chunks.shape}; valid: {len(states)} chunks of {width} numbers"
            )
        if not np.isfinite(chunks).all():
            raise BadOutput(f"{name} gave actions that aren't finite")
        if self._is_same:
            return chunks.astype(np.float32)
        return self._converted(chunks, np.stack(states)).astype(np.float32)

    def _converted(
        self, chunks: Float[np.ndarray, "n h d"], states: Float32[np.ndarray, "n s"]
    ) -> Float[np.ndarray, "n h _e"]:
        """Convert one action of the chunks after the other, each from where the ones before it lead."""
        pose = decode(states.astype(np.float64), self.present.state)
        converted = []
        for step in range(chunks.shape[1]):
            goal = apply(chunks[:, step].astype(np.float64), pose, self.served.action)
            converted.append(express(goal, pose, self.present.action))
            pose = goal
        return np.stack(converted, 1)


def _numbers(answer: object, name: str) -> NDArray[Any]:
    try:
        numbers = np.asarray(answer, np.float32)
    except (TypeError, ValueError):
        raise BadOutput(f"{name} gave actions that aren't numbers") from None
    return numbers
