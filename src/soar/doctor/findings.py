"""What a check says, and how a part is tried that may raise anything at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

Health: TypeAlias = Literal["ok", "warning", "failed"]
T = TypeVar("T")


class CheckResult(NamedTuple):
    """One thing that was checked."""

    name: str
    health: Health
    what: str
    """What was found, with its numbers."""
    advice: str = ""
    """What to do; empty where all is well."""


class Problem(NamedTuple):
    """What a part raised instead of working."""

    error: Exception

    def __str__(self) -> str:
        """One line, which begins with the kind of error where it isn't one of ours."""
        text = " ".join(str(self.error).split())
        kind = type(self.error)
        return text if kind.__module__.startswith("soar.") else f"{kind.__name__}: {text}"


@dataclass(frozen=True)
class Timed(Generic[T]):
    """A result, and how long it took each time."""

    value: T
    seconds: tuple[float, ...]


def attempt(part: Callable[[], T]) -> T | Problem:
    """What `part` returns, or what it raised: the one place that expects anything of a driver or model."""
    try:
        return part()
    except Exception as error:  # noqa: BLE001  a doctor doesn't faint
        return Problem(error)


def timed(part: Callable[[], T], times: int = 1) -> Timed[T]:
    """The last result of calling `part` so often."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        value = part()
        seconds.append(time.perf_counter() - began)
    return Timed(value, tuple(seconds))


def ms(seconds: float) -> str:
    """As people read it: "34 ms", "2.3 s"."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
