"""Configuration and result of a collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from soar.collection.retry import Backoff
from soar.collection.supervisor import FaultLimits
from soar.rollout.station import EpisodeConfig
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class CollectionConfig:
    """Configuration of a collection."""

    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    exploring: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian; the others take its mean."""
    noise: Annotated[float, Ge(0)] = 1.0
    """Scale of the standard deviation of the sampled actions."""
    overlap: bool = True
    """Whether the VLM, the detector and subgoals generated ahead run while the arm moves."""
    fault_limits: FaultLimits = field(default_factory=FaultLimits)
    backoff: Backoff = field(default_factory=Backoff)
    """Retries of unavailable models, and pauses while the store can't be written."""
    round: Annotated[int, Ge(0)] = 0
    """Round of improvement, for the record."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class CollectionSummary:
    """Result of a collection."""

    episodes: int
    """Number of stored episodes."""
    dropped: int
    """Number of episodes that were broken off."""
    faults: int
    """Number of faults."""
    broken: tuple[str, ...] = ()
    """Names of the stations that need a person."""

    def __add__(self, other: CollectionSummary) -> CollectionSummary:
        """Return the result of both."""
        return CollectionSummary(
            self.episodes + other.episodes,
            self.dropped + other.dropped,
            self.faults + other.faults,
            (*self.broken, *other.broken),
        )
