"""Results of checks, and the trial of a part that may raise any exception."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

Health: TypeAlias = Literal["ok", "warning", "failed"]
T = TypeVar("T")


class CheckResult(NamedTuple):
    """Result of one check."""

    name: str
    """The checked part, such as "arm1: camera"."""
    health: Health
    what: str
    """The finding, with its numbers."""
    advice: str = ""
    """Advice for a person; empty if nothing is wrong."""


class Failure(NamedTuple):
    """Exception that a part raised."""

    error: Exception

    def __str__(self) -> str:
        """One line, which begins with the exception's class unless it is one of this package."""
        text = " ".join(str(self.error).split())
        kind = type(self.error)
        return text if kind.__module__.startswith("soar.") else f"{kind.__name__}: {text}"


@dataclass(frozen=True)
class Timed(Generic[T]):
    """A call's last result, and the duration of each repetition."""

    value: T
    seconds: tuple[float, ...]


def attempt(part: Callable[[], T]) -> T | Failure:
    """Return the result of `part`, or the exception that it raised."""
    try:
        return part()
    except Exception as error:  # noqa: BLE001  drivers and models of other people may raise anything
        return Failure(error)


def timed(part: Callable[[], T], times: int = 1) -> Timed[T]:
    """Call `part` several times and return its last result with all durations."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        value = part()
        seconds.append(time.perf_counter() - began)
    return Timed(value, tuple(seconds))


def ms(seconds: float) -> str:
    """Format a duration: "34 ms", "2.3 s"."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
