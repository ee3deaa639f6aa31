"""Retries with exponential backoff, for models and a store that are unavailable for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import numpy as np
from annotated_types import Ge, Gt

from soar.errors import ModelUnavailable, SoarError
from soar.interfaces import SubgoalGenerator, VisionLanguageModel
from soar.rollout.checked_models import (
    CheckedPolicy,
    CheckedSubgoals,
    CheckedVLM,
    OnChange,
    checked_detector,
)
from soar.rollout.models import Models
from soar.types import Answer, Image, Images, Observation, Question, Task
from soar.utils.config import check_ranges

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts."""

    initial_s: Annotated[float, Gt(0)] = 1.0
    """Pause before the second attempt in seconds."""
    factor: Annotated[float, Ge(1)] = 2.0
    """Ratio of each pause to the one before."""
    max_s: Annotated[float, Gt(0)] = 30.0
    """Longest pause in seconds."""
    max_outage_s: Annotated[float, Ge(0)] = 120.0
    """Duration of a model's outage in seconds after which the error is raised. From then on each call is tried once,
    without a pause, until one succeeds."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def pause_s(self, failures: int) -> float:
        """Return the pause in seconds after a failure. `failures`: number of those before it."""
        return float(min(self.initial_s * self.factor ** min(failures, 64), self.max_s))


class Retrier:
    """Repeats a call until it succeeds, the outage lasts too long, or the station is stopped."""

    def __init__(
        self,
        name: str,
        backoff: Backoff,
        stop: threading.Event,
        error: type[SoarError] = ModelUnavailable,
        on_failure: Callable[[SoarError], None] = lambda error: None,
        *,
        endless: bool = False,
    ) -> None:
        """Initialize without an outage.

        Args:
            name: what is called, for messages.
            backoff: pauses between attempts.
            stop: ends every pause at once.
            error: exception that is retried.
            on_failure: called with the exception before every pause.
            endless: whether only `stop` ends the attempts, however long the outage lasts.
        """
        self._name, self._backoff, self._stop = name, backoff, stop
        self._error, self._on_failure, self._endless = error, on_failure, endless
        self.down_since: float | None = None
        """`time.monotonic()` of the first failure of the current outage; None without one."""

    def call(self, function: Callable[[], T]) -> T:
        """Return the result of `function`. Raises its last exception."""
        pause = self._backoff.initial_s
        while True:
            try:
                result = function()
            except self._error as error:
                now = time.monotonic()
                self.down_since = now if self.down_since is None else self.down_since
                too_long = now - self.down_since + pause > self._backoff.max_outage_s
                if (too_long and not self._endless) or self._stop.is_set():
                    raise
                log.warning("%s is down, next attempt in %.3g s: %s", self._name, pause, error)
                self._on_failure(error)
                self._stop.wait(pause)
                pause = min(pause * self._backoff.factor, self._backoff.max_s)
            else:
                if self.down_since is not None:
                    log.warning("%s is back", self._name)
                self.down_since = None
                return result


class RetryingVLM:
    """A vision-language model that is asked again while it is unavailable."""

    def __init__(self, vlm: VisionLanguageModel, backoff: Backoff, stop: threading.Event) -> None:
        self.name = vlm.name
        self._vlm = vlm
        self._retrier = Retrier(vlm.name, backoff, stop)

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the model's answers. Raises ModelUnavailable after a long outage."""
        return self._retrier.call(lambda: self._vlm.answer(images, questions))


class RetryingSubgoals:
    """A subgoal generator that is asked again while it is unavailable."""

    def __init__(
        self, generator: SubgoalGenerator, backoff: Backoff, stop: threading.Event
    ) -> None:
        self.name = generator.name
        self._generator = generator
        self._retrier = Retrier(generator.name, backoff, stop)

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return the generator's images. Raises ModelUnavailable after a long outage."""
        return self._retrier.call(lambda: self._generator.generate(observations, tasks, rng))


def with_retries(
    models: Models,
    backoff: Backoff,
    stop: threading.Event,
    on_change: OnChange,
    action_dim: int | None = None,
) -> Models:
    """Return the models with checked calls, and with retries while VLM or subgoal generator are unavailable.

    Args:
        models: the models; those that have this already stay as they are.
        backoff: pauses between attempts.
        stop: ends every pause at once.
        on_change: called when the outage of a model begins or ends.
        action_dim: numbers of an action of the stations' robots; None for any.
    """
    vlm, subgoals, policy, detector = models.vlm, models.subgoals, models.policy, models.detector
    if not isinstance(vlm, RetryingVLM):
        vlm = RetryingVLM(CheckedVLM(vlm, on_change), backoff, stop)
    if subgoals is not None and not isinstance(subgoals, RetryingSubgoals):
        subgoals = RetryingSubgoals(CheckedSubgoals(subgoals, on_change), backoff, stop)
    if not isinstance(policy, CheckedPolicy):
        policy = CheckedPolicy(policy, on_change, action_dim)
    detector = checked_detector(detector, on_change)
    return replace(models, vlm=vlm, subgoals=subgoals, policy=policy, detector=detector)
