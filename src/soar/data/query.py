"""Which episodes: a filter that travels in checkpoints and reports, so it is plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soar.types import Outcome, Regime


@dataclass(frozen=True)
class Query:
    """Every field that is set must match; an empty query is every episode."""

    instructions: tuple[str, ...] = ()
    """Any of these, word for word."""
    stations: tuple[str, ...] = ()
    """Any of these stations."""
    scenes: tuple[str, ...] = ()
    """Any of these scenes."""
    regimes: tuple[Regime, ...] = ()
    """Any of these regimes."""
    outcomes: tuple[Outcome, ...] = ()
    """Any of these verdicts."""
    checkpoints: tuple[str, ...] = ()
    """Acted by any of these checkpoints."""
    rounds: tuple[int, ...] = ()
    """Collected in any of these rounds."""
    since_s: float | None = None
    """Unix time, inclusive."""
    until_s: float | None = None
    """Unix time, exclusive."""
    version: int | None = None
    """The store as it was at this version; None is the newest."""
    limit: int | None = None
    """At most so many, the oldest first."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Query:
        """The query whose `dataclasses.asdict`, perhaps through JSON, gave these fields."""
        exact: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        return cls(**exact)
