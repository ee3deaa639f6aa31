"""Patience with models that are down: the same models, asked again after growing pauses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from soar.errors import ModelUnavailable
from soar.interfaces import SubgoalGenerator, VisionLanguageModel
from soar.types import Answer, Image, Images, Observation, Question

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts, and when to give up."""

    first_s: float = 1.0
    factor: float = 2.0
    longest_s: float = 30.0
    patience_s: float = 120.0
    """An outage longer than this is reported. From then on, until the model is back, there is one attempt
    for each call and no waiting."""


class Retrier:
    """Calls something again and again until it answers, or patience ends."""

    def __init__(self, name: str, backoff: Backoff, stop: threading.Event) -> None:
        """`stop` ends every pause at once: someone wants the station to stop."""
        self._name, self._backoff, self._stop = name, backoff, stop
        self.down_since: float | None = None
        """`time.monotonic()` of the first failure of the present outage."""

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`. Raises ModelUnavailable after the last attempt."""
        pause = self._backoff.first_s
        while True:
            try:
                result = function()
            except ModelUnavailable as error:
                now = time.monotonic()
                self.down_since = now if self.down_since is None else self.down_since
                over = now - self.down_since + pause > self._backoff.patience_s
                if over or self._stop.is_set():
                    raise
                log.warning("%s is down, next attempt in %.3g s: %s", self._name, pause, error)
                self._stop.wait(pause)
                pause = min(pause * self._backoff.factor, self._backoff.longest_s)
            else:
                if self.down_since is not None:
                    log.warning("%s is back", self._name)
                self.down_since = None
                return result


class RetryingVLM:
    """A VLM that is asked again while it is down."""

    def __init__(self, vlm: VisionLanguageModel, backoff: Backoff, stop: threading.Event) -> None:
        self.name = vlm.name
        self._vlm = vlm
        self._patience = Retrier(vlm.name, backoff, stop)

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """The VLM's answers. Raises ModelUnavailable when patience ends."""
        return self._patience.call(lambda: self._vlm.answer(images, questions))


class RetryingSubgoals:
    """A subgoal generator that is asked again while it is down."""

    def __init__(
        self, generator: SubgoalGenerator, backoff: Backoff, stop: threading.Event
    ) -> None:
        self.name = generator.name
        self._generator = generator
        self._patience = Retrier(generator.name, backoff, stop)

    def generate(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """The generator's images. Raises ModelUnavailable when patience ends."""
        return self._patience.call(
            lambda: self._generator.generate(observations, instructions, rng)
        )
